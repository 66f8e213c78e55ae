//! Settings of a generated world.

use serde::{Deserialize, Serialize};

use super::trace::TraceMix;
pub use crate::split::Split;

/// What to generate.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldConfig {
    /// Seed of the world, apart from the run's, so that runs with other seeds share a world.
    pub seed: u64,
    /// 1: one condition. 2: two conditions on one table. 3: a condition on a joined table.
    pub difficulty: u8,
    /// Databases to train on, 1 to 100,000.
    pub train_databases: usize,
    /// Databases never trained on, for decisions during development, 0 to 100,000.
    pub development_databases: usize,
    /// Databases never trained on, for the final evaluation, 0 to 100,000.
    pub held_out_databases: usize,
    /// Questions per database, 1 to 50; a database with fewer distinct ones asks those.
    pub questions: usize,
    /// How demonstrations are worked.
    pub mix: TraceMix,
}

/// Most databases of a split: as far as their numbers may go before the next split's begin.
const DATABASES_MAX: usize = 100_000;
const QUESTIONS_MAX: usize = 50;

impl Default for WorldConfig {
    fn default() -> Self {
        WorldConfig {
            seed: 1,
            difficulty: 1,
            train_databases: 1000,
            development_databases: 20,
            held_out_databases: 100,
            questions: 4,
            mix: TraceMix::default(),
        }
    }
}

impl WorldConfig {
    /// What is wrong with these settings, one sentence each; empty where a world can be built.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut range = |name: &str, got: usize, least: usize, most: usize| {
            if !(least..=most).contains(&got) {
                problems.push(format!("`{name}` must be from {least} to {most}, got: {got}"));
            }
        };
        range("difficulty", usize::from(self.difficulty), 1, 3);
        range("train_databases", self.train_databases, 1, DATABASES_MAX);
        range("development_databases", self.development_databases, 0, DATABASES_MAX);
        range("held_out_databases", self.held_out_databases, 0, DATABASES_MAX);
        range("questions", self.questions, 1, QUESTIONS_MAX);
        problems.extend(self.mix.problems());
        problems
    }

    /// How many databases a split has.
    pub(super) fn databases(&self, split: Split) -> usize {
        match split {
            Split::Train => self.train_databases,
            Split::Development => self.development_databases,
            Split::HeldOut => self.held_out_databases,
        }
    }
}
