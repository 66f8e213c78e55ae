//! # Group policy gradient (GPG)
//!
//! Paper: GPG, arXiv 2504.02546.
//! Idea: A group whose rewards are all equal has no gradient, but stands in every mean; what is
//! left is scaled up by the share of groups that say something, so that the step does not shrink as
//! the policy solves its tasks.
//! Formula: Aᵢ = α·(rᵢ − mean r)/F; α = groups / groups with signal; c(s) = recursive mean of A
//! over the leaves below s
//! Reads: rewards of leaves of the whole update; at least two scored attempts per tree.
//! Differs: F is 1 by default, as in verl; `std` divides by the group's deviation. `alpha =
//! "nonzero_rewards"` is verl's count, attempts / attempts with reward other than 0, which is a
//! different number wherever a group is mixed. On a branched tree the group is all scored leaves.
//! Degenerate: no group with signal: every credit is exactly 0. Groups with fewer than two scored
//! leaves have credit `None` and are counted nowhere.
//! Control: `alpha = "none"`, which is `group_mean` with the same `std`.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::group_mean::{Deviation, Standard};
use super::{Rewards, assert_fits, from_leaves};

/// What credits are multiplied by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Alpha {
    /// Groups / groups whose rewards differ.
    #[default]
    GroupsWithSignal,
    /// Attempts / attempts with a reward other than 0, as verl counts.
    NonzeroRewards,
    /// 1.
    None,
}

/// GPG's advantage.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What credits are multiplied by. Default `groups_with_signal`, the paper's (DECISIONS 17).
    pub alpha: Alpha,
    /// The divisor F. Default `none`, verl's 1.
    pub std: Deviation,
    /// Added to the standard deviation; in units of reward, 0 to 1. Default 1e-6, as verl.
    pub epsilon: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { alpha: Alpha::default(), std: Deviation::None, epsilon: 1e-6 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=1.0).contains(&self.epsilon);
        (!fine).then(|| format!("`gpg.epsilon` must be from 0 to 1, got: {}", self.epsilon))
    }
}

/// Each attempt's reward, centred by its group and scaled up by the update.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let groups: Vec<Vec<f64>> = (0..forest.len()).map(|t| rewards.scored(t)).collect();
    let compared = || groups.iter().filter(|group| group.len() > 1);
    let ratio = |all: usize, some: usize| all as f64 / some.max(1) as f64;
    let alpha = match config.alpha {
        Alpha::GroupsWithSignal => {
            let signal = |group: &&Vec<f64>| group.iter().any(|r| *r != group[0]);
            ratio(compared().count(), compared().filter(signal).count())
        }
        Alpha::NonzeroRewards => {
            ratio(compared().flatten().count(), compared().flatten().filter(|r| **r != 0.0).count())
        }
        Alpha::None => 1.0,
    };
    let of = |(t, tree): (usize, &StepTree)| {
        if groups[t].len() < 2 {
            return Credit::none(tree.len());
        }
        let standard = Standard::of(&groups[t], config.std, config.epsilon);
        from_leaves(tree, |s| rewards.leaf[t][s.index()].map(|r| alpha * standard.apply(r)))
    };
    forest.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};
    use stepwell_tree::parse;

    fn numbers(alpha: Alpha) -> Vec<Option<f64>> {
        let forest = [
            parse("0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=0.5"),
            parse("0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=1"),
            parse("0 - prompt q\n1 0 policy a r=0\n2 0 policy b r=0"),
            parse("0 - prompt q\n1 0 policy a r=1\n2 0 policy b unscored=interrupted"),
        ];
        let rewards = crate::reward::outcome::reward(&forest);
        let credits = credit(&forest, &rewards, &Config { alpha, ..Config::default() });
        credits.iter().flat_map(|c| c.step[1..].to_vec()).collect()
    }

    #[test]
    fn a_worked_update() {
        // Of three groups with two scored attempts one has signal: α = 3. Of their six attempts
        // four have a reward: α = 1.5.
        let expected = |k: f64| {
            let own = [Some(0.25 * k), Some(-0.25 * k), Some(0.0), Some(0.0), Some(0.0), Some(0.0)];
            own.into_iter().chain([None, None]).collect::<Vec<_>>()
        };
        assert_eq!(numbers(Alpha::GroupsWithSignal), expected(3.0));
        assert_eq!(numbers(Alpha::NonzeroRewards), expected(1.5));
        assert_eq!(numbers(Alpha::None), expected(1.0));
    }

    #[test]
    fn a_worked_tree() {
        let tree = "
            0 -  prompt q
            1 0  policy a        r=0      | -0.5
            2 0  policy b                 | 0.25
            3 2  environment o
            4 3  policy c        r=1      | 0.5
            5 3  policy d        r=0.5    | 0
            6 3  policy e        unscored=interrupted";
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            needs_two: true,
            flat_zero_sum: true,
            scale: Scale::Linear,
            ..Claims::NONE
        };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
        let verl = Config { alpha: Alpha::NonzeroRewards, ..Config::default() };
        laws::check(|f, r| credit(f, r, &verl), Claims { shift_invariant: false, ..claims });
        let exact = Config { std: Deviation::Unbiased, epsilon: 0.0, ..Config::default() };
        let scale = Scale::Invariant;
        laws::check(|f, r| credit(f, r, &exact), Claims { scale, ..claims });
    }
}
