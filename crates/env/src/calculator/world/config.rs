//! Settings of a generated world of word problems.

use serde::{Deserialize, Serialize};

use super::trace::TraceMix;
use crate::Split;

/// What to generate.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldConfig {
    /// Seed of the world, apart from the run's, so that runs with other seeds share a world.
    pub seed: u64,
    /// 1: one calculation. 2: two, the second with the result of the first.
    pub difficulty: u8,
    /// Problems to train on, 1 to 100,000.
    pub train_problems: usize,
    /// Problems never trained on, for decisions during development, 0 to 100,000.
    pub development_problems: usize,
    /// Problems never trained on, for the final evaluation, 0 to 100,000.
    pub held_out_problems: usize,
    /// Largest number of a question, 20 to 10,000.
    pub number_max: i64,
    /// How demonstrations are worked.
    pub mix: TraceMix,
}

/// Most problems of a split: as far as their numbers may go before the next split's begin.
const PROBLEMS_MAX: usize = 100_000;

impl Default for WorldConfig {
    fn default() -> Self {
        WorldConfig {
            seed: 1,
            difficulty: 1,
            train_problems: 2000,
            development_problems: 100,
            held_out_problems: 400,
            number_max: 99,
            mix: TraceMix::default(),
        }
    }
}

impl WorldConfig {
    /// What is wrong with these settings, one sentence each; empty where a world can be built.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut range = |name: &str, got: i64, least: i64, most: i64| {
            if !(least..=most).contains(&got) {
                problems.push(format!("`{name}` must be from {least} to {most}, got: {got}"));
            }
        };
        let most = PROBLEMS_MAX as i64;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        range("difficulty", i64::from(self.difficulty), 1, 2);
        range("train_problems", count(self.train_problems), 1, most);
        range("development_problems", count(self.development_problems), 0, most);
        range("held_out_problems", count(self.held_out_problems), 0, most);
        range("number_max", self.number_max, 20, 10_000);
        problems.extend(self.mix.problems());
        problems
    }

    /// How many problems a split has.
    pub(super) fn count(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train_problems,
            Split::Development => self.development_problems,
            Split::HeldOut => self.held_out_problems,
        }
    }
}
