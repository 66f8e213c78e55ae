//! # Group-relative advantage (GRPO)
//!
//! Paper: DeepSeekMath, arXiv 2402.03300, section 4.1; Dr. GRPO, arXiv 2503.20783 (`std = "none"`).
//! Idea: The attempts at one task are each other's baseline: no value model is needed.
//! Formula: Aᵢ = (rᵢ − mean r) / (std r + ε); c(s) = recursive mean of A over the leaves below s
//! Reads: rewards of leaves; at least two scored attempts per tree.
//! Differs: default std divides by G − 1 as the libraries do (verl, TRL), the paper does not say.
//! Equal rewards give exactly 0, tested by max = min and not left to ε. On a branched tree the
//! group is all scored leaves (DECISIONS 6).
//! Degenerate: equal rewards 0; one scored leaf `None`, or its reward with `single = "reward"` (the
//! libraries' behaviour: mean := 0, std := 1); unscored leaves are in no mean and no deviation.
//! Control: `permuted` of this one.
//!
//! The mean contains the attempt's own reward, so without std the gradient is (G − 1)/G times that
//! of `leave_one_out`. Dr. GRPO is `std = "none"` with the aggregation
//! `sequence_mean_token_sum_norm`.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, Verdict};

use super::{Rewards, assert_fits, from_leaves};

/// What a group's centred rewards are divided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deviation {
    /// Standard deviation with divisor G − 1.
    #[default]
    Unbiased,
    /// Standard deviation with divisor G.
    Population,
    /// Nothing (Dr. GRPO).
    None,
}

/// What a group of one gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Single {
    /// Nothing to compare with, so no credit (DECISIONS 5).
    #[default]
    None,
    /// The reward itself, as verl and TRL do.
    Reward,
}

/// GRPO's advantage.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The divisor. Default `unbiased`, verified in verl and TRL.
    pub std: Deviation,
    /// Added to the standard deviation; in units of reward, 0 to 1. Default 1e-6, as verl.
    pub epsilon: f64,
    /// What a group with one scored leaf gives. Default `none`, ours.
    pub single: Single,
}

impl Default for Config {
    fn default() -> Self {
        Config { std: Deviation::default(), epsilon: 1e-6, single: Single::default() }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=1.0).contains(&self.epsilon);
        (!fine).then(|| format!("`group_mean.epsilon` must be from 0 to 1, got: {}", self.epsilon))
    }
}

/// Each attempt's reward, centred and scaled by its group.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(t, tree): (usize, &StepTree)| {
        let mut scored = rewards.scored(t);
        if stepwell_mutant::planted(3) {
            let unjudged = |i: &usize| matches!(tree.verdict[*i], Verdict::Unscored(_));
            scored.extend((0..tree.len()).filter(unjudged).map(|_| 0.0));
        }
        let standard = match (scored.len(), config.single) {
            (0, _) | (1, Single::None) => return Credit::none(tree.len()),
            (1, Single::Reward) => Standard::NOTHING,
            _ => Standard::of(&scored, config.std, config.epsilon),
        };
        from_leaves(tree, |s| rewards.leaf[t][s.index()].map(|r| standard.apply(r)))
    };
    forest.iter().enumerate().map(of).collect()
}

/// What centres and scales the numbers of one group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standard {
    centre: f64,
    scale: f64,
    /// The numbers are equal: each becomes exactly 0.
    equal: bool,
}

impl Standard {
    /// Leaves every number as it is.
    pub(super) const NOTHING: Standard = Standard { centre: 0.0, scale: 1.0, equal: false };

    /// Of a group of at least two numbers. Numbers that differ by rounding alone are equal: values
    /// of steps are means of means, and a deviation of rounding errors must scale nothing.
    pub(super) fn of(group: &[f64], std: Deviation, epsilon: f64) -> Standard {
        let ends = |(low, high): (f64, f64), x: &f64| (low.min(*x), high.max(*x));
        let (low, high) = group.iter().fold((f64::INFINITY, f64::NEG_INFINITY), ends);
        let epsilon = if stepwell_mutant::planted(5) { 0.0 } else { epsilon };
        if !stepwell_mutant::planted(5) && high - low <= 1e-12 * low.abs().max(high.abs()) {
            return Standard { equal: true, ..Standard::NOTHING };
        }
        let count = group.len() as f64;
        let centre = group.iter().sum::<f64>() / count;
        let squares: f64 = group.iter().map(|x| (x - centre) * (x - centre)).sum();
        let scale = match std {
            Deviation::Unbiased => (squares / (count - 1.0)).sqrt() + epsilon,
            Deviation::Population => (squares / count).sqrt() + epsilon,
            Deviation::None => 1.0,
        };
        Standard { centre, scale, equal: false }
    }

    /// The number as its group sees it.
    pub(super) fn apply(self, number: f64) -> f64 {
        if self.equal { 0.0 } else { (number - self.centre) / self.scale }
    }

    /// The number by the group's deviation, not centred.
    pub(super) fn scale(self, number: f64) -> f64 {
        if self.equal { 0.0 } else { number / self.scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    #[test]
    fn a_worked_tree() {
        // Leaves 1, 0, 0: mean 1/3, unbiased std √(1/3); step 2 gets the mean of its two leaves.
        let tree = "
            0 -  prompt q
            1 0  policy a        r=0      | -0.57735
            2 0  policy b                 | 0.288675
            3 2  environment o
            4 3  policy c        r=1      | 1.154701
            5 3  policy d        r=0      | -0.57735
            6 3  policy e        unscored=interrupted";
        laws::table(tree, |f, r| credit(f, r, &Config { epsilon: 0.0, ..Config::default() }));
    }

    const FIVE: &str = "
        0 -  prompt q
        1 0  policy a        r=1
        2 0  policy b        r=0
        3 0  policy c        r=0
        4 0  policy d        r=1
        5 0  policy e        r=1";

    #[test]
    fn the_fixture_of_the_libraries() {
        // r = [1, 0, 0, 1, 1], primitives.md section 4.
        let fixture = [
            (Deviation::Unbiased, [0.7303, -1.0954, -1.0954, 0.7303, 0.7303]),
            (Deviation::Population, [0.8165, -1.2247, -1.2247, 0.8165, 0.8165]),
            (Deviation::None, [0.4, -0.6, -0.6, 0.4, 0.4]),
        ];
        for (std, expected) in fixture {
            let forest = [stepwell_tree::parse(FIVE)];
            let rewards = crate::reward::outcome::reward(&forest);
            let config = Config { std, ..Config::default() };
            let got = &credit(&forest, &rewards, &config)[0].step[1..];
            for (got, expected) in got.iter().zip(expected) {
                assert!((got.unwrap() - expected).abs() < 5e-5, "{std:?}: {got:?}, {expected}");
            }
        }
    }

    #[test]
    fn one_attempt_has_no_group() {
        let none = "0 - prompt q\n1 0 policy a r=0.5\n2 0 policy b unscored=interrupted";
        laws::table(none, |f, r| credit(f, r, &Config::default()));
        let reward = "0 - prompt q\n1 0 policy a r=0.5 | 0.5\n2 0 policy b unscored=interrupted";
        laws::table(reward, |f, r| {
            credit(f, r, &Config { single: Single::Reward, ..Config::default() })
        });
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            needs_two: true,
            flat_zero_sum: true,
            ..Claims::NONE
        };
        let exact = Config { epsilon: 0.0, ..Config::default() };
        let scale = Scale::Invariant;
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
        laws::check(|f, r| credit(f, r, &exact), Claims { scale, ..claims });
        let plain = Config { std: Deviation::None, ..Config::default() };
        laws::check(|f, r| credit(f, r, &plain), Claims { scale: Scale::Linear, ..claims });
    }
}
