//! # From easy to hard (curriculum reinforcement fine-tuning, MIRAGE)
//!
//! Paper: MIRAGE / Logos, arXiv 2505.24238, curriculum reinforcement fine-tuning; from a digest.
//! Idea: First train on what the policy sometimes solves, then on what it mostly does not: each
//! part makes the next one learnable.
//! Formula: first part (t < first_share·T): p̂ > easy_above; second: p̂ < hard_below, and p̂ > 0
//! unless `readmit_unsolved`; a task without an estimate is in both
//! Reads: p̂ of the stage's own trees by task and policy version.
//! Differs: the paper estimates p̂ of all tasks by samples of their own before each part; here the
//! trees that train are the samples, nothing is sampled twice, and a task is first tried when it is
//! drawn. Whether the paper readmits what was never solved is not known.
//! Degenerate: too few tasks in a part: the others follow, in keyed order; no estimates: keyed
//! order.
//! Control: `reverse = true`; `epochs` at an equal number of sampled tokens.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, TaskHash};

use super::{Estimates, Now, Order};

/// Two parts of a stage.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Share of the stage's updates in the first part, from 0 to 1. Default 0.5, ours; the paper
    /// gave it 16 of 22 hours.
    pub first_share: f64,
    /// Tasks with a rate above this are in the first part, from 0 to 1. Default 0, the paper's.
    pub easy_above: f64,
    /// Tasks with a rate below this are in the second, from 0 to 1. Default 0.5, the paper's.
    pub hard_below: f64,
    /// True lets tasks that were never solved into the second part. Default false, ours; where it
    /// is true, filter `drop_uniform`.
    pub readmit_unsolved: bool,
    /// True puts the second part first: the control. Default false.
    pub reverse: bool,
    /// Optimizer steps after which an estimate is forgotten. Default none.
    pub stale_after: Option<u64>,
    /// An attempt with at least this outcome has solved its task. Default 1, ours.
    pub solved_at: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            first_share: 0.5,
            easy_above: 0.0,
            hard_below: 0.5,
            readmit_unsolved: false,
            reverse: false,
            stale_after: None,
            solved_at: 1.0,
        }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { first_share, easy_above, hard_below, solved_at, .. } = *self;
        let shares =
            [("first_share", first_share), ("easy_above", easy_above), ("hard_below", hard_below)];
        super::problem("easy_to_hard", solved_at, &shares)
    }

    fn wants(&self, rate: Option<f64>, now: &Now) -> bool {
        let Some(rate) = rate else { return true };
        let first = (now.update as f64) < self.first_share * now.updates as f64;
        match first != self.reverse {
            true => rate > self.easy_above,
            false => rate < self.hard_below && (rate > 0.0 || self.readmit_unsolved),
        }
    }
}

/// What the part wants in keyed order, then the others.
pub fn order(
    tasks: &[TaskHash],
    estimates: &Estimates,
    now: &Now,
    config: &Config,
    key: Key,
) -> Order {
    let rate = |i: &usize| estimates.rate(&tasks[*i], now.version, config.stale_after);
    let drawn = key.permutation(tasks.len());
    let (mut task, others): (Vec<usize>, Vec<usize>) =
        drawn.into_iter().partition(|i| config.wants(rate(i), now));
    let wanted = task.len();
    task.extend(others);
    Order { task, wanted }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use stepwell_tree::Purpose;

    /// Tasks 0 to 4 were solved so many times of four; task 5 was not tried.
    fn wanted(config: &Config, update: u64) -> Vec<usize> {
        let tasks: Vec<TaskHash> = (0..6).map(|t| TaskHash([t; 32])).collect();
        let mut estimates = Estimates::default();
        for t in 0..5 {
            let verdict = |i| if i < t { "r=1" } else { "r=0" };
            estimates.observe(&tree(t, &[0, 1, 2, 3].map(verdict)), 7, 1.0);
        }
        let now = Now { update, updates: 10, version: 9 };
        let key = Key::new(1, Purpose::TaskOrder).with(update);
        let order = order(&tasks, &estimates, &now, config, key);
        let mut all = order.task.clone();
        all.sort_unstable();
        assert_eq!(all, (0..6).collect::<Vec<_>>());
        let mut first = order.task[..order.wanted].to_vec();
        first.sort_unstable();
        first
    }

    #[test]
    fn worked_parts_with_strict_bounds() {
        let config = Config::default();
        // MIRAGE, invariant 3: first p̂ > 0, then p̂ < 0.5, which 2 of 4 is not.
        assert_eq!(wanted(&config, 4), [1, 2, 3, 4, 5]);
        assert_eq!(wanted(&config, 5), [1, 5]);
        assert_eq!(wanted(&Config { readmit_unsolved: true, ..config }, 5), [0, 1, 5]);
        let reverse = Config { reverse: true, ..config };
        assert_eq!((wanted(&reverse, 0), wanted(&reverse, 9)), (vec![1, 5], vec![1, 2, 3, 4, 5]));
        // Estimates two steps old are forgotten after one.
        assert_eq!(wanted(&Config { stale_after: Some(1), ..config }, 5), [0, 1, 2, 3, 4, 5]);
        assert_eq!(wanted(&Config { stale_after: Some(2), ..config }, 5), [1, 5]);
        assert_eq!(wanted(&Config { first_share: 0.0, ..config }, 0), [1, 5]);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { hard_below: 1.5, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`easy_to_hard.hard_below`")));
        let wrong = Config { solved_at: f64::NAN, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`easy_to_hard.solved_at`")));
    }
}
