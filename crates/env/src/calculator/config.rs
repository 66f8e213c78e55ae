//! Settings of the `calculator` environment.

use serde::Deserialize;

use super::prompt;
use crate::EnvError;

/// The recipe's `environment = { type = "calculator", ... }` without `type` and file names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most calls that are calculated in an attempt, 0 to 1000.
    pub max_interactions: u32,
    /// True where the prompt explains the tags: for models that were not trained on them.
    pub instructions: bool,
    /// Worked examples in the prompt, 0 to 4.
    pub examples: usize,
    /// Control: every observation is a value of another task, drawn by key. An answer that stays
    /// right has not read its observations.
    pub shuffled_results: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { max_interactions: 3, instructions: true, examples: 2, shuffled_results: false }
    }
}

impl Config {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), EnvError> {
        let refuse = |name, expected, got: String| Err(EnvError::Setting { name, expected, got });
        if self.max_interactions > 1000 {
            return refuse("max_interactions", "0 to 1000", self.max_interactions.to_string());
        }
        if self.examples > prompt::EXAMPLES.len() {
            return refuse("examples", "0 to 4", self.examples.to_string());
        }
        Ok(())
    }
}
