//! # A mix along half a cosine
//!
//! Paper: the annealed static hybrid that SASR, arXiv 2505.13026, compares itself with.
//! Idea: Begin with demonstrations and end with rewards, along a curve that is known beforehand.
//! Formula: p(t) = last + (first − last)·(1 + cos(π·t/(T−1)))/2, t = 0 .. T−1
//! Reads: the place of the update in its stage.
//! Differs: nothing to differ from; the paper's ends are not known, and ours are 1 and 0.
//! Degenerate: a stage of one update has the first share; equal ends are `fixed`.
//! Control: `fixed` at the mean of the two ends, which is the mean of the curve.

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

use super::{At, Mix, Plan};

/// A share of demonstrations that falls, or rises, along half a cosine.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Share of demonstrations in the first update, from 0 to 1. Default 1, ours.
    pub first: f64,
    /// Share in the last update, from 0 to 1. Default 0, ours.
    pub last: f64,
    /// How the share becomes weights. Default `bernoulli`.
    pub mix: Mix,
}

impl Default for Config {
    fn default() -> Self {
        Config { first: 1.0, last: 0.0, mix: Mix::default() }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let wrong = [("first", self.first), ("last", self.last)];
        let wrong = wrong.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share));
        wrong.map(|(key, share)| format!("`cosine.{key}` must be from 0 to 1, got: {share}"))
    }
}

/// What the next update is made of.
pub fn plan(at: &At, config: &Config, key: Key) -> Plan {
    config.mix.plan(share(at, config), key)
}

/// The share of an update.
fn share(at: &At, config: &Config) -> f64 {
    let done = at.update as f64 / f64::max(at.updates as f64 - 1.0, 1.0);
    let left = 0.5 * (1.0 + (std::f64::consts::PI * done.min(1.0)).cos());
    (config.last + (config.first - config.last) * left).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_curve() {
        let config = Config { first: 0.9, last: 0.1, mix: Mix::Soft };
        let of = |update| share(&At { update, updates: 5 }, &config);
        // cos 0, π/4, π/2, 3π/4, π: 0.9, 0.5 + 0.4·0.70711, 0.5, 0.5 − 0.4·0.70711, 0.1
        for (update, expected) in [0.9, 0.782_842_7, 0.5, 0.217_157_3, 0.1].into_iter().enumerate()
        {
            assert!((of(update as u64) - expected).abs() < 1e-7, "{update}: {}", of(update as u64));
        }
        let mean: f64 = (0..5).map(of).sum::<f64>() / 5.0;
        assert!((mean - 0.5).abs() < 1e-12);
        assert_eq!(share(&At { update: 0, updates: 1 }, &config), 0.9);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { last: -0.1, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`cosine.last`")));
    }
}
