//! # Success rate (online reward filtering within bounds, MIRAGE)
//!
//! Paper: MIRAGE / Logos, arXiv 2505.24238, online reward filtering and the bounds of its stages.
//! Idea: A task teaches most where the policy sometimes succeeds. Keep the trees whose share of
//! solved attempts lies between two bounds, under the policy that grew them.
//! Formula: keep ⇔ above < p̂ < below; p̂ = recursive mean of [outcome ≥ solved_at]
//! Reads: outcomes of leaves (the verdict's, not what `reward` makes of them), companions' not.
//! Differs: MIRAGE estimates p̂ with samples of their own before a stage; here it is read off the
//! tree that trains, so nothing is sampled twice and the estimate is never old. Its stages are
//! `above = 0` and then `below = 0.5`.
//! Degenerate: no judged attempt: dropped. Both bounds are strict, so that `above = 0, below = 1`
//! drops what was always or never solved.
//! Control: no filter at an equal number of sampled tokens; `drop_uniform`.

use serde::{Deserialize, Serialize};
use stepwell_tree::StepTree;

use super::{Keep, assert_fits, solved_problem};

/// Bounds on the share of attempts that solve the task; at least one of the two is set.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Keep trees with a rate above this, from 0 up to and without 1. Default none; the first of
    /// MIRAGE's stages has 0.
    pub above: Option<f64>,
    /// Keep trees with a rate below this, above 0 and at most 1. Default none; the second of
    /// MIRAGE's stages has 0.5.
    pub below: Option<f64>,
    /// An attempt with at least this outcome has solved its task, in units of the verdict's reward.
    /// Default 1, ours.
    pub solved_at: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { above: None, below: None, solved_at: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let (low, high) = (self.above.unwrap_or(0.0), self.below.unwrap_or(1.0));
        if self.above.is_none() && self.below.is_none() {
            return Some("`success_rate` drops nothing; set `above`, `below` or both".to_owned());
        }
        if !(0.0..1.0).contains(&low) {
            return Some(format!(
                "`success_rate.above` must be from 0 up to and without 1, got: {low}"
            ));
        }
        if !(high > 0.0 && high <= 1.0 && high > low) {
            return Some(format!(
                "`success_rate.below` must be above 0, above `above` ({low}) and at most 1, got: \
                 {high}"
            ));
        }
        solved_problem("success_rate", self.solved_at)
    }
}

/// Drops a tree outside the bounds.
pub fn keep(tree: &StepTree, reward: &[Option<f64>], config: &Config) -> Keep {
    assert_fits(tree, reward);
    let fine = |rate: f64| {
        config.above.is_none_or(|above| rate > above)
            && config.below.is_none_or(|below| rate < below)
    };
    let rate = super::success_rate(tree, config.solved_at);
    if rate.is_some_and(fine) { Keep::All } else { Keep::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::COMPANION;
    use stepwell_tree::parse;

    /// Of four attempts the first `solved` succeed.
    fn kept(solved: usize, config: &Config) -> bool {
        let row = |i: usize| format!("{} 0 policy a r={}\n", i + 1, usize::from(i < solved));
        let tree = parse(&format!("0 - prompt q\n{}", (0..4).map(row).collect::<String>()));
        keep(&tree, &[None; 5], config) == Keep::All
    }

    #[test]
    fn a_worked_tree_and_strict_bounds() {
        let bounds = |above, below| Config { above, below, ..Config::default() };
        let which = |config: Config| (0..=4).filter(|k| kept(*k, &config)).collect::<Vec<_>>();
        // MIRAGE, invariant 3: p̂ is one of 0, 1/4 .. 1; at the bound 0.5 nothing is kept.
        assert_eq!(which(bounds(Some(0.0), None)), [1, 2, 3, 4]);
        assert_eq!(which(bounds(None, Some(0.5))), [0, 1]);
        assert_eq!(which(bounds(Some(0.0), Some(0.5))), [1]);
        assert_eq!(which(bounds(Some(0.0), Some(1.0))), [1, 2, 3]);
        let unjudged = parse("0 - prompt q\n1 0 policy a unscored=x");
        let open = bounds(None, Some(1.0));
        assert_eq!(keep(&unjudged, &[None; 2], &open), Keep::Nothing);
    }

    #[test]
    fn a_companion_is_no_attempt() {
        let mut tree = parse("0 - prompt q\n1 0 policy a r=0\n2 0 policy b r=1");
        let solved = Config { above: Some(0.0), ..Config::default() };
        assert_eq!(keep(&tree, &[None; 3], &solved), Keep::All);
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 0.0, 1.0]);
        assert_eq!(keep(&tree, &[None; 3], &solved), Keep::Nothing);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        let bad = |config: Config, key: &str| {
            assert!(config.problem().is_some_and(|p| p.starts_with(key)), "{config:?}");
        };
        let fine = Config { above: Some(0.0), ..Config::default() };
        assert_eq!(fine.problem(), None);
        bad(Config::default(), "`success_rate` drops nothing");
        bad(Config { above: Some(1.0), ..fine }, "`success_rate.above`");
        bad(Config { below: Some(0.0), ..fine }, "`success_rate.below`");
        bad(Config { above: Some(0.6), below: Some(0.5), ..fine }, "`success_rate.below`");
        bad(Config { solved_at: f64::NAN, ..fine }, "`success_rate.solved_at`");
    }
}
