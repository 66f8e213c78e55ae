//! # Conservative DPO (cDPO)
//!
//! Paper: Mitchell, "A note on DPO with noisy preferences", 2023.
//! Idea: A label may be wrong; aim for the margin that a wrong one now and then would explain,
//! and not for infinity.
//! Formula: L = (1−ε)·(−log σ(m)) + ε·(−log σ(−m)), m as in `dpo`
//! Reads: as `dpo`.
//! Differs: nothing; ε = 0 is `dpo`.
//! Degenerate: the gradient is 0 at m = log((1−ε)/ε), and for ε = 1/2 at m = 0. With labels that
//! are noisy already it stops short of what they say: its fixed point is not the reward's.
//! Control: `dpo` on the same pairs; `robust_dpo` where the rate of wrong labels is known.

use serde::{Deserialize, Serialize};

use super::{Pair, Term, sigmoid, softplus};

/// DPO with smoothed labels.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// β: what a nat of log-ratio is worth; above 0, at most 100. Default 0.1, as `dpo`.
    pub beta: f64,
    /// ε: share of labels that may be wrong; 0 to 0.5. Default 0.1, ours.
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
        let smoothing = super::smoothing_problem("cdpo", self.label_smoothing, 0.5);
        super::beta_problem("cdpo", self.beta).or(smoothing)
    }
}

/// The loss of one pair.
pub fn loss(pair: &Pair, config: &Config) -> Term {
    let (margin, wrong) = (config.beta * pair.margin(), config.label_smoothing);
    let value = (1.0 - wrong) * softplus(-margin) + wrong * softplus(margin);
    // The two slopes, −(1−ε) σ(−m) + ε σ(m), are one number.
    Term::of_difference(value, config.beta * (sigmoid(margin) - (1.0 - wrong)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::{Answer, FIXTURE, dpo};

    #[test]
    fn a_worked_pair() {
        // m = 0.25: 0.9·0.57594 + 0.1·0.82594; slope 0.1·(σ(0.25) − 0.9).
        let term = loss(&FIXTURE, &Config::default());
        assert!((term.value - 0.60094).abs() < 5e-6, "{}", term.value);
        assert!((term.d_chosen + 0.0337823).abs() < 1e-7, "{}", term.d_chosen);
        let sure = Config { label_smoothing: 0.0, ..Config::default() };
        let expected = dpo::loss(&FIXTURE, &dpo::Config::default());
        assert!((loss(&FIXTURE, &sure).d_chosen - expected.d_chosen).abs() < 1e-15);
    }

    #[test]
    fn the_gradient_is_zero_where_the_noise_explains_the_margin() {
        let at = |margin: f64| Pair {
            chosen: Answer { logprob: margin, reference: 0.0, tokens: 1 },
            rejected: Answer { logprob: 0.0, reference: 0.0, tokens: 1 },
        };
        let half = Config { beta: 1.0, label_smoothing: 0.5 };
        assert_eq!(loss(&at(0.0), &half).d_chosen, 0.0);
        let tenth = Config { beta: 1.0, label_smoothing: 0.1 };
        assert!(loss(&at(9f64.ln()), &tenth).d_chosen.abs() < 1e-15);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { label_smoothing: 0.6, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`cdpo.label_smoothing`")));
    }
}
