//! # Robust DPO
//!
//! Paper: Chowdhury et al., arXiv 2403.00409.
//! Idea: Where a known share of labels is wrong, subtract what the wrong ones add: the loss is then
//! that of clean labels in expectation.
//! Formula: L = [(1−ε)·(−log σ(m)) − ε·(−log σ(−m))] / (1−2ε), m as in `dpo`
//! Reads: as `dpo`.
//! Differs: nothing; ε = 0 is `dpo`.
//! Degenerate: pairs it never saw wrong pull without end, faster than `dpo`'s; ε = 1/2 would tell
//! nothing and is refused.
//! Control: `dpo` on the same pairs.

use serde::{Deserialize, Serialize};

use super::{Pair, Term, sigmoid, softplus};

/// DPO freed of a known share of wrong labels.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// β: what a nat of log-ratio is worth; above 0, at most 100. Default 0.1, as `dpo`.
    pub beta: f64,
    /// ε: share of labels that are wrong; 0 to 0.49. Default 0.1, ours.
    pub label_smoothing: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { beta: 0.1, label_smoothing: 0.1 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let smoothing = super::smoothing_problem("robust_dpo", self.label_smoothing, 0.49);
        super::beta_problem("robust_dpo", self.beta).or(smoothing)
    }
}

/// The loss of one pair.
pub fn loss(pair: &Pair, config: &Config) -> Term {
    let (margin, wrong) = (config.beta * pair.margin(), config.label_smoothing);
    let clean = 1.0 - 2.0 * wrong;
    let value = ((1.0 - wrong) * softplus(-margin) - wrong * softplus(margin)) / clean;
    let slope = -((1.0 - wrong) * sigmoid(-margin) + wrong * sigmoid(margin)) / clean;
    Term::of_difference(value, config.beta * slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::{FIXTURE, dpo};

    #[test]
    fn a_worked_pair() {
        // m = 0.25: (0.9·0.57594 − 0.1·0.82594)/0.8; slope −0.1·(0.9·0.437823 + 0.1·0.562177)/0.8.
        let term = loss(&FIXTURE, &Config::default());
        assert!((term.value - 0.54469).abs() < 5e-6, "{}", term.value);
        assert!((term.d_chosen + 0.0562823).abs() < 1e-7, "{}", term.d_chosen);
        let sure = Config { label_smoothing: 0.0, ..Config::default() };
        assert_eq!(loss(&FIXTURE, &sure), dpo::loss(&FIXTURE, &dpo::Config::default()));
    }

    #[test]
    fn flipped_labels_cancel_in_expectation() {
        let swapped = Pair { chosen: FIXTURE.rejected, rejected: FIXTURE.chosen };
        let config = Config { beta: 0.7, label_smoothing: 0.2 };
        let mean = 0.8 * loss(&FIXTURE, &config).value + 0.2 * loss(&swapped, &config).value;
        let clean = dpo::loss(&FIXTURE, &dpo::Config { beta: 0.7 }).value;
        assert!((mean - clean).abs() < 1e-12, "{mean} {clean}");
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { label_smoothing: 0.5, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`robust_dpo.label_smoothing`")));
    }
}
