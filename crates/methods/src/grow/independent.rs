//! # Independent attempts
//!
//! Paper: none; the group of GRPO, RLOO and best-of-N.
//! Idea: Several attempts that share nothing but the prompt.
//! Formula: children(root) = attempts; children(observation) = 1
//! Reads: nothing.
//! Differs: nothing to differ from.
//! Degenerate: one attempt is one line; group-relative credit then has nothing to compare.
//! Control: it is the control of every method that forks, at the same number of sampled tokens.

use serde::{Deserialize, Serialize};

/// Attempts that share the prompt only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Attempts per task, 1 to 65536. Default 8, as Tool-Star and ReEx-SQL.
    pub attempts: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { attempts: 8 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (1..=65536).contains(&self.attempts);
        (!fine).then(|| format!("`attempts` must be from 1 to 65536, got: {}", self.attempts))
    }
}

/// Steps to open below the prompt.
pub fn opening(config: &Config) -> u32 {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    config.attempts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_its_attempts_and_refuses_none() {
        assert_eq!(opening(&Config::default()), 8);
        assert!(Config { attempts: 0 }.problem().is_some());
    }
}
