//! # `math_answer`: questions with an answer that a program can compare
//!
//! Idea: reasoning in free text, judged by its final answer alone, as in DeepSeekMath (arXiv
//! 2402.03300) and what followed it; a step of the tree is a paragraph or a line, so that a tree
//! can fork in the middle of an argument.
//!
//! Tasks: `id, question, answer` in a JSONL file ([`load`]); `answer` is text or a number, LaTeX or
//! not.
//!
//! Action: text. A step ends at a blank line, at a line's end, or with the attempt
//! ([`StepEnd`]); the environment has nothing to say between steps. An attempt ends with the first
//! step that holds a final answer in its [`Form`], with its last token, or after `max_steps`.
//!
//! Judged: `reward` is 1 where the final answer is the gold one ([`Answer::accepts`]), else 0. One
//! part, `format`: 1 where an answer was given that can be read.
//!
//! Numbers are compared exactly, up to 1e-6: `1/2`, `0.5`, `\frac12`, `5 * 10^{-1}` and `0.5 cm`
//! are one number. A percent sign is a unit: `50%` is 50 and not 0.5.
//!
//! Cheats and what stops them: several answers (the last complete one of the step that ends the
//! attempt counts, and it is one answer: `1 or 2` is neither); lists of guesses (a list is not its
//! member); digits that only look like digits, texts too long, powers too large (refused); the
//! instruction's own empty box (no answer). Programs of these are in `tests/cheats/math_answer/`.
//!
//! Not covered: whether two expressions are equal is not decided, so a right answer in another form
//! (`x + 1` for `1 + x`) earns nothing. A right answer may be guessed.

pub mod config;
mod episode;
pub mod extract;
mod latex;
mod tasks;
pub mod value;

use stepwell_tree::{Environment, Episode, Key, Opening, Task, UnscoredReason};

use crate::EnvError;
use episode::Attempt;

pub use config::{Config, StepEnd};
pub use episode::PARTS;
pub use extract::Form;
pub use tasks::{check, load, schema};
pub use value::{Answer, Refusal, read};

/// The environment.
#[derive(Clone, Debug)]
pub struct MathAnswerEnvironment {
    config: Config,
}

impl MathAnswerEnvironment {
    /// An environment with these settings.
    ///
    /// Errors: a setting outside its range.
    pub fn new(config: Config) -> Result<MathAnswerEnvironment, EnvError> {
        config.check()?;
        Ok(MathAnswerEnvironment { config })
    }
}

impl Environment for MathAnswerEnvironment {
    fn name(&self) -> &'static str {
        "math_answer"
    }

    fn opening(&self, task: &Task) -> Opening {
        let rules = if self.config.instructions { self.config.form.instructions() } else { "" };
        let parts = [task.question.as_str(), rules].into_iter().filter(|part| !part.is_empty());
        let user = parts.collect::<Vec<_>>().join("\n\n") + "\n";
        Opening { system: String::new(), user }
    }

    fn stop_strings(&self) -> Vec<String> {
        let stops = [self.config.form.stop(), self.config.step.stop()];
        stops.into_iter().flatten().map(str::to_owned).collect()
    }

    fn reward_range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn parts(&self) -> Vec<String> {
        PARTS.map(str::to_owned).into()
    }

    fn start(&self, task: &Task, _: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        let Some(answer) = task.field("answer") else {
            let reason = "the task has no `answer`".to_owned();
            return Err(UnscoredReason::EnvironmentFailed(reason));
        };
        // An answer that cannot be read is the task's fault: nobody is scored on it.
        let gold = read(answer).map_err(|why| UnscoredReason::GoldFailed(why.to_string()))?;
        Ok(Box::new(Attempt { config: self.config.clone(), gold, steps: 0, ended: false }))
    }

    fn answer(&self, _: &Task, text: &str) -> Option<String> {
        let answer = read(self.config.form.find(text)?).ok()?;
        Some(answer.to_string())
    }

    fn hint(&self, task: &Task) -> Option<String> {
        task.field("answer").map(|answer| format!("Hint: the answer is {answer}"))
    }
}
