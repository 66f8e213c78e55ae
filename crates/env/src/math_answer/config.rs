//! Settings of the `math_answer` environment.

use serde::Deserialize;

use super::extract::Form;
use crate::EnvError;

/// Where a step of reasoning ends; trees can fork there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// At a blank line.
    #[default]
    Paragraph,
    /// At the end of a line.
    Line,
    /// Nowhere: an attempt is one step.
    Answer,
}

/// The recipe's `environment = { type = "math_answer", ... }` without `type` and file names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How a final answer is marked.
    pub form: Form,
    /// True where the prompt says how.
    pub instructions: bool,
    /// Where a step ends.
    pub step: StepEnd,
    /// Most steps of an attempt, 1 to 1000.
    pub max_steps: u32,
}

impl Default for Config {
    fn default() -> Self {
        let (form, step) = (Form::default(), StepEnd::default());
        Config { form, instructions: true, step, max_steps: 32 }
    }
}

impl StepEnd {
    pub(crate) fn stop(self) -> Option<&'static str> {
        match self {
            StepEnd::Paragraph => Some("\n\n"),
            StepEnd::Line => Some("\n"),
            StepEnd::Answer => None,
        }
    }
}

impl Config {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), EnvError> {
        if !(1..=1000).contains(&self.max_steps) {
            return Err(EnvError::Setting {
                name: "max_steps",
                expected: "1 to 1000",
                got: self.max_steps.to_string(),
            });
        }
        Ok(())
    }
}
