//! Which tasks an update is made of, by how often the policy solved them.
//!
//! A curriculum is `order(tasks, estimates, place, config, key)`: all training tasks in the order
//! in which an update takes them. Estimates come from the trees that the stage itself grew; a task
//! that was never tried has none, and is as welcome as any. The table is part of the checkpoint.

pub mod easy_to_hard;
pub mod epochs;
pub mod weighted;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stepwell_tree::{StepId, StepTree, TaskHash, leaves};

use crate::grow::is_companion;

/// What is known of one task.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// p̂: share of attempts that solved it, from 0 to 1.
    pub rate: f64,
    /// Attempts behind it, at least 1.
    pub attempts: u64,
    /// The policy version that made them.
    pub version: u64,
}

/// Estimates by task: of each the newest policy version that tried it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Estimates {
    table: BTreeMap<TaskHash, Estimate>,
}

impl Estimates {
    /// Adds what a tree shows. Attempts of one policy version add up; those of an older one are
    /// forgotten. A tree without a judged attempt shows nothing; companions are no attempts.
    pub fn observe(&mut self, tree: &StepTree, version: u64, solved_at: f64) {
        let Some(rate) = crate::filter::success_rate(tree, solved_at) else { return };
        let own = |s: &&StepId| !is_companion(tree, **s);
        let judged = |s: &&StepId| tree.verdict[s.index()].reward().is_some();
        let attempts = leaves(tree).iter().filter(own).filter(judged).count() as u64;
        let fresh = Estimate { rate, attempts, version };
        let mut known = match self.table.entry(tree.task) {
            Entry::Occupied(known) => known,
            Entry::Vacant(place) => {
                place.insert(fresh);
                return;
            }
        };
        let own = known.get_mut();
        if own.version != version {
            *own = fresh;
        } else {
            let all = (own.attempts + attempts) as f64;
            own.rate = (own.rate * own.attempts as f64 + rate * attempts as f64) / all;
            own.attempts += attempts;
        }
    }

    /// p̂ of a task; `None` where it was not tried, or by a policy more than `stale_after`
    /// optimizer steps ago.
    pub fn rate(&self, task: &TaskHash, now: u64, stale_after: Option<u64>) -> Option<f64> {
        let own = self.table.get(task)?;
        let fresh = |steps: u64| now.saturating_sub(own.version) <= steps;
        stale_after.is_none_or(fresh).then_some(own.rate)
    }

    /// Tasks that have an estimate.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True where no task has one.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
}

/// One line of the table as text has it: the hash in four words, and numbers bit for bit (INV-16).
type Line = ([u64; 4], u64, u64, u64);

impl Serialize for Estimates {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let word = |hash: &TaskHash, i: usize| {
            u64::from_le_bytes(hash.0[8 * i..8 * i + 8].try_into().expect("eight bytes of 32"))
        };
        let line = |(hash, own): (&TaskHash, &Estimate)| -> Line {
            ([0, 1, 2, 3].map(|i| word(hash, i)), own.rate.to_bits(), own.attempts, own.version)
        };
        serializer.collect_seq(self.table.iter().map(line))
    }
}

impl<'de> Deserialize<'de> for Estimates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let lines: Vec<Line> = Vec::deserialize(deserializer)?;
        let entry = |(words, rate, attempts, version): Line| {
            let mut hash = [0; 32];
            for (bytes, word) in hash.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            (TaskHash(hash), Estimate { rate: f64::from_bits(rate), attempts, version })
        };
        Ok(Estimates { table: lines.into_iter().map(entry).collect() })
    }
}

/// Where a stage stands when it asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// The update, from 0.
    pub update: u64,
    /// Updates of the stage, at least 1.
    pub updates: u64,
    /// The policy version that will try the tasks.
    pub version: u64,
}

/// All tasks in the order in which an update takes them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// Places in the list of tasks; each once.
    pub task: Vec<usize>,
    /// How many of the first are what the curriculum wants; the others follow where those are too
    /// few.
    pub wanted: usize,
}

/// Ranges that both kinds check.
pub(crate) fn problem(kind: &str, solved_at: f64, shares: &[(&str, f64)]) -> Option<String> {
    let wrong = shares.iter().find(|(_, share)| !(0.0..=1.0).contains(share));
    let share = wrong.map(|(key, x)| format!("`{kind}.{key}` must be from 0 to 1, got: {x}"));
    share.or_else(|| crate::filter::solved_problem(kind, solved_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::parse;

    pub(super) fn tree(task: u8, verdicts: &[&str]) -> StepTree {
        let row = |(i, v): (usize, &&str)| format!("{} 0 policy a {v}\n", i + 1);
        let rows: String = verdicts.iter().enumerate().map(row).collect();
        let mut tree = parse(&format!("0 - prompt q\n{rows}"));
        tree.task = TaskHash([task; 32]);
        tree
    }

    #[test]
    fn attempts_of_one_version_add_up_and_a_newer_version_starts_over() {
        let mut all = Estimates::default();
        let rate = |all: &Estimates| all.rate(&TaskHash([1; 32]), 9, None);
        all.observe(&tree(1, &["r=1", "r=0", "unscored=x"]), 3, 1.0);
        assert_eq!(rate(&all), Some(0.5));
        all.observe(&tree(1, &["r=0", "r=0", "r=0", "r=0"]), 3, 1.0);
        // One of six.
        assert!((rate(&all).unwrap() - 1.0 / 6.0).abs() < 1e-15);
        all.observe(&tree(1, &["unscored=x"]), 4, 1.0);
        assert!((rate(&all).unwrap() - 1.0 / 6.0).abs() < 1e-15);
        all.observe(&tree(1, &["r=1"]), 5, 1.0);
        assert_eq!((rate(&all), all.len()), (Some(1.0), 1));
        // Old news is no news.
        assert_eq!(all.rate(&TaskHash([1; 32]), 9, Some(4)), Some(1.0));
        assert_eq!(all.rate(&TaskHash([1; 32]), 10, Some(4)), None);
        assert_eq!(all.rate(&TaskHash([2; 32]), 9, None), None);
    }

    #[test]
    fn a_second_tree_that_looks_like_the_first_counts_too() {
        let mut all = Estimates::default();
        all.observe(&tree(1, &["r=1", "r=0"]), 3, 1.0);
        all.observe(&tree(1, &["r=1", "r=0"]), 3, 1.0);
        assert_eq!(all.table[&TaskHash([1; 32])].attempts, 4);
        // Two of six, and not one of four.
        all.observe(&tree(1, &["r=0", "r=0"]), 3, 1.0);
        assert!((all.rate(&TaskHash([1; 32]), 9, None).unwrap() - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn a_companion_is_no_attempt() {
        let mut all = Estimates::default();
        let mut beside = tree(1, &["r=1", "r=0", "r=0"]);
        beside.step_column.insert(crate::grow::COMPANION.to_owned(), vec![0.0, 0.0, 1.0, 1.0]);
        all.observe(&beside, 3, 1.0);
        let expected = Estimate { rate: 1.0, attempts: 1, version: 3 };
        assert_eq!(all.table[&TaskHash([1; 32])], expected);
    }
}
