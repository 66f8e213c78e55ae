//! # Process reward model (PRM)
//!
//! Paper: Let's Verify Step by Step, arXiv 2305.20050 (the model); Math-Shepherd, arXiv 2312.08935,
//! equations 1 to 3 (labels from rollouts).
//! Idea: Judge every step and not only the end: a step is good if what follows it can be right.
//! Formula: L = mean over policy steps of BCE(σ(s), label); hard: label = [some leaf below has R ≥
//! threshold]; soft: label = recursive mean of R below
//! Reads: rewards of leaves, from 0 to 1; the score at the end of every policy step with a scored
//! leaf below.
//! Differs: rollouts from a step are the tree's own continuations, trained on like all else. The
//! score is read at the step's last token, without a separator of its own (TRL appends one).
//! Degenerate: with one continuation, hard and soft are the outcome, on every step of the attempt.
//! Control: `outcome`, which reads the same trees at their ends only.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree, recursive_mean};

use super::{Labels, Target, TreeLoss, cross_entropy, threshold_problem};

/// What a step is learned as.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What follows a step is learned as. Default `hard`, Math-Shepherd's.
    pub labels: Labels,
    /// The reward from which an attempt is right, read with `hard`; above 0, at most 1. Default
    /// 0.5, ours.
    pub threshold: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { labels: Labels::default(), threshold: 0.5 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        threshold_problem("process", self.threshold)
    }
}

/// Policy steps with a scored leaf below.
pub fn reads(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<StepId> {
    targets(tree, leaf, &Config::default()).iter().map(|target| target.step).collect()
}

/// How many these are.
pub fn terms(tree: &StepTree, leaf: &[Option<f64>]) -> usize {
    targets(tree, leaf, &Config::default()).len()
}

/// The tree's steps by the divisor.
pub fn loss(
    tree: &StepTree,
    leaf: &[Option<f64>],
    score: &[f32],
    divisor: f64,
    config: &Config,
) -> TreeLoss {
    cross_entropy(tree, &targets(tree, leaf, config), score, divisor)
}

fn targets(tree: &StepTree, leaf: &[Option<f64>], config: &Config) -> Vec<Target> {
    let value = match config.labels {
        Labels::Soft => recursive_mean(tree, |s| leaf[s.index()]),
        Labels::Hard => best(tree, leaf),
    };
    let own = value.iter().enumerate().filter(|(i, _)| tree.origin[*i].is_policy());
    own.filter_map(|(i, value)| {
        let label = config.labels.of((*value)?, config.threshold);
        Some(Target { step: StepId(i as u32), label, weight: 1.0 })
    })
    .collect()
}

/// `[N]` the highest reward below each step.
fn best(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<Option<f64>> {
    let mut best = leaf.to_vec();
    for i in (1..tree.len()).rev() {
        let parent = tree.parent[i].index();
        best[parent] = match (best[parent], best[i]) {
            (Some(a), Some(b)) => Some(f64::max(a, b)),
            (a, b) => a.or(b),
        };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EstimatorConfig;
    use crate::estimator::laws;
    use stepwell_tree::parse;

    #[test]
    fn a_worked_tree() {
        // b: one of its two continuations is right, so 1 hard and 1/2 soft; c 1, d 0, a 0.
        let tree = parse(
            "0 -  prompt q
             1 0  policy a        r=0.25
             2 0  policy b
             3 2  environment o
             4 3  policy c        r=1
             5 3  policy d        r=0
             6 3  policy e        unscored=interrupted
             7 0  policy f        unscored=interrupted",
        );
        let leaf = crate::reward::outcome::reward(std::slice::from_ref(&tree)).leaf.remove(0);
        let labels = |labels, threshold| -> Vec<(u32, f64)> {
            let target = targets(&tree, &leaf, &Config { labels, threshold });
            target.iter().map(|t| (t.step.0, t.label)).collect()
        };
        let expected = [(1, 0.0), (2, 1.0), (4, 1.0), (5, 0.0)];
        assert_eq!(labels(Labels::Hard, 0.5), expected);
        assert_eq!(labels(Labels::Hard, 0.25)[0], (1, 1.0));
        let expected = [(1, 0.25), (2, 0.5), (4, 1.0), (5, 0.0)];
        assert_eq!(labels(Labels::Soft, 0.5), expected);
        assert_eq!((terms(&tree, &leaf), reads(&tree, &leaf).len()), (4, 4));
        // At score 0 every chance is 1/2: ln 2 a step, slopes (1/2 - label)/4.
        let got = loss(&tree, &leaf, &[0.0; 8], 4.0, &Config::default());
        assert!((got.value - std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(got.d_score, [0.0, 0.125, -0.125, 0.0, -0.125, 0.125, 0.0, 0.0]);
    }

    #[test]
    fn laws() {
        laws::check(&EstimatorConfig::Process(Config::default()));
        laws::check(&EstimatorConfig::Process(Config { labels: Labels::Soft, threshold: 0.5 }));
        let wrong = Config { threshold: 1.5, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`process.threshold`")));
    }
}
