//! # Kahneman-Tversky optimisation (KTO)
//!
//! Paper: Ethayarajh et al., arXiv 2402.01306.
//! Idea: People weigh gains and losses against a point of reference; ask of each answer by itself
//! whether it is above that point, and care less the further it is.
//! Formula: L = ½·[λ_D·(1 − σ(β·(Δ(chosen) − z))) + λ_U·(1 − σ(β·(z − Δ(rejected))))];
//! z = max(0, mean Δ of answers put to other prompts), a number without a gradient
//! Reads: as `dpo`; and z, from answers put to other prompts.
//! Differs: a pair counts as one desirable and one undesirable answer, its loss as their mean.
//! Degenerate: an answer far from z has no gradient; where an answer is desirable as often as not,
//! λ_D = λ_U leaves it alone.
//! Control: `dpo` on the same pairs.

use serde::{Deserialize, Serialize};

use super::{Answer, Pair, Term, sigmoid};

/// A bounded loss for each answer by itself.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// β: what a nat of log-ratio is worth; above 0, at most 100. Default 0.1, as `dpo`.
    pub beta: f64,
    /// λ_D: weight of chosen answers; 0 to 100. Default 1, TRL's.
    pub desirable: f64,
    /// λ_U: weight of rejected answers; 0 to 100. Default 1, TRL's.
    pub undesirable: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { beta: 0.1, desirable: 1.0, undesirable: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let weights = [("desirable", self.desirable), ("undesirable", self.undesirable)];
        let wrong = weights.iter().find(|(_, weight)| !(0.0..=100.0).contains(weight));
        let wrong = wrong
            .map(|(name, weight)| format!("`kto.{name}` must be from 0 to 100, got: {weight}"));
        super::beta_problem("kto", self.beta).or(wrong)
    }
}

/// z: how far answers put to other prompts have come, at least 0. 0 where there are none.
pub fn point_of_reference(mismatched: &[Answer]) -> f64 {
    let sum: f64 = mismatched.iter().map(Answer::delta).sum();
    (sum / mismatched.len().max(1) as f64).max(0.0)
}

/// The loss of one pair.
pub fn loss(pair: &Pair, z: f64, config: &Config) -> Term {
    let Config { beta, desirable, undesirable } = *config;
    let above = sigmoid(beta * (pair.chosen.delta() - z));
    let below = sigmoid(beta * (z - pair.rejected.delta()));
    Term {
        value: 0.5 * (desirable * (1.0 - above) + undesirable * (1.0 - below)),
        d_chosen: -0.5 * desirable * beta * above * (1.0 - above),
        d_rejected: 0.5 * undesirable * beta * below * (1.0 - below),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::FIXTURE;

    #[test]
    fn a_worked_pair() {
        // z = 0.5, β = 1: σ(1.5) = 0.817574, σ(1) = 0.731059.
        let config = Config { beta: 1.0, desirable: 1.0, undesirable: 2.0 };
        let term = loss(&FIXTURE, 0.5, &config);
        assert!((term.value - 0.5 * (0.182426 + 2.0 * 0.268941)).abs() < 1e-6, "{}", term.value);
        assert!((term.d_chosen + 0.5 * 0.149146).abs() < 1e-6, "{}", term.d_chosen);
        assert!((term.d_rejected - 0.196612).abs() < 1e-6, "{}", term.d_rejected);
    }

    #[test]
    fn the_point_of_reference_is_a_mean_and_never_negative() {
        let at = |delta| Answer { logprob: delta, reference: 0.0, tokens: 1 };
        assert_eq!(point_of_reference(&[at(3.0), at(-1.0)]), 1.0);
        assert_eq!(point_of_reference(&[at(1.0), at(-3.0)]), 0.0);
        assert_eq!(point_of_reference(&[]), 0.0);
    }

    #[test]
    fn swapping_sides_and_weights_reflects_delta_about_z() {
        let config = Config { beta: 0.7, desirable: 1.5, undesirable: 0.5 };
        let swapped = Config { desirable: 0.5, undesirable: 1.5, ..config };
        let z = 0.3;
        let reflect = |a: &Answer| Answer { logprob: 2.0 * z - a.delta(), reference: 0.0, ..*a };
        let mirror =
            Pair { chosen: reflect(&FIXTURE.rejected), rejected: reflect(&FIXTURE.chosen) };
        let (a, b) = (loss(&FIXTURE, z, &config), loss(&mirror, z, &swapped));
        assert!((a.value - b.value).abs() < 1e-12);
        assert!((a.d_chosen + b.d_rejected).abs() < 1e-12);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { undesirable: -1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`kto.undesirable`")));
    }
}
