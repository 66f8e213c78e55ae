//! # Best attempt only (pass@k)
//!
//! Paper: arXiv 2503.19595, as verl's `grpo_passk` reads it.
//! Idea: If only the best of k attempts counts, an attempt is worth what the best would lose
//! without it: the best one its lead over the second, every other nothing.
//! Formula: A_best = (r_max − r_second)/(std r + ε), A = 0 for all others; c(s) = recursive mean of
//! A over the leaves below s
//! Reads: rewards of leaves; at least two scored attempts per tree.
//! Differs: on a branched tree the group is all scored leaves.
//! Degenerate: where two attempts share the best reward nobody leads, and every credit is exactly
//! 0: with rewards of 0 and 1 only a task that one attempt alone solved trains. One scored leaf
//! `None`.
//! Control: `group_mean` with the same `std`; `permuted` of this one.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::group_mean::{Deviation, Standard};
use super::{Rewards, assert_fits, from_leaves};

/// The advantage of the best attempt.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The divisor. Default `unbiased`, verl's.
    pub std: Deviation,
    /// Added to the standard deviation; in units of reward, 0 to 1. Default 1e-6, as verl.
    pub epsilon: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { std: Deviation::default(), epsilon: 1e-6 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=1.0).contains(&self.epsilon);
        (!fine).then(|| format!("`pass_at_k.epsilon` must be from 0 to 1, got: {}", self.epsilon))
    }
}

/// The lead of the best attempt, 0 elsewhere.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(t, tree)| {
        let mut group = rewards.scored(t);
        if group.len() < 2 {
            return Credit::none(StepTree::len(tree));
        }
        let standard = Standard::of(&group, config.std, config.epsilon);
        group.sort_by(|a, b| b.total_cmp(a));
        let (best, second) = (group[0], group[1]);
        // Two that share the best reward both get a lead of 0.
        let lead = standard.scale(best - second);
        let advantage = |r: f64| if r == best { lead } else { 0.0 };
        from_leaves(tree, |s| rewards.leaf[t][s.index()].map(advantage))
    };
    forest.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    const PLAIN: Config = Config { std: Deviation::None, epsilon: 0.0 };

    #[test]
    fn a_worked_tree() {
        let tree = "
            0 -  prompt q
            1 0  policy a        r=0.25   | 0
            2 0  policy b                 | 0.2
            3 2  environment o
            4 3  policy c        r=1      | 0.4
            5 3  policy d        r=0.6    | 0
            6 3  policy e        unscored=interrupted";
        laws::table(tree, |f, r| credit(f, r, &PLAIN));
        // The deviation of 0.25, 1, 0.6 with divisor 2 is 0.375278 (mean 0.616667).
        let scaled = tree.replace("| 0.4", "| 1.065877").replace("| 0.2", "| 0.532939");
        laws::table(&scaled, |f, r| credit(f, r, &Config { epsilon: 0.0, ..Config::default() }));
    }

    #[test]
    fn nobody_leads_where_two_are_best() {
        let tree = "0 - prompt q\n1 0 policy a r=1 | 0\n2 0 policy b r=1 | 0\n3 0 policy c r=0 | 0";
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
        let one = tree.replace("policy b r=1", "policy b r=0").replacen("| 0", "| 1.7320508", 1);
        laws::table(&one, |f, r| credit(f, r, &Config { epsilon: 0.0, ..Config::default() }));
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            needs_two: true,
            scale: Scale::Linear,
            ..Claims::NONE
        };
        laws::check(|f, r| credit(f, r, &PLAIN), claims);
        let exact = Config { epsilon: 0.0, ..Config::default() };
        let scale = Scale::Invariant;
        laws::check(|f, r| credit(f, r, &exact), Claims { scale, ..claims });
    }
}
