//! # Length-weighted baseline (OPO)
//!
//! Paper: OPO, arXiv 2505.23585.
//! Idea: Of all baselines the one with the least variance weighs each reward by the squared norm of
//! its attempt's gradient; that norm grows with length, so lengths stand in for it.
//! Formula: b = Σ lᵢ·rᵢ / Σ lᵢ; Aᵢ = rᵢ − b; c(s) = recursive mean of A over the leaves below s
//! Reads: rewards of leaves, sampled tokens on their paths; at least two scored attempts per tree.
//! Differs: on a branched tree the group is all scored leaves, l counts the sampled tokens of the
//! whole path (DECISIONS 6), observations not. The baseline contains the attempt's own reward, as
//! the paper's and verl's do.
//! Degenerate: equal rewards exactly 0; equal lengths give `group_mean` without deviation; one
//! scored leaf `None`; an attempt without tokens counts as one token; unscored leaves are in no
//! sum.
//! Control: `group_mean` with `std = "none"`, which weighs all attempts alike; `permuted` of this.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, sampled_length};

use super::{Rewards, assert_fits, from_leaves};

/// OPO has nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Each attempt's reward, less the mean weighted by lengths.
pub fn credit(forest: &[StepTree], rewards: &Rewards, _config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        let length = sampled_length(tree);
        let scored = || leaf.iter().zip(&length).filter_map(|(r, l)| Some(((*r)?, *l)));
        if scored().count() < 2 {
            return Credit::none(tree.len());
        }
        // Centred on one of the rewards, so that equal rewards give exactly 0.
        let origin = scored().next().map_or(0.0, |(r, _)| r);
        let (mut sum, mut weights) = (0.0, 0.0);
        for (r, l) in scored() {
            let weight = l.max(1) as f64;
            sum += weight * (r - origin);
            weights += weight;
        }
        from_leaves(tree, |s| leaf[s.index()].map(|r| (r - origin) - sum / weights))
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    #[test]
    fn a_worked_tree() {
        // Lengths 3, 1 + 2, 1 + 1; b = (3·1 + 3·0.5 + 2·0)/8 = 0.5625; observations do not count.
        let tree = "
            0 -  prompt q q q
            1 0  policy a a a    r=1      | 0.4375
            2 0  policy b                 | -0.3125
            3 2  environment o o o o
            4 3  policy c c      r=0.5    | -0.0625
            5 3  policy d        r=0      | -0.5625
            6 3  policy e e e    unscored=interrupted";
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn credit_weighted_by_length_adds_up_to_zero() {
        let tree = stepwell_tree::parse(
            "0 - prompt q\n1 0 policy a a a r=1\n2 0 policy b r=0.2\n3 0 policy c c r=0.7",
        );
        let forest = [tree];
        let rewards = crate::reward::outcome::reward(&forest);
        let step = credit(&forest, &rewards, &Config::default()).remove(0).step;
        let sum = 3.0 * step[1].unwrap() + step[2].unwrap() + 2.0 * step[3].unwrap();
        assert!(sum.abs() < 1e-12, "{sum}");
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
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
    }
}
