//! # Leave-one-out baseline (RLOO)
//!
//! Paper: Kool et al. 2019; Ahmadian et al., arXiv 2402.14740, equation 8.
//! Idea: The baseline of an attempt is the mean reward of the others, which cannot depend on it.
//! Formula: Aᵢ = rᵢ − (1/(G−1)) Σ_{j≠i} rⱼ = G/(G−1)·(rᵢ − mean r)
//! Reads: rewards of leaves; at least two scored attempts per tree.
//! Differs: on a branched tree the group is all scored leaves and a step gets the recursive mean of
//! A below it (DECISIONS 6). A leaf's baseline then contains leaves that share its first steps, so
//! the estimator is unbiased for independent attempts only (tests/unbiased.rs shows both);
//! `sibling` is unbiased for either.
//! Degenerate: equal rewards exactly 0; one scored leaf `None`; unscored leaves are in no mean.
//! Control: `permuted` of this one.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::{Rewards, assert_fits, from_leaves};

/// RLOO has nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Each attempt's reward, less the mean of the others'.
pub fn credit(forest: &[StepTree], rewards: &Rewards, _config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(t, tree)| {
        let group = rewards.scored(t);
        if group.len() < 2 {
            return Credit::none(StepTree::len(tree));
        }
        // Centred on one of the rewards, so that equal rewards give exactly 0.
        let origin = group[0];
        let sum: f64 = group.iter().map(|r| r - origin).sum();
        let others = (group.len() - 1) as f64;
        let advantage = |r: f64| (r - origin) - (sum - (r - origin)) / others;
        from_leaves(tree, |s| rewards.leaf[t][s.index()].map(advantage))
    };
    forest.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    #[test]
    fn a_worked_tree() {
        // Leaves 0, 1, 0.5: each less the mean of the other two; step 2 is the mean of c and d.
        let tree = "
            0 -  prompt q
            1 0  policy a        r=0      | -0.75
            2 0  policy b                 | 0.375
            3 2  environment o
            4 3  policy c        r=1      | 0.75
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
    }
}
