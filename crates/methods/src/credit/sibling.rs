//! # Sibling advantage
//!
//! Paper: ours; the step-level form of RLOO (arXiv 2402.14740) on a tree, as in TreeRL
//! (arXiv 2506.11902) and VinePPO (arXiv 2410.01679), which estimate step values by rollouts.
//! Idea: What continued from the same place is the baseline of a step: the credit tells which of
//! several continuations was better, and a step shared by all of them gets none of it.
//! Formula: V̂(s) = recursive mean of rewards below s;
//! c(s) = V̂(s) − mean V̂(s') over s' ≠ s with the same parent
//! Reads: rewards of leaves; at least two scored alternatives somewhere on the path.
//! Differs: the value is the recursive mean and not the mean over leaves, which early endings bias
//! (0.35 where the truth is 0.50, DECISIONS 4). No deviation is divided by.
//! Degenerate: an only child inherits the credit of the nearest step above it that had scored
//! siblings (DECISIONS 5): between the two there was no choice, so it is that step's continuation
//! and shares its value and its baseline. Where no step above had any: `None`. Equal values give
//! exactly 0; a step without a scored leaf below gets `None` and is nobody's baseline. A step with
//! several observations (a world that is sampled again) shares its credit among only children of
//! them all, which weighs those by less than their share: fork such worlds below the observation.
//! Control: `permuted` of this one; `leave_one_out` on the same trees.
//!
//! Unbiased (tests/unbiased.rs, by enumeration) with an aggregation that weighs a step by the
//! product of 1/(scored siblings) along its path: both `sequence_mean_*`. With independent attempts
//! it equals `leave_one_out`.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, recursive_mean};

use super::{Rewards, assert_fits};

/// The sibling advantage has nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Own value, less the mean value of the other scored siblings.
pub fn credit(forest: &[StepTree], rewards: &Rewards, _config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        // Centred on one of the rewards, which changes no difference: then equal rewards have mean
        // 0 without rounding, and credit exactly 0.
        let origin = leaf.iter().flatten().next().copied().unwrap_or(0.0);
        let value = recursive_mean(tree, |s| leaf[s.index()].map(|r| r - origin));
        against_siblings(tree, &value, OnlyChild::Inherits)
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

/// What a step without scored siblings gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum OnlyChild {
    /// What the nearest step above it that had siblings got (DECISIONS 5).
    Inherits,
    /// Nothing.
    None,
}

/// Every policy step's value less the mean of its other siblings'.
pub(super) fn against_siblings(
    tree: &StepTree,
    value: &[Option<f64>],
    only_child: OnlyChild,
) -> Credit {
    let mut credit = Credit::none(tree.len());
    let mut inherited = vec![None; tree.len()];
    // For each parent the first scored policy child's value, and the sum of all less that one: so
    // centred, equal values give exactly 0.
    let mut first = vec![None; tree.len()];
    let mut sum = vec![0.0; tree.len()];
    let mut count = vec![0u32; tree.len()];
    // Policy steps with a value: the alternatives of their parent's decision.
    let scored = |i: usize| value[i].filter(|_| tree.origin[i].is_policy());
    for i in 1..tree.len() {
        if let Some(v) = scored(i) {
            let parent = tree.parent[i].index();
            sum[parent] += v - *first[parent].get_or_insert(v);
            count[parent] += 1;
        }
    }
    for i in 1..tree.len() {
        let parent = tree.parent[i].index();
        if only_child == OnlyChild::Inherits {
            inherited[i] = inherited[parent];
        }
        let Some(v) = scored(i) else { continue };
        if let (Some(origin), 2..) = (first[parent], count[parent]) {
            let others = match stepwell_mutant::planted(4) {
                true => sum[parent] / f64::from(count[parent]),
                false => (sum[parent] - (v - origin)) / f64::from(count[parent] - 1),
            };
            let own = (v - origin) - others;
            inherited[i] = Some(if stepwell_mutant::planted(1) { -own } else { own });
        }
        credit.step[i] = inherited[i];
    }
    credit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    #[test]
    fn a_worked_tree() {
        // V: a 0.7; b = (1 + 0)/2 = 0.5; f is an only child and inherits the credit of c; e has no
        // scored leaf and is in no mean.
        let tree = "
            0  -  prompt q
            1  0  policy a        r=0.7    | 0.2
            2  0  policy b                 | -0.2
            3  2  environment o
            4  3  policy c                 | 1
            5  3  policy d        r=0      | -1
            6  3  policy e        unscored=interrupted
            7  4  environment o
            8  7  policy f        r=1      | 1";
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn a_step_that_never_had_an_alternative_has_no_credit() {
        let tree = "
            0  -  prompt q
            1  0  policy a
            2  0  policy x        unscored=interrupted
            3  1  environment o
            4  3  policy c        r=1      | 0.5
            5  3  policy d        r=0.5    | -0.5";
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            needs_two: true,
            flat_zero_sum: true,
            sibling_zero_sum: true,
            scale: Scale::Linear,
        };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
    }
}
