//! # Noise-contrastive alignment on pairs (NCA)
//!
//! Paper: Chen et al., arXiv 2402.05369, for two answers.
//! Idea: Tell each answer by itself from noise of the reference, so that the chosen one gains
//! probability and does not merely lose less than the other.
//! Formula: L = −log σ(r(chosen)) − ½·log σ(−r(chosen)) − ½·log σ(−r(rejected)), r = β·Δ
//! Reads: as `dpo`.
//! Differs: nothing.
//! Degenerate: at the reference the loss is 2·ln 2 and the gradients −β/4 and β/4; the chosen
//! answer alone stops at r = ln 2.
//! Control: `dpo` on the same pairs, with the chosen answer's log-probability watched.

use serde::{Deserialize, Serialize};

use super::{Pair, Term, sigmoid, softplus};

/// Classification of each answer against noise.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// β: what a nat of log-ratio is worth; above 0, at most 100. Default 0.1, as `dpo`.
    pub beta: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { beta: 0.1 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        super::beta_problem("nca", self.beta)
    }
}

/// The loss of one pair.
pub fn loss(pair: &Pair, config: &Config) -> Term {
    let beta = config.beta;
    let (chosen, rejected) = (beta * pair.chosen.delta(), beta * pair.rejected.delta());
    Term {
        value: softplus(-chosen) + 0.5 * softplus(chosen) + 0.5 * softplus(rejected),
        d_chosen: beta * (0.5 * sigmoid(chosen) - sigmoid(-chosen)),
        d_rejected: beta * 0.5 * sigmoid(rejected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::{Answer, FIXTURE};

    #[test]
    fn a_worked_pair() {
        // r = 0.2 and −0.05: 0.598139 + 0.399069 + 0.334230.
        let term = loss(&FIXTURE, &Config::default());
        assert!((term.value - 1.331438).abs() < 2e-6, "{}", term.value);
        // 0.1·(0.5·0.549834 − 0.450166), 0.1·0.5·0.487503
        assert!((term.d_chosen + 0.0175249).abs() < 1e-7, "{}", term.d_chosen);
        assert!((term.d_rejected - 0.0243751).abs() < 1e-7, "{}", term.d_rejected);
    }

    #[test]
    fn the_chosen_answer_stops_at_ln_2() {
        let at = |delta| Answer { logprob: delta, reference: 0.0, tokens: 1 };
        let pair = Pair { chosen: at(std::f64::consts::LN_2), rejected: at(0.0) };
        assert!(loss(&pair, &Config { beta: 1.0 }).d_chosen.abs() < 1e-15);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        assert!(Config { beta: 101.0 }.problem().is_some_and(|p| p.starts_with("`nca.beta`")));
    }
}
