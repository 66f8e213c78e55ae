//! # Value of prefixes (PAV)
//!
//! Paper: PAV, "Rewarding Progress", arXiv 2410.08146, appendix D.
//! Idea: Learn with which chance an attempt that stands here ends right, at the end of every step,
//! so that the difference a step makes can be read off.
//! Formula: L = Σ weight·BCE(σ(s), Q) by the number of step ends; Q = recursive mean of R below;
//! weights give the ends with Q ≥ ½ and those with Q < ½ the same sum
//! Reads: rewards of leaves, from 0 to 1; the score at the end of every step with a scored leaf
//! below: prompt, policy and environment.
//! Differs: the paper rolls out from prefixes apart from training; here the continuations are the
//! tree's. It samples both buckets alike over its data; here they are weighed alike within a tree.
//! Its scoring token is the step's last.
//! Degenerate: a tree with one bucket only has weights of 1; without `balance` all have.
//! Control: `balance = false`; `outcome`, whose scores of prefixes were never trained.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree, recursive_mean};

use super::{Target, TreeLoss, cross_entropy};

/// How prefixes count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether prefixes of either half of the range count alike. Default true, the paper's.
    pub balance: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { balance: true }
    }
}

/// Steps with a scored leaf below.
pub fn reads(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<StepId> {
    targets(tree, leaf, &Config::default()).iter().map(|target| target.step).collect()
}

/// How many these are.
pub fn terms(tree: &StepTree, leaf: &[Option<f64>]) -> usize {
    targets(tree, leaf, &Config::default()).len()
}

/// The tree's prefixes by the divisor.
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
    let value = recursive_mean(tree, |s| leaf[s.index()]);
    let each = value.iter().enumerate().filter_map(|(i, value)| Some((i, (*value)?)));
    let target = |(i, value): (usize, f64)| Target {
        step: StepId(i as u32),
        label: value.clamp(0.0, 1.0),
        weight: 1.0,
    };
    let mut target: Vec<Target> = each.map(target).collect();
    let all = target.len() as f64;
    let high = target.iter().filter(|t| t.label >= 0.5).count() as f64;
    if config.balance && high > 0.0 && high < all {
        for own in &mut target {
            own.weight = 0.5 * all / if own.label >= 0.5 { high } else { all - high };
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EstimatorConfig;
    use crate::estimator::laws;
    use stepwell_tree::parse;

    #[test]
    fn a_worked_tree() {
        // Q: c 1, d 0, o 1/2, b 1/2, a 0, prompt 1/4. High: b, o, c; low: prompt, a, d.
        let text = "
            0 -  prompt q
            1 0  policy a        r=0
            2 0  policy b
            3 2  environment o
            4 3  policy c        r=1
            5 3  policy d        r=0
            6 3  policy e        unscored=interrupted";
        let tree = parse(text);
        let leaf = crate::reward::outcome::reward(std::slice::from_ref(&tree)).leaf.remove(0);
        let numbers = |config: &Config| -> Vec<(u32, f64, f64)> {
            let own = targets(&tree, &leaf, config);
            own.iter().map(|t| (t.step.0, t.label, t.weight)).collect()
        };
        let expected = [
            (0, 0.25, 1.0),
            (1, 0.0, 1.0),
            (2, 0.5, 1.0),
            (3, 0.5, 1.0),
            (4, 1.0, 1.0),
            (5, 0.0, 1.0),
        ];
        assert_eq!(numbers(&Config::default()), expected);
        assert_eq!(terms(&tree, &leaf), 6);
        let got = loss(&tree, &leaf, &[0.0; 7], 6.0, &Config::default());
        assert!((got.value - std::f64::consts::LN_2).abs() < 1e-12);
        let slope = [0.25, 0.5, 0.0, 0.0, -0.5, 0.5, 0.0].map(|x| (x / 6.0) as f32);
        assert_eq!(got.d_score, slope);
    }

    #[test]
    fn both_halves_count_alike() {
        // Three wrong attempts and a right one: prompt 1/4, low 4, high 1 of 5.
        let tree = parse(
            "0 - prompt q
             1 0 policy a r=1
             2 0 policy b r=0
             3 0 policy c r=0
             4 0 policy d r=0",
        );
        let leaf = crate::reward::outcome::reward(std::slice::from_ref(&tree)).leaf.remove(0);
        let weight = |config: &Config| -> Vec<f64> {
            targets(&tree, &leaf, config).iter().map(|t| t.weight).collect()
        };
        assert_eq!(weight(&Config::default()), [0.625, 2.5, 0.625, 0.625, 0.625]);
        assert_eq!(weight(&Config { balance: false }), [1.0; 5]);
        let wrong = [None, Some(0.0), Some(0.0), Some(0.25), Some(0.0)];
        let alone = targets(&tree, &wrong, &Config::default());
        assert!(alone.iter().all(|t| t.weight == 1.0));
    }

    #[test]
    fn laws() {
        laws::check(&EstimatorConfig::PrefixValue(Config::default()));
        laws::check(&EstimatorConfig::PrefixValue(Config { balance: false }));
    }
}
