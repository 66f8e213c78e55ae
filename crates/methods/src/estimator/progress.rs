//! # Progress estimator (SPA-RL)
//!
//! Paper: SPA-RL, arXiv 2505.20732 (its equations secondary, and its code).
//! Idea: Split the outcome into what each turn contributed, by learning contributions that add up
//! to it: nobody labels a turn.
//! Formula: R̂ = Σ over the policy steps of a path of cₜ; L = mean over scored leaves of (R̂ − R)²
//! Reads: rewards of leaves; the score at the end of every policy step with a scored leaf below.
//! Differs: a head on the hidden state, as the paper; its code has one on the logits. A shared step
//! has one contribution, which stands in the sums of all paths through it.
//! Degenerate: nothing makes a contribution positive or growing. A scored leaf without a policy
//! step on its path teaches nothing and is counted (`empty`). Where no step can be told from
//! another the outcome is split evenly.
//! Control: `attribution` with `contributions = "uniform"` and `"permuted"`.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree, path_to};

use super::{Sum, TreeLoss, scored};

/// The estimator has nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Scored leaves with the policy steps on their paths.
fn paths(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<(Vec<StepId>, f64)> {
    let own = |end: StepId| -> Vec<StepId> {
        let mut path = path_to(tree, end);
        path.retain(|s| tree.origin[s.index()].is_policy());
        path
    };
    scored(leaf).map(|(end, reward)| (own(end), reward)).collect()
}

/// Policy steps with a scored leaf below.
pub fn reads(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<StepId> {
    super::process::reads(tree, leaf)
}

/// Scored leaves with a policy step on their path.
pub fn terms(tree: &StepTree, leaf: &[Option<f64>]) -> usize {
    paths(tree, leaf).iter().filter(|(path, _)| !path.is_empty()).count()
}

/// What the estimator says of a path: its contributions, added up from first to last in f32.
pub fn predicted(path: &[StepId], score: &[f32]) -> f32 {
    path.iter().fold(0.0, |sum, s| sum + score[s.index()])
}

/// The tree's paths by the divisor.
pub fn loss(
    tree: &StepTree,
    leaf: &[Option<f64>],
    score: &[f32],
    divisor: f64,
    _config: &Config,
) -> TreeLoss {
    let mut sum = Sum::new(tree, score, divisor);
    for (path, reward) in paths(tree, leaf) {
        if path.is_empty() {
            sum.diagnostics.empty += 1;
            continue;
        }
        let error = f64::from(predicted(&path, score)) - reward;
        assert!(error.is_finite(), "the contributions of a path are not finite: {path:?}");
        sum.add(error * error);
        path.iter().for_each(|s| sum.push(*s, 2.0 * error));
        sum.diagnostics.sum(error);
    }
    sum.loss()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EstimatorConfig;
    use crate::estimator::laws;
    use stepwell_tree::parse;

    #[test]
    fn a_worked_tree() {
        // Paths a: 0.5 against 1; b c: 0.25 + 0.5 against 0; b d: 0.25 - 0.25 against 1.
        let tree = parse(
            "0 -  prompt q
             1 0  policy a        r=1
             2 0  policy b
             3 2  environment o
             4 3  policy c        r=0
             5 3  policy d        r=1
             6 3  policy e        unscored=interrupted
             7 0  environment p   r=0",
        );
        let leaf = crate::reward::outcome::reward(std::slice::from_ref(&tree)).leaf.remove(0);
        assert_eq!((terms(&tree, &leaf), reads(&tree, &leaf).len()), (3, 4));
        let score = [9.0, 0.5, 0.25, 9.0, 0.5, -0.25, 9.0, 9.0];
        let got = loss(&tree, &leaf, &score, 3.0, &Config::default());
        assert!((got.value - (0.25 + 0.5625 + 1.0) / 3.0).abs() < 1e-12, "{}", got.value);
        // 2·error/3: a -1/3; c 1/2; d -2/3; b stands in both of the last.
        for (i, expected) in [(1, -1.0 / 3.0), (2, -1.0 / 6.0), (4, 0.5), (5, -2.0 / 3.0)] {
            assert!((got.d_score[i] - expected).abs() < 1e-7, "{i}: {:?}", got.d_score);
        }
        assert_eq!((got.diagnostics.empty, got.diagnostics.sums), (1, 3));
    }

    #[test]
    fn the_sum_is_the_prediction_and_every_turn_of_a_path_gets_the_same() {
        // spa_rl.md, section 10, 1: bit for bit, in f32.
        let tree = parse(
            "0 - prompt q
             1 0 policy a
             2 1 environment o
             3 2 policy b
             4 3 policy c        r=1",
        );
        let score = [0.0f32, 0.1, 0.0, 1e8, -1e8];
        let path = [1, 3, 4].map(StepId);
        let expected: f32 = (0.1f32 + 1e8) + -1e8;
        assert_eq!(predicted(&path, &score).to_bits(), expected.to_bits());
        let leaf = [None, None, None, None, Some(1.0)];
        let d = loss(&tree, &leaf, &score, 1.0, &Config::default()).d_score;
        assert_eq!([d[1], d[3], d[4]], [2.0 * (expected - 1.0); 3]);
        assert_eq!([d[0], d[2]], [0.0; 2]);
    }

    #[test]
    fn laws() {
        laws::check(&EstimatorConfig::Progress(Config::default()));
    }
}
