//! # Outcome reward model (ORM)
//!
//! Paper: Cobbe et al., arXiv 2110.14168, at the last token of an answer.
//! Idea: A finished attempt is right with some chance; learn it from those that were judged.
//! Formula: L = mean over scored leaves of BCE(σ(s), label); label = [R ≥ threshold], or R
//! Reads: rewards of leaves, from 0 to 1; the score at every scored leaf's end.
//! Differs: the paper learns it at every token of the answer as well; `prefix_value` is that.
//! Degenerate: one class alone teaches the constant; an unscored leaf teaches nothing.
//! Control: the share of right attempts as a constant score; labels dealt out to other attempts of
//! the same task.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree};

use super::{Labels, Target, TreeLoss, cross_entropy, scored, threshold_problem};

/// What a leaf is learned as.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What a reward is learned as. Default `hard`, the paper's.
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
        threshold_problem("outcome", self.threshold)
    }
}

/// Every scored leaf.
pub fn reads(leaf: &[Option<f64>]) -> Vec<StepId> {
    scored(leaf).map(|(step, _)| step).collect()
}

/// Scored leaves of the tree.
pub fn terms(leaf: &[Option<f64>]) -> usize {
    scored(leaf).count()
}

/// The tree's leaves by the divisor.
pub fn loss(
    tree: &StepTree,
    leaf: &[Option<f64>],
    score: &[f32],
    divisor: f64,
    config: &Config,
) -> TreeLoss {
    let label = |r: f64| config.labels.of(r, config.threshold);
    let target = |(step, r): (StepId, f64)| Target { step, label: label(r), weight: 1.0 };
    let target: Vec<Target> = scored(leaf).map(target).collect();
    cross_entropy(tree, &target, score, divisor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EstimatorConfig;
    use crate::estimator::laws;
    use stepwell_tree::parse;

    #[test]
    fn a_worked_tree() {
        let tree = parse(
            "0 -  prompt q
             1 0  policy a        r=1
             2 0  policy b
             3 2  environment o
             4 3  policy c        r=0.25
             5 3  policy d        unscored=interrupted",
        );
        let leaf = crate::reward::outcome::reward(std::slice::from_ref(&tree)).leaf.remove(0);
        assert_eq!((terms(&leaf), reads(&leaf)), (2, vec![StepId(1), StepId(4)]));
        // Chances 3/4 and 1/2.
        let score = [9.0, 3f32.ln(), 9.0, 9.0, 0.0, 9.0];
        let got = loss(&tree, &leaf, &score, 2.0, &Config::default());
        let expected = -(0.75f64.ln() + 0.5f64.ln()) / 2.0;
        assert!((got.value - expected).abs() < 1e-6, "{}", got.value);
        assert!((got.d_score[1] + 0.125).abs() < 1e-6 && (got.d_score[4] - 0.25).abs() < 1e-6);
        // From its threshold on an attempt is right.
        let low = Config { threshold: 0.25, ..Config::default() };
        assert!((loss(&tree, &leaf, &score, 2.0, &low).d_score[4] + 0.25).abs() < 1e-6);
        let soft = Config { labels: Labels::Soft, ..Config::default() };
        let got = loss(&tree, &leaf, &score, 2.0, &soft);
        assert!((got.d_score[4] - 0.125).abs() < 1e-6, "σ(0) − 1/4, by 2");
        assert!((got.diagnostics.brier_sum - 0.125).abs() < 1e-6);
        assert_eq!((got.diagnostics.probabilities, got.diagnostics.label_sum), (2, 1.25));
    }

    #[test]
    fn laws() {
        laws::check(&EstimatorConfig::Outcome(Config::default()));
        laws::check(&EstimatorConfig::Outcome(Config { labels: Labels::Soft, threshold: 1.0 }));
        let wrong = Config { threshold: 0.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`outcome.threshold`")));
    }
}
