//! # Tree backup: the change of value that a step makes
//!
//! Paper: VinePPO, arXiv 2410.01679 (the value of a state from rollouts that continue it; a step's
//! advantage is the difference of two values); the maximum: the tree search that precedes EAG-RL,
//! arXiv 2508.13579.
//! Idea: Where the tree continues a prefix in several ways, what those continuations earned is the
//! prefix's value, and a step is worth what it changed.
//! Formula: V(leaf) = r; V(s) = mean or max of V over the scored children of s; c(s) = V(s) −
//! V(parent of s)
//! Reads: rewards of leaves; at least two scored alternatives somewhere on the path.
//! Differs: VinePPO spends rollouts that it does not train on; here the continuations are the tree,
//! so a parent's value contains the step's own. With k scored siblings and `value = "mean"` the
//! credit is therefore (k − 1)/k times that of `sibling`, whose baseline leaves the step out: equal
//! up to a factor where all decisions have the same width, a smaller step at narrow decisions where
//! they have not. γ is 1.
//! Degenerate: for an only child the difference is 0 whatever it did. By default it inherits the
//! credit of the nearest step above that had scored siblings (DECISIONS 5), because with 0 the
//! lines below the last fork would never train; `only_child = "zero"` is the plain difference,
//! which adds up along a path to r − V(prompt). Equal rewards give exactly 0. With `max` no credit
//! is above 0: the best continuation has 0 and the others what they missed.
//! Control: `permuted` of this one; `sibling` on the same trees.
//!
//! λ-returns and GAE over turns with these values are this method for every λ: the differences of
//! the children of a step have mean 0, so what is carried back to it is 0 (tested below).

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, recursive_mean};

use super::{Rewards, assert_fits};

/// How the values of children make their parent's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// Their mean: what the policy can expect.
    #[default]
    Mean,
    /// Their maximum: what the best continuation reached.
    Max,
}

/// What a step without scored siblings gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnlyChild {
    /// The credit of the nearest step above that had scored siblings.
    #[default]
    Inherit,
    /// The plain difference, which is 0.
    Zero,
}

/// Differences of values of a tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// From children to parent. Default `mean`, VinePPO's.
    pub value: Value,
    /// What an only child gets. Default `inherit`, ours.
    pub only_child: OnlyChild,
}

/// Value after each step, less the value before it.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        // Centred on one of the rewards, which changes no difference: equal rewards give exactly 0.
        let origin = leaf.iter().flatten().next().copied().unwrap_or(0.0);
        let centred: Vec<Option<f64>> = leaf.iter().map(|r| r.map(|r| r - origin)).collect();
        let value = match config.value {
            Value::Mean => recursive_mean(tree, |s| centred[s.index()]),
            Value::Max => recursive_max(tree, &centred),
        };
        differences(tree, &value, config.only_child)
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

fn differences(tree: &StepTree, value: &[Option<f64>], only_child: OnlyChild) -> Credit {
    let scored = |i: usize| value[i].filter(|_| tree.origin[i].is_policy());
    let mut alternatives = vec![0u32; tree.len()];
    for i in (1..tree.len()).filter(|&i| scored(i).is_some()) {
        alternatives[tree.parent[i].index()] += 1;
    }
    let mut credit = Credit::none(tree.len());
    let mut inherited = vec![None; tree.len()];
    for i in 1..tree.len() {
        let parent = tree.parent[i].index();
        inherited[i] = inherited[parent];
        if let (Some(after), Some(before)) = (scored(i), value[parent]) {
            if alternatives[parent] > 1 || only_child == OnlyChild::Zero {
                inherited[i] = Some(after - before);
            }
            credit.step[i] = inherited[i];
        }
    }
    credit
}

/// `[N]` as [`recursive_mean`], with the maximum in place of the mean.
fn recursive_max(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<Option<f64>> {
    // Rewards sit on leaves only, so a step has its own number or those from below, never both.
    let mut value = leaf.to_vec();
    for i in (1..tree.len()).rev() {
        let parent = tree.parent[i].index();
        value[parent] = match (value[parent], value[i]) {
            (Some(a), Some(b)) => Some(f64::max(a, b)),
            (a, b) => a.or(b),
        };
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::sibling;
    use crate::laws::{self, Claims, Scale};

    const MAX: Config = Config { value: Value::Max, only_child: OnlyChild::Inherit };
    const ZERO: Config = Config { value: Value::Mean, only_child: OnlyChild::Zero };

    #[test]
    fn a_worked_tree() {
        // V: c = (1 + 0)/2 = 0.5, b = (0.5 + 0.1)/2 = 0.3, a = 0.7, prompt 0.5; f is an only child.
        let mean = "
            0  -  prompt q
            1  0  policy a        r=0.7    | 0.2
            2  0  policy b                 | -0.2
            3  2  environment o
            4  3  policy c                 | 0.2
            5  3  policy d        r=0.1    | -0.2
            6  4  policy f                 | 0.2
            7  6  policy g        r=1      | 0.5
            8  6  policy h        r=0      | -0.5
            9  3  policy e        unscored=interrupted";
        laws::table(mean, |f, r| credit(f, r, &Config::default()));
        let zero = mean.replace("policy f                 | 0.2", "policy f                 | 0");
        laws::table(&zero, |f, r| credit(f, r, &ZERO));
        // V: c = 1, b = 1, prompt 1.
        let max = "
            0  -  prompt q
            1  0  policy a        r=0.7    | -0.3
            2  0  policy b                 | 0
            3  2  environment o
            4  3  policy c                 | 0
            5  3  policy d        r=0.1    | -0.9
            6  4  policy f                 | 0
            7  6  policy g        r=1      | 0
            8  6  policy h        r=0      | -1
            9  3  policy e        unscored=interrupted";
        laws::table(max, |f, r| credit(f, r, &MAX));
    }

    #[test]
    fn the_mean_is_the_siblings_but_for_a_factor_of_the_width() {
        for seed in 0..100 {
            let tree = laws::random_tree(seed);
            let forest = std::slice::from_ref(&tree);
            let rewards = crate::reward::outcome::reward(forest);
            let own = credit(forest, &rewards, &Config::default()).remove(0);
            let other = sibling::credit(forest, &rewards, &sibling::Config::default()).remove(0);
            let mut factor = vec![1.0; tree.len()];
            for i in 1..tree.len() {
                let parent = tree.parent[i];
                let beside = (1..tree.len())
                    .filter(|&k| tree.parent[k] == parent && own.step[k].is_some())
                    .filter(|&k| tree.origin[k].is_policy());
                let k = beside.count() as f64;
                factor[i] = if k > 1.0 { (k - 1.0) / k } else { factor[parent.index()] };
                let expected = other.step[i].map(|c| c * factor[i]);
                assert_eq!(own.step[i].is_some(), expected.is_some(), "step {i}, seed {seed}");
                let gap = own.step[i].unwrap_or(0.0) - expected.unwrap_or(0.0);
                assert!(gap.abs() < 1e-12, "step {i}, seed {seed}: {gap}");
            }
        }
    }

    #[test]
    fn plain_differences_add_up_to_reward_less_the_prompts_value() {
        for seed in 0..100 {
            let tree = laws::random_tree(seed);
            let forest = std::slice::from_ref(&tree);
            let rewards = crate::reward::outcome::reward(forest);
            let Some(prompt) = recursive_mean(&tree, |s| rewards.leaf[0][s.index()])[0] else {
                continue;
            };
            let own = credit(forest, &rewards, &ZERO).remove(0);
            let mut sum = vec![0.0; tree.len()];
            for i in 1..tree.len() {
                sum[i] = sum[tree.parent[i].index()] + own.step[i].unwrap_or(0.0);
                if let Some(reward) = rewards.leaf[0][i] {
                    assert!((sum[i] - (reward - prompt)).abs() < 1e-12, "leaf {i}, seed {seed}");
                }
            }
        }
    }

    #[test]
    fn lambda_changes_nothing_where_values_are_the_trees_own() {
        // A(s) = δ(s) + λ · mean of A over what follows, the GAE of a tree with γ = 1.
        for seed in 0..50 {
            let tree = laws::random_tree(seed);
            let forest = std::slice::from_ref(&tree);
            let rewards = crate::reward::outcome::reward(forest);
            let delta = credit(forest, &rewards, &ZERO).remove(0);
            let value = recursive_mean(&tree, |s| rewards.leaf[0][s.index()]);
            for lambda in [0.3, 0.95, 1.0] {
                let (mut sum, mut count) = (vec![0.0; tree.len()], vec![0.0; tree.len()]);
                for i in (1..tree.len()).rev().filter(|&i| value[i].is_some()) {
                    let follows = sum[i] / f64::max(count[i], 1.0);
                    let carried = match delta.step[i] {
                        Some(delta) => delta + lambda * follows,
                        None => follows,
                    };
                    let gap = carried - delta.step[i].unwrap_or(0.0);
                    assert!(gap.abs() < 1e-12, "step {i}, λ {lambda}, seed {seed}: {gap}");
                    sum[tree.parent[i].index()] += carried;
                    count[tree.parent[i].index()] += 1.0;
                }
            }
        }
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            scale: Scale::Linear,
            ..Claims::NONE
        };
        laws::check(|f, r| credit(f, r, &MAX), Claims { needs_two: true, ..claims });
        let claims = Claims { flat_zero_sum: true, sibling_zero_sum: true, ..claims };
        laws::check(|f, r| credit(f, r, &ZERO), claims);
        let claims = Claims { needs_two: true, ..claims };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
    }
}
