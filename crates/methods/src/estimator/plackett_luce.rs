//! # Plackett-Luce ranking
//!
//! Paper: Plackett 1975; Luce 1959; for K answers to one prompt: arXiv 2301.11270.
//! Idea: The best of all attempts should win against all others at once, then the second best
//! against the rest: one comparison of many in place of many of two.
//! Formula: L = −mean over leaves k that are better than another of log [e^{s_k} / (e^{s_k} +
//! Σ_{j worse than k} e^{s_j})]
//! Reads: rewards of leaves; the score at every scored leaf's end; two of different reward.
//! Differs: the formula is for a strict order, where it is the same; leaves of equal reward are not
//! compared with each other, so that with rewards of 0 and 1 every right attempt stands against all
//! wrong ones.
//! Degenerate: equal rewards give no term; two leaves are `bradley_terry`. Adding a number to all
//! scores of a tree changes nothing.
//! Control: `bradley_terry` on the same trees.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree};

use super::{Sum, TreeLoss, bradley_terry, scored};

/// The ranking has nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Leaves that are better or worse than another.
pub fn reads(leaf: &[Option<f64>]) -> Vec<StepId> {
    bradley_terry::reads(leaf)
}

/// Leaves that are better than another.
pub fn terms(leaf: &[Option<f64>]) -> usize {
    scored(leaf).filter(|(_, r)| scored(leaf).any(|(_, other)| *r > other)).count()
}

/// The tree's comparisons by the divisor.
pub fn loss(
    tree: &StepTree,
    leaf: &[Option<f64>],
    score: &[f32],
    divisor: f64,
    _config: &Config,
) -> TreeLoss {
    let mut sum = Sum::new(tree, score, divisor);
    for (k, reward) in scored(leaf) {
        let worse = scored(leaf).filter(|(_, other)| reward > *other);
        let rivals: Vec<(StepId, f64)> = worse.map(|(j, _)| (j, sum.read(j))).collect();
        if rivals.is_empty() {
            continue;
        }
        let own = sum.read(k);
        let top = rivals.iter().fold(own, |top, (_, s)| top.max(*s));
        let rest: f64 = rivals.iter().map(|(_, s)| (s - top).exp()).sum();
        let all = (own - top).exp() + rest;
        sum.add(all.ln() + top - own);
        // p − 1 of the winner, which is minus the p of all others.
        sum.push(k, -rest / all);
        for (j, s) in rivals {
            sum.push(j, (s - top).exp() / all);
            sum.diagnostics.pair(own, s);
        }
    }
    sum.loss()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EstimatorConfig;
    use crate::estimator::laws;
    use stepwell_tree::parse;

    fn of(table: &str, score: &[f32]) -> TreeLoss {
        let tree = parse(table);
        let leaf = crate::reward::outcome::reward(std::slice::from_ref(&tree)).leaf.remove(0);
        loss(&tree, &leaf, score, terms(&leaf) as f64, &Config::default())
    }

    #[test]
    fn a_worked_tree() {
        // A strict order 1, 0.5, 0 with scores ln 2, ln 3, 0: 2/(2 + 3 + 1), then 3/(3 + 1).
        let strict = "0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=0.5\n3 0 policy c r=0";
        let got = of(strict, &[0.0, 2f32.ln(), 3f32.ln(), 0.0]);
        let expected = -((1.0f64 / 3.0).ln() + 0.75f64.ln()) / 2.0;
        assert!((got.value - expected).abs() < 1e-6, "{}", got.value);
        for (got, expected) in got.d_score.iter().zip([0.0, -1.0 / 3.0, 0.125, 5.0 / 24.0]) {
            assert!((got - expected).abs() < 1e-6, "{got} {expected}");
        }
        // Two right ones each against the wrong one: 2/3 and 3/4.
        let tied = "0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=1\n3 0 policy c r=0";
        let got = of(tied, &[0.0, 2f32.ln(), 3f32.ln(), 0.0]);
        let expected = -((2.0f64 / 3.0).ln() + 0.75f64.ln()) / 2.0;
        assert!((got.value - expected).abs() < 1e-6, "{}", got.value);
    }

    #[test]
    fn two_leaves_are_bradley_terry_and_only_differences_count() {
        let two = "0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=0";
        let score = [0.0, 0.5, -0.25];
        let tree = parse(two);
        let leaf = [None, Some(1.0), Some(0.0)];
        let other =
            bradley_terry::loss(&tree, &leaf, &score, 1.0, &bradley_terry::Config::default());
        assert!((of(two, &score).value - other.value).abs() < 1e-12);
        let high = of(two, &[0.0, 1000.5, 999.75]);
        assert!((high.value - other.value).abs() < 1e-6, "{}", high.value);
    }

    #[test]
    fn laws() {
        laws::check(&EstimatorConfig::PlackettLuce(Config::default()));
    }
}
