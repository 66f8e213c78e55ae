//! Settings of the `external` environment.

use serde::Serialize;

use super::environment::Files;
use super::evaluate::Split;
use super::macros::{Entry, Settings, choices, settings};
use super::math_answer::StepEnd;
use super::prompt::PromptText;
use super::section::Section;
use super::setting::Limit;

choices! {
    /// What the program does.
    pub enum ExternalMode {
        /// It answers every step of an attempt and judges it in the end.
        Environment = "environment",
        /// It reads a finished attempt and judges it.
        Grader = "grader",
    }
}

settings! {
    /// Tasks of the program's own, asked for once, when a run starts.
    pub struct ProgramTasks {
        /// Tasks to train on.
        train: usize = 0, Limit::Whole(0, 100_000);
        /// Tasks never trained on, for decisions during development.
        development: usize = 0, Limit::Whole(0, 100_000);
        /// Tasks never trained on, for the final evaluation.
        held_out: usize = 0, Limit::Whole(0, 100_000);
    }
}

impl ProgramTasks {
    /// How many tasks a split has, and the key that says so.
    pub(super) fn of(&self, split: Split) -> (usize, &'static str) {
        match split {
            Split::Train => (self.train, "tasks.train"),
            Split::Development => (self.development, "tasks.development"),
            Split::HeldOut => (self.held_out, "tasks.held_out"),
        }
    }
}

/// Where the tasks of a program come from.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalSource {
    /// The program.
    Tasks(ProgramTasks),
    /// Files of the user.
    Files(Files),
}

settings! {
    /// A program of the user's that answers the policy and judges it, or only judges it:
    /// docs/EXTERNAL.md.
    pub struct External {
        /// The program and its arguments, started in the working folder; no shell reads them.
        command: Vec<String> = Vec::new(), Limit::Any;
        /// Names of variables of the environment that it sees beside the usual ones, such as
        /// `PATH` and `HOME`: names alone, never what they hold.
        variables: Vec<String> = Vec::new(), Limit::Any;
        /// What the program does.
        mode: ExternalMode = ExternalMode::Environment, Limit::Any;
        /// What the policy reads: a text with the fields of a task in braces, `{question}`.
        prompt: PromptText = PromptText::default(), Limit::Any;
        /// Names of the verdict's parts, as the program declares them.
        parts: Vec<String> = Vec::new(), Limit::Any;
        /// Least reward, as the program declares it.
        reward_min: f64 = 0.0, Limit::Real(-1e9, 1e9);
        /// Highest reward, as the program declares it.
        reward_max: f64 = 1.0, Limit::Real(-1e9, 1e9);
        /// Where steps of an attempt end, and trees can fork, for a grader. Default: nowhere.
        step: Option<StepEnd> = None, Limit::Any;
        /// Most steps of an attempt.
        max_steps: usize = 16, Limit::Whole(1, 1000);
        /// How long the program may take to answer a request, in seconds.
        timeout_seconds: f64 = 30.0, Limit::Above(0.0, 86_400.0);
        /// How long it may take to start, in seconds.
        start_timeout_seconds: f64 = 60.0, Limit::Above(0.0, 86_400.0);
        /// How often a program that failed is started again before it is given up; a thousand good
        /// replies forgive all.
        restarts_max: usize = 8, Limit::Whole(0, 1_000_000);
        /// Most bytes of one line of its output.
        line_bytes_max: usize = 1_048_576, Limit::Whole(1024, 268_435_456);
        /// Most bytes of an observation; what is longer is cut, with a mark.
        observation_bytes_max: usize = 4000, Limit::Whole(64, 10_000_000);
        with {
            /// Where tasks come from.
            source: ExternalSource = ExternalSource::Tasks(ProgramTasks::default());
        }
    }
}

impl Settings for ExternalSource {
    fn read(section: &Section<'_>, default: Self) -> Self {
        let found = match (section.has("tasks"), section.has("files")) {
            (true, true) => Some("both"),
            (false, false) => Some("neither"),
            _ => None,
        };
        if let Some(found) = found {
            let key = &section.path;
            let message =
                format!("`{key}` must hold exactly one of `tasks`, `files`; found: {found}");
            section.notes.error(section.offset, key, message);
        }
        let tasks = section.child("tasks").map(|table| {
            let tasks = ProgramTasks::read(&table, ProgramTasks::default());
            table.finish();
            ExternalSource::Tasks(tasks)
        });
        let files = section.child("files").map(|table| {
            let files = Files::read(&table, Files::default());
            table.finish();
            ExternalSource::Files(files)
        });
        tasks.or(files).unwrap_or(default)
    }

    fn write(&self, section: &str, out: &mut Vec<Entry>) {
        match self {
            ExternalSource::Tasks(tasks) => tasks.write(&format!("{section}.tasks"), out),
            ExternalSource::Files(files) => files.write(&format!("{section}.files"), out),
        }
    }
}
