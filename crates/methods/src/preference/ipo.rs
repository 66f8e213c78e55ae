//! # Identity preference optimisation (IPO)
//!
//! Paper: Azar et al., arXiv 2310.12036, equation 17.
//! Idea: A logistic loss pushes the margin of a pair without end where nobody ever disagrees. Ask
//! for a finite margin instead.
//! Formula: L = (h − 1/(2τ))², h = Δ(chosen) − Δ(rejected)
//! Reads: as `dpo`, and the numbers of tokens where it averages.
//! Differs: Δ is a mean over tokens by default, as in TRL, which says that the authors confirmed
//! it; the paper's text reads as sums (`length_normalised = false`).
//! Degenerate: gradient 0 at h = 1/(2τ), whatever the reference says of the pair.
//! Control: `dpo` on the same pairs.

use serde::{Deserialize, Serialize};

use super::{Answer, Pair, Term};

/// The squared distance to a finite margin.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// τ: the margin asked for is 1/(2τ) nats; above 0, at most 100. Default 0.1, ours.
    pub tau: f64,
    /// True divides each Δ by its number of tokens. Default true, verified in TRL.
    pub length_normalised: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { tau: 0.1, length_normalised: true }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = self.tau > 0.0 && self.tau <= 100.0;
        (!fine).then(|| format!("`ipo.tau` must be above 0 and at most 100, got: {}", self.tau))
    }
}

/// The loss of one pair.
pub fn loss(pair: &Pair, config: &Config) -> Term {
    let length =
        |answer: &Answer| if config.length_normalised { answer.tokens as f64 } else { 1.0 };
    let (chosen, rejected) = (length(&pair.chosen), length(&pair.rejected));
    let margin = pair.chosen.delta() / chosen - pair.rejected.delta() / rejected;
    let miss = margin - 1.0 / (2.0 * config.tau);
    Term { value: miss * miss, d_chosen: 2.0 * miss / chosen, d_rejected: -2.0 * miss / rejected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::FIXTURE;

    #[test]
    fn a_worked_pair() {
        // Means 2/4 and −0.5/5: h = 0.6; asked for 1/(2·0.5) = 1: miss −0.4.
        let config = Config { tau: 0.5, ..Config::default() };
        let term = loss(&FIXTURE, &config);
        assert!((term.value - 0.16).abs() < 1e-12);
        assert!((term.d_chosen + 0.2).abs() < 1e-12 && (term.d_rejected - 0.16).abs() < 1e-12);
        // Sums: h = 2.5, miss 1.5.
        let term = loss(&FIXTURE, &Config { length_normalised: false, ..config });
        assert_eq!(term, Term { value: 2.25, d_chosen: 3.0, d_rejected: -3.0 });
    }

    #[test]
    fn the_gradient_is_zero_at_the_margin_asked_for() {
        let config = Config { tau: 0.2, length_normalised: false };
        let term = loss(&FIXTURE, &config);
        assert_eq!(term, Term { value: 0.0, d_chosen: 0.0, d_rejected: -0.0 });
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { tau: 0.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`ipo.tau`")));
    }
}
