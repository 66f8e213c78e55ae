//! # `calculator`: word problems, with calls of a calculator while reasoning
//!
//! Idea: the tool loop of Toolformer's calculator (arXiv 2302.04761) and of GSM8K's annotations
//! (arXiv 2110.14168), as an environment that grows into a tree: the policy writes a step that
//! ends in a call, the calculator answers exactly, the policy goes on.
//!
//! Tasks: `id, question, answer, steps?: [{expression, value}]` in a JSONL file ([`load`];
//! `stepwell import` makes them of GSM8K and SVAMP), or a generated world ([`world`]).
//!
//! Action: the markup of [`markup`]. An action ends at `</calc>` or `</answer>`; any words may
//! stand before it. Calls are calculated by [`expression`], over exact fractions.
//!
//! Judged: `reward` is 1 where the answer is the gold number ([`answer`] says what counts as one;
//! equal up to 1e-6, what six decimals may take away), else 0. Parts, each in [0, 1]: `format` (the
//! attempt ends with a number between answer tags), `called` (something was calculated), `steps`
//! (share of the gold steps' values that calls computed), `grounded` (the answer is a value that
//! was calculated). Weighing them is a reward's business (DECISIONS 8).
//!
//! Cheats and what stops them: several numbers or several answers (one number, the first answer, no
//! tag inside it); digits that only look like digits (refused); the calculator's tag typed by the
//! policy (the attempt ends at the lowest reward); calls that echo a number, `12` or `12 + 0` (not
//! calculated: they raise no part); calls without end (counted); huge numbers and divisions by 0
//! (an error the policy reads). Programs of these cheats are in `tests/cheats/calculator/`.
//!
//! Not covered: a policy that knows the answer may dress it up as `25 - 1`. The reward is the
//! answer's alone, so nothing is earned by that unless a recipe weighs `called` or `grounded`.

pub mod answer;
pub mod config;
mod episode;
pub mod expression;
pub mod markup;
pub mod number;
mod prompt;
mod tasks;
mod worked;
pub mod world;

use std::sync::Arc;

use stepwell_tree::{Environment, Episode, Key, Opening, Task, UnscoredReason};

use crate::EnvError;
use episode::Attempt;
use number::Number;

pub use config::Config;
pub use episode::PARTS;
pub use tasks::{Evaluation, Fault, Finding, Step, check, load, schema};

/// The environment. Cheap to share: attempts hold its settings together with it.
#[derive(Clone)]
pub struct CalculatorEnvironment {
    shared: Arc<Shared>,
}

/// What all attempts share.
pub(crate) struct Shared {
    config: Config,
    /// Values that can stand in for an observation in the control arm.
    strays: Vec<Number>,
}

impl CalculatorEnvironment {
    /// An environment with these settings.
    ///
    /// `tasks` are those whose values the control `shuffled_results` shows; without it they are
    /// not looked at. Errors: a setting outside its range; the control without any task.
    pub fn new(tasks: &[Task], config: Config) -> Result<CalculatorEnvironment, EnvError> {
        config.check()?;
        let wanted = if config.shuffled_results { tasks } else { &[] };
        let strays: Vec<Number> = wanted.iter().filter_map(judged).flat_map(|g| g.1).collect();
        if config.shuffled_results && strays.is_empty() {
            return Err(EnvError::Setting {
                name: "shuffled_results",
                expected: "false where no task has an answer",
                got: "true".to_owned(),
            });
        }
        Ok(CalculatorEnvironment { shared: Arc::new(Shared { config, strays }) })
    }

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }
}

/// The gold answer of a task and the values on the way to it; `None` where it cannot be judged.
fn judged(task: &Task) -> Option<(Number, Vec<Number>)> {
    let answer = answer::read(task.field("answer")?).ok()?;
    let steps = tasks::steps(task).ok()?;
    Some((answer, tasks::milestones(&steps, answer)))
}

impl Environment for CalculatorEnvironment {
    fn name(&self) -> &'static str {
        "calculator"
    }

    fn opening(&self, task: &Task) -> Opening {
        let user = prompt::user(&task.question, &self.shared.config);
        Opening { system: String::new(), user }
    }

    fn stop_strings(&self) -> Vec<String> {
        markup::STOPS.map(str::to_owned).into()
    }

    fn reward_range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn parts(&self) -> Vec<String> {
        episode::PARTS.map(str::to_owned).into()
    }

    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        if task.field("answer").is_none() {
            let reason = "the task has no `answer`".to_owned();
            return Err(UnscoredReason::EnvironmentFailed(reason));
        }
        // An answer that is no number is the task's fault: nobody is scored on it.
        let Some((gold, milestones)) = judged(task) else {
            let fault = check(std::slice::from_ref(task)).into_iter().next();
            let why = fault.map_or_else(String::new, |finding| finding.fault.to_string());
            return Err(UnscoredReason::GoldFailed(why));
        };
        Ok(Box::new(Attempt {
            shared: Arc::clone(&self.shared),
            gold,
            milestones: milestones.into(),
            key,
            asked: 0,
            values: Vec::new(),
            ended: false,
        }))
    }

    /// The number as the calculator shows it; `None` where the last step answers nothing.
    fn answer(&self, _: &Task, text: &str) -> Option<String> {
        match markup::parse(text) {
            Ok(markup::Action::Answer(text)) => {
                answer::read(&text).ok().map(|number| number.to_string())
            }
            _ => None,
        }
    }

    fn hint(&self, task: &Task) -> Option<String> {
        task.field("answer").map(|answer| format!("Hint: the answer is {answer}"))
    }
}
