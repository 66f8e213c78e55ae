//! # `python`: programs that run while the policy reasons, and functions that are tested
//!
//! Idea: the policy writes code, reads what it prints, and in the end gives a function that hidden
//! cases judge: the tool of ToRL (arXiv 2503.23383) and Tool-Star (arXiv 2505.16410), the judge of
//! HumanEval (arXiv 2107.03374).
//!
//! Tasks: `id, question, function, cases, examples?, cases_held_out?` in a JSONL file ([`load`]).
//! The lists hold `{"input": [arguments], "output": value}` in JSON; the prompt shows `examples`,
//! `cases` judge.
//!
//! Action: `<python>code</python>` runs code in an interpreter that keeps its variables through the
//! attempt; what it printed follows as the observation. `<answer>code</answer>` ends the attempt
//! with a program that defines the function (or, with `artifact`, with a file of the workspace).
//!
//! Judged: the program runs in a fresh jail, gets the inputs of all cases and returns values, which
//! are compared here, outside ([`equality`]). `reward` is 1 where every case is right, else 0; or
//! the share of right cases. Parts, each in [0, 1]: `format` (an answer was given), `passed` (share
//! of right cases), `ran` (share of cases that returned a value). Where a task has
//! `cases_held_out`, a further part, `strict`: what all its cases together would earn. Nothing
//! trains on it, so a reward that rises without it shows a program that fits the cases and not the
//! task.
//!
//! Forks: a forked attempt gets an interpreter of its own in which the path's code runs again, and
//! must print the same bytes; else the attempt is unscored (DECISIONS 9).
//!
//! Cheats and what stops them: whatever a program does to its own interpreter (exits, patches,
//! objects that equal everything, forged replies), it can only return values, of exact built-in
//! types, without having seen what is expected: no expected value enters a jail (INV-20). The
//! attempt's jail is dead before the grader's starts. Programs of these cheats are in
//! `tests/cheats/python/`.
//!
//! Not covered: a program that is right on all cases by a rule other than the task's. More and
//! larger hidden cases are the remedy.

pub mod config;
mod episode;
pub mod equality;
mod prompt;
mod tasks;

use std::sync::Arc;

use stepwell_sandbox::probe;
use stepwell_sandbox::python::Session;
use stepwell_tree::{Environment, Episode, Key, Opening, Task, UnscoredReason};

use crate::EnvError;
use crate::calls::PYTHON;
use episode::Attempt;

pub use config::{Config, Reward};
pub use episode::{PARTS, PROGRAM_BYTES_MAX};
#[doc(hidden)]
pub use episode::{told_of_reply, told_of_step};
pub use tasks::{CASES_MAX, Case, load, schema};

/// The environment. Every attempt that runs code holds a jail of its own.
#[derive(Clone, Debug)]
pub struct PythonEnvironment {
    config: Arc<Config>,
    /// Layers that do not hold, where the settings allow it.
    open: Option<String>,
}

impl PythonEnvironment {
    /// An environment with these settings. Starts an interpreter once, to know that it can.
    ///
    /// Errors: a setting outside its range; a machine on which no jail or no interpreter starts.
    pub fn new(config: Config) -> Result<PythonEnvironment, EnvError> {
        config.check()?;
        Session::start(&config.python()).map_err(EnvError::Jail)?;
        let open = config.weak.then(|| probe::jail(true)).filter(|grade| !grade.is_whole());
        let open = open.map(|grade| format!("programs run in a jail that is {}", grade.word()));
        Ok(PythonEnvironment { config: Arc::new(config), open })
    }

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Every tag of the markup: words that any tokenizer for it should know.
pub fn tags() -> impl Iterator<Item = String> {
    PYTHON.tags()
}

impl Environment for PythonEnvironment {
    fn name(&self) -> &'static str {
        "python"
    }

    fn opening(&self, task: &Task) -> Opening {
        Opening { system: String::new(), user: prompt::user(task, &self.config) }
    }

    fn stop_strings(&self) -> Vec<String> {
        PYTHON.stops.map(str::to_owned).into()
    }

    fn reward_range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn parts(&self) -> Vec<String> {
        PARTS.map(str::to_owned).into()
    }

    fn start(&self, task: &Task, _: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        let attempt = Attempt::new(&self.config, task)
            .map_err(|why| UnscoredReason::GoldFailed(format!("the task's {why}")))?;
        Ok(Box::new(attempt))
    }

    fn weakness(&self) -> Option<String> {
        self.open.clone()
    }

    /// The answer's code without blank lines and spaces at line ends; `None` where the answer is a
    /// file, which the text does not hold.
    fn answer(&self, _: &Task, text: &str) -> Option<String> {
        if self.config.artifact.is_some() {
            return None;
        }
        let Ok(crate::calls::Action::Answer(code)) = PYTHON.parse(text) else { return None };
        let lines = episode::code(&code).lines().map(str::trim_end);
        Some(lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"))
    }
}
