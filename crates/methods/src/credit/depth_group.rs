//! # Groups of steps by depth (Step-GRPO)
//!
//! Paper: R1-Router, arXiv 2505.22095 (each step its own group); by depth as frameworks that train
//! on separate steps group them.
//! Idea: A step is compared with the steps that other attempts took at the same turn, so that turns
//! have baselines of their own.
//! Formula: V(s) = recursive mean of rewards below s; c(s) = (V(s) − mean V)/(std V + ε) over the
//! scored policy steps of the tree with as many policy steps above them as s
//! Reads: rewards of leaves; at least two scored attempts per tree.
//! Differs: R1-Router samples each group from one frozen prefix; on a tree that is `sibling`. Here
//! prefixes differ within a group, so the baseline also holds what earlier steps did: the credit
//! mixes the merit of a step with that of its past. A step shared by several attempts counts once.
//! Degenerate: equal values exactly 0. A step alone at its depth has nothing to compare with and
//! inherits the credit of the step above; where that has none, `None`.
//! Control: `sibling` on the same trees, which compares equal prefixes only; `permuted` of this
//! one.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, recursive_mean};

use super::group_mean::{Deviation, Standard};
use super::{Rewards, assert_fits};

/// GRPO among the steps of a depth.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The divisor. Default `unbiased`, R1-Router's.
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
        (!fine).then(|| format!("`depth_group.epsilon` must be from 0 to 1, got: {}", self.epsilon))
    }
}

/// Value of each step, centred and scaled by its depth.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        let value = recursive_mean(tree, |s| leaf[s.index()]);
        within_groups(tree, &value, &depth(tree), config)
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

/// `[N]` policy steps above each step.
fn depth(tree: &StepTree) -> Vec<usize> {
    let mut depth = vec![0; tree.len()];
    for i in 1..tree.len() {
        let parent = tree.parent[i].index();
        depth[i] = depth[parent] + usize::from(tree.origin[parent].is_policy());
    }
    depth
}

fn within_groups(
    tree: &StepTree,
    value: &[Option<f64>],
    depth: &[usize],
    config: &Config,
) -> Credit {
    let scored = |i: usize| value[i].filter(|_| tree.origin[i].is_policy());
    let mut group: Vec<Vec<f64>> = vec![Vec::new(); depth.iter().max().map_or(0, |d| d + 1)];
    for i in 0..tree.len() {
        group[depth[i]].extend(scored(i));
    }
    let standard: Vec<Option<Standard>> = group
        .iter()
        .map(|group| (group.len() > 1).then(|| Standard::of(group, config.std, config.epsilon)))
        .collect();
    let mut credit = Credit::none(tree.len());
    let mut inherited = vec![None; tree.len()];
    for i in 1..tree.len() {
        inherited[i] = inherited[tree.parent[i].index()];
        let Some(value) = scored(i) else { continue };
        if let Some(standard) = standard[depth[i]] {
            inherited[i] = Some(standard.apply(value));
        }
        credit.step[i] = inherited[i];
    }
    credit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    const PLAIN: Config = Config { std: Deviation::None, epsilon: 0.0 };

    #[test]
    fn a_worked_tree() {
        // Depth 0: a 0.5, b 0.2, mean 0.35. Depth 1: c 1, d 0, f 0.2, mean 0.4. g is alone at its
        // depth and inherits.
        let tree = "
            0  -  prompt q
            1  0  policy a                 | 0.15
            2  0  policy b                 | -0.15
            3  1  environment o
            4  3  policy c        r=1      | 0.6
            5  3  policy d        r=0      | -0.4
            6  3  policy e        unscored=interrupted
            7  2  environment p
            8  7  policy f                 | -0.2
            9  8  environment o
            10 9  policy g        r=0.2    | -0.2";
        laws::table(tree, |f, r| credit(f, r, &PLAIN));
        // Deviations √0.045 = 0.212132 and √0.28 = 0.529150.
        let scaled = tree
            .replace("| 0.15", "| 0.707107")
            .replace("| -0.15", "| -0.707107")
            .replace("| 0.6", "| 1.133893")
            .replace("| -0.4", "| -0.755929")
            .replace("| -0.2", "| -0.377964");
        laws::table(&scaled, |f, r| credit(f, r, &Config { epsilon: 0.0, ..Config::default() }));
    }

    #[test]
    fn a_first_step_alone_has_no_credit() {
        let tree = "
            0  -  prompt q
            1  0  policy a
            2  1  policy b        r=1      | 0.5
            3  1  policy c        r=0      | -0.5";
        laws::table(tree, |f, r| credit(f, r, &PLAIN));
    }

    #[test]
    fn depth_counts_policy_steps_whatever_was_observed_between_them() {
        // Depth 0: a 1, c 0.2, mean 0.6. Depth 1: b 1, d 0, e 0.4, mean 7/15.
        let tree = "
            0  -  prompt q
            1  0  policy a                 | 0.4
            2  1  policy b        r=1      | 0.533333
            3  0  policy c                 | -0.4
            4  3  environment o
            5  4  policy d        r=0      | -0.466667
            6  4  policy e        r=0.4    | -0.066667";
        laws::table(tree, |f, r| credit(f, r, &PLAIN));
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
