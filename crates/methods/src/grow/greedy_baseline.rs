//! # Attempts beside a greedy one
//!
//! Paper: ReMax, arXiv 2310.10505, algorithm 1.
//! Idea: The reward of the likeliest attempt is a baseline that costs one attempt per task and no
//! value model; it does not depend on what the others sampled.
//! Formula: children(root) = attempts + 1, the last at temperature 0; children(observation) = 1
//! Reads: nothing.
//! Differs: several attempts can share one baseline; the paper samples one.
//! Degenerate: a greedy attempt that cannot be judged leaves its tree without credit.
//! Control: `leave_one_out` on `independent` with one attempt more: the same tokens, and the
//! baseline from samples.
//!
//! The greedy attempt is a companion: it is recorded and charged, it is in no mean of rewards, and
//! it is never trained. `remax` reads it.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree};

/// Attempts that share the prompt, and a greedy one beside them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Sampled attempts per task, 1 to 65535. Default 1, the paper's.
    pub attempts: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { attempts: 1 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (1..=65535).contains(&self.attempts);
        (!fine).then(|| format!("`attempts` must be from 1 to 65535, got: {}", self.attempts))
    }
}

/// Steps to open below the prompt; the last is greedy.
pub fn opening(config: &Config) -> u32 {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    config.attempts + 1
}

/// True for the greedy child of the prompt.
pub fn is_greedy(config: &Config, child_index: u32) -> bool {
    child_index == config.attempts
}

/// `[N]` 1 on the steps of the greedy attempt.
pub fn companions(tree: &StepTree, config: &Config) -> Vec<f32> {
    let greedy =
        |i: usize| tree.parent[i] == StepId::ROOT && is_greedy(config, tree.child_index[i]);
    super::companions(tree, greedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_tree() {
        let config = Config { attempts: 2 };
        assert_eq!(opening(&config), 3);
        assert_eq!([0, 1, 2].map(|k| is_greedy(&config, k)), [false, false, true]);
        let tree = stepwell_tree::parse(
            "0 -  prompt q
             1 0  policy a        r=1
             2 0  policy b        r=0
             3 0  policy g
             4 3  environment o
             5 4  policy h        r=1",
        );
        assert_eq!(companions(&tree, &config), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert!(Config { attempts: 0 }.problem().is_some());
    }
}
