//! # Bradley-Terry reward model
//!
//! Paper: Bradley and Terry 1952; as a reward model: InstructGPT, arXiv 2203.02155, equation 1;
//! margin: Llama 2, arXiv 2307.09288, equation 2.
//! Idea: Of two attempts at one task the better should have the higher score; by how much, the
//! share of comparisons won says.
//! Formula: L = mean over pairs of [−log σ(s_w − s_l − m) + c·(s_w + s_l)²]
//! Reads: rewards of leaves; the score at every scored leaf's end; two of different reward.
//! Differs: pairs are all of a better and a worse leaf of a tree, made by the verdicts and not by
//! people. InstructGPT takes the mean per prompt; here every pair of the update counts alike. The
//! margin is one number, not one per pair.
//! Degenerate: equal rewards are no pair. Only differences of scores are learned, so that scores of
//! different tasks cannot be compared; `centring` holds their sum near 0.
//! Control: `outcome` on the same trees; the same pairs with their sides swapped at random.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree};

use super::{Sum, TreeLoss, scored};
use crate::preference::{sigmoid, softplus};

/// The logistic loss on differences of scores.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// m, by which the better score should lead; 0 to 100. Default 0, InstructGPT's.
    pub margin: f64,
    /// c, the factor of the squared sum of a pair's scores; 0 to 100. Default 0; TRL suggests 0.01.
    pub centring: f64,
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let ranges = [("margin", self.margin), ("centring", self.centring)];
        let (name, number) = ranges.iter().find(|(_, x)| !(0.0..=100.0).contains(x))?;
        Some(format!("`bradley_terry.{name}` must be from 0 to 100, got: {number}"))
    }
}

/// Pairs of a better and a worse leaf, in order of step.
fn pairs(leaf: &[Option<f64>]) -> impl Iterator<Item = (StepId, StepId)> + '_ {
    let all = scored(leaf);
    all.clone().flat_map(move |(a, r)| {
        all.clone().filter(move |(_, other)| r > *other).map(move |(b, _)| (a, b))
    })
}

/// Leaves that are better or worse than another.
pub fn reads(leaf: &[Option<f64>]) -> Vec<StepId> {
    let all = || scored(leaf);
    let differs = |r: f64| all().any(|(_, other)| other != r);
    all().filter(|(_, r)| differs(*r)).map(|(s, _)| s).collect()
}

/// Pairs of the tree.
pub fn terms(leaf: &[Option<f64>]) -> usize {
    pairs(leaf).count()
}

/// The tree's pairs by the divisor.
pub fn loss(
    tree: &StepTree,
    leaf: &[Option<f64>],
    score: &[f32],
    divisor: f64,
    config: &Config,
) -> TreeLoss {
    let mut sum = Sum::new(tree, score, divisor);
    for (better, worse) in pairs(leaf) {
        let (won, lost) = (sum.read(better), sum.read(worse));
        let lead = won - lost - config.margin;
        let both = won + lost;
        sum.add(softplus(-lead) + config.centring * both * both);
        sum.push(better, -sigmoid(-lead) + 2.0 * config.centring * both);
        sum.push(worse, sigmoid(-lead) + 2.0 * config.centring * both);
        sum.diagnostics.pair(won, lost);
    }
    sum.loss()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EstimatorConfig;
    use crate::estimator::laws;
    use std::f64::consts::LN_2;
    use stepwell_tree::parse;

    const TREE: &str = "
        0 -  prompt q
        1 0  policy a        r=1
        2 0  policy b
        3 2  environment o
        4 3  policy c        r=0.5
        5 3  policy d        r=0
        6 3  policy e        unscored=interrupted
        7 0  policy f        r=0";

    #[test]
    fn a_worked_tree() {
        // a over c, d, f; c over d, f: five pairs. Scores a 1, c 2, d 0, f 1.
        let tree = parse(TREE);
        let leaf = crate::reward::outcome::reward(std::slice::from_ref(&tree)).leaf.remove(0);
        assert_eq!((terms(&leaf), reads(&leaf)), (5, [1, 4, 5, 7].map(StepId).to_vec()));
        let score = [9.0, 1.0, 9.0, 9.0, 2.0, 0.0, 9.0, 1.0];
        let got = loss(&tree, &leaf, &score, 5.0, &Config::default());
        // Leads -1, 1, 0, 2, 1: softplus of their negatives.
        let expected: f64 = [1.3132617, 0.3132617, LN_2, 0.1269280, 0.3132617].iter().sum();
        assert!((got.value - expected / 5.0).abs() < 1e-6, "{}", got.value);
        // a: -(σ(1) + σ(-1) + σ(0))/5 = -1.5/5.
        assert!((got.d_score[1] + 0.3).abs() < 1e-7, "{:?}", got.d_score);
        assert!(got.d_score.iter().sum::<f32>().abs() < 1e-6, "only differences count");
        assert_eq!((got.diagnostics.pairs, got.diagnostics.pairs_right), (5, 3));
        // A margin of 1 moves every lead down; centring adds (s_w + s_l)² by 5.
        let config = Config { margin: 1.0, centring: 0.1 };
        let moved = loss(&tree, &leaf, &score, 5.0, &config);
        let expected: f64 = [2.1269280, LN_2, 1.3132617, 0.3132617, LN_2].iter().sum();
        let centre = 0.1 * (9.0 + 1.0 + 4.0 + 4.0 + 9.0);
        assert!((moved.value - (expected + centre) / 5.0).abs() < 1e-6, "{}", moved.value);
    }

    #[test]
    fn laws() {
        laws::check(&EstimatorConfig::BradleyTerry(Config::default()));
        laws::check(&EstimatorConfig::BradleyTerry(Config { margin: 0.5, centring: 0.25 }));
        assert!(Config { margin: -1.0, centring: 0.0 }.problem().is_some());
    }
}
