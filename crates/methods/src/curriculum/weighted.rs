//! # Tasks by what they can teach
//!
//! Paper: curriculum by estimated accuracy as in MIRAGE / Logos, arXiv 2505.24238; the weight is
//! the variance of a success, as in learnability sampling, arXiv 2408.15099.
//! Idea: A group of attempts has a signal as often as they differ: most often where the task is
//! solved half of the time. Draw tasks by that, and never quite forget the others.
//! Formula: w = floor + (1 − floor)·4·p̂·(1 − p̂), w = 1 without an estimate; tasks in the order of
//! −ln(u)/w, u uniform: draws by weight without putting back
//! Reads: p̂ of the stage's own trees by task and policy version.
//! Differs: MIRAGE cuts at thresholds; this has none.
//! Degenerate: floor 1, or no estimates: uniform draws; all solved: floor for all, uniform again.
//! Control: `floor = 1`.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, TaskHash};

use super::{Estimates, Now, Order};

/// Weights of tasks.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Weight of a task that is always or never solved, above 0, at most 1. Default 0.05, ours.
    pub floor: f64,
    /// Optimizer steps after which an estimate is forgotten. Default none.
    pub stale_after: Option<u64>,
    /// An attempt with at least this outcome has solved its task. Default 1, ours.
    pub solved_at: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { floor: 0.05, stale_after: None, solved_at: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        if self.floor == 0.0 {
            return Some("`weighted.floor` must be above 0 and at most 1, got: 0".to_owned());
        }
        super::problem("weighted", self.solved_at, &[("floor", self.floor)])
    }

    fn weight(&self, rate: Option<f64>) -> f64 {
        rate.map_or(1.0, |p| self.floor + (1.0 - self.floor) * 4.0 * p * (1.0 - p))
    }
}

/// All tasks, the heavy ones earlier.
pub fn order(
    tasks: &[TaskHash],
    estimates: &Estimates,
    now: &Now,
    config: &Config,
    key: Key,
) -> Order {
    let wait = |task: &TaskHash| {
        let rate = estimates.rate(task, now.version, config.stale_after);
        -(1.0 - key.with_task(task).uniform()).ln() / config.weight(rate)
    };
    let mut all: Vec<(f64, usize)> =
        tasks.iter().enumerate().map(|(i, task)| (wait(task), i)).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    Order { task: all.into_iter().map(|(_, i)| i).collect(), wanted: tasks.len() }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;
    use stepwell_tree::Purpose;

    #[test]
    fn worked_weights() {
        let config = Config { floor: 0.2, ..Config::default() };
        let expected = [(Some(0.0), 0.2), (Some(0.25), 0.8), (Some(0.5), 1.0), (Some(1.0), 0.2)];
        for (rate, weight) in expected {
            assert!((config.weight(rate) - weight).abs() < 1e-15, "{rate:?}");
        }
        assert_eq!(config.weight(None), 1.0);
    }

    #[test]
    fn the_first_draw_is_by_weight_and_every_task_is_there_once() {
        let tasks: Vec<TaskHash> = (0..3).map(|t| TaskHash([t; 32])).collect();
        let mut estimates = Estimates::default();
        // Solved never, half of the time, always: weights 0.25, 1, 0.25.
        estimates.observe(&tree(0, &["r=0", "r=0"]), 1, 1.0);
        estimates.observe(&tree(1, &["r=0", "r=1"]), 1, 1.0);
        estimates.observe(&tree(2, &["r=1", "r=1"]), 1, 1.0);
        let config = Config { floor: 0.25, ..Config::default() };
        let now = Now { update: 0, updates: 1, version: 1 };
        let mut first = [0; 3];
        for draw in 0..6000 {
            let key = Key::new(2, Purpose::TaskOrder).with(draw);
            let mut order = order(&tasks, &estimates, &now, &config, key).task;
            first[order[0]] += 1;
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
        }
        // 1/6, 4/6, 1/6 of 6000, within five deviations of 28.9 and 36.5.
        assert!((first[0] - 1000i32).abs() < 145 && (first[1] - 4000i32).abs() < 183, "{first:?}");
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        for floor in [0.0, 1.5, f64::NAN] {
            let wrong = Config { floor, ..Config::default() };
            assert!(wrong.problem().is_some_and(|p| p.starts_with("`weighted.floor`")), "{floor}");
        }
    }
}
