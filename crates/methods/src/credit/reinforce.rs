//! # REINFORCE
//!
//! Paper: Williams 1992, "Simple statistical gradient-following algorithms".
//! Idea: A step is worth the reward of what followed it, less a number that does not depend on it.
//! Formula: c(s) = V̂(s) − b; V̂ = recursive mean of the rewards below s; where steps have rewards
//! of their own, V̂(s) = own + recursive mean of V̂ below: what is earned from s on
//! Reads: rewards of leaves and of steps.
//! Differs: a step shared by several attempts gets the mean of what followed it, once.
//! Degenerate: an unscored leaf is in no mean; a step without a scored leaf below gets `None`. One
//! attempt, or equal rewards, are nothing special: with baseline `none` the credit is the reward.
//! With baseline `mean` and one scored leaf in the whole update the credit is exactly 0.
//! Control: `uniform`, the same tokens without the reward.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, recursive_mean};

use super::{Rewards, assert_fits, from_leaves};

/// What is taken off every reward.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Nothing: the plain estimator.
    #[default]
    None,
    /// This number; finite, in units of reward. Unbiased.
    Constant(f64),
    /// The mean of the trees' values in this update. It contains the step's own reward, which
    /// shrinks the gradient's expectation by at most 1/(number of trees); `leave_one_out` has no
    /// such bias.
    Mean,
}

/// REINFORCE with a named baseline.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is taken off every reward. Default `none`, the paper's plain estimator.
    pub baseline: Baseline,
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self.baseline {
            Baseline::Constant(b) if !b.is_finite() => {
                Some(format!("`reinforce.baseline` must be finite, got: {b}"))
            }
            _ => None,
        }
    }
}

/// Reward below each policy step, less the baseline.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let baseline = match config.baseline {
        Baseline::None => 0.0,
        Baseline::Constant(baseline) => baseline,
        Baseline::Mean => forest_mean(forest, rewards),
    };
    let of = |(t, tree)| match rewards.at_steps(t) {
        None => from_leaves(tree, |s| rewards.leaf[t][s.index()].map(|r| r - baseline)),
        Some(own) => {
            let mut step = to_go(tree, &rewards.leaf[t], own);
            for (number, origin) in step.iter_mut().zip(&tree.origin) {
                *number = number.filter(|_| origin.is_policy()).map(|v| v - baseline);
            }
            Credit { step, token: None }
        }
    };
    forest.iter().enumerate().map(of).collect()
}

/// `[N]` what is earned from each step on, the step included: its own reward and the mean of its
/// children's.
pub(super) fn to_go(tree: &StepTree, leaf: &[Option<f64>], own: &[f64]) -> Vec<Option<f64>> {
    let mut value = leaf.to_vec();
    let (mut sum, mut count) = (vec![0.0; tree.len()], vec![0u32; tree.len()]);
    for i in (0..tree.len()).rev() {
        if count[i] > 0 {
            value[i] = Some(sum[i] / f64::from(count[i]));
        }
        value[i] = value[i].map(|v| v + own[i]);
        if let Some(v) = value[i].filter(|_| i > 0) {
            sum[tree.parent[i].index()] += v;
            count[tree.parent[i].index()] += 1;
        }
    }
    value
}

/// Mean over trees of the value of the root; 0 where nothing is scored, and nothing reads it.
fn forest_mean(forest: &[StepTree], rewards: &Rewards) -> f64 {
    let root = forest.iter().enumerate().filter_map(|(t, tree)| {
        let leaf = &rewards.leaf[t];
        match rewards.at_steps(t) {
            None => recursive_mean(tree, |s| leaf[s.index()])[0],
            Some(own) => to_go(tree, leaf, own)[0],
        }
    });
    let (sum, count) = root.fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    sum / f64::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    #[test]
    fn a_worked_tree() {
        let tree = "
            0 -  prompt q
            1 0  policy a        r=0.7    | 0.7
            2 0  policy b                 | 0.25
            3 2  environment o
            4 3  policy c        r=0      | 0
            5 3  policy d        r=0.5    | 0.5
            6 3  policy e        unscored=interrupted";
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn baselines() {
        let tree = "
            0 -  prompt q
            1 0  policy a        r=1      | 0.5
            2 0  policy b        r=0      | -0.5";
        laws::table(tree, |f, r| credit(f, r, &Config { baseline: Baseline::Constant(0.5) }));
        laws::table(tree, |f, r| credit(f, r, &Config { baseline: Baseline::Mean }));
    }

    #[test]
    fn steps_with_rewards_of_their_own() {
        // a earns 0.25 at once, b 0.5; c and d end with 1 and 0. The tree is worth
        // ((0.25 + 0.5) + (0.5 + 0.25))/2 where a goes on to c, d and b is a leaf of 0.25.
        let tree = "
            0 -  prompt q
            1 0  policy a                 | 0.75
            2 0  policy b        r=0.25   | 0.75
            3 1  environment o
            4 3  policy c        r=1      | 1
            5 3  policy d        r=0      | 0";
        let with = |f: &[StepTree], r: &Rewards, config: &Config| {
            let step = Some(vec![vec![0.0, 0.25, 0.5, 0.0, 0.0, 0.0]]);
            credit(f, &Rewards { step, ..r.clone() }, config)
        };
        laws::table(tree, |f, r| with(f, r, &Config::default()));
        let mean = Config { baseline: Baseline::Mean };
        let less = tree.replace("| 0.75", "| 0").replace("| 1", "| 0.25");
        let less = less.replace("policy d        r=0      | 0", "policy d   r=0 | -0.75");
        laws::table(&less, |f, r| with(f, r, &mean));
    }

    #[test]
    fn laws() {
        let claims = Claims { scale: Scale::Linear, ..Claims::NONE };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
        let claims = Claims { shift_invariant: true, ..claims };
        laws::check(|f, r| credit(f, r, &Config { baseline: Baseline::Mean }), claims);
    }
}
