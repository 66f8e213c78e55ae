//! # Pairs that a model judges (RLAIF)
//!
//! Paper: RLAIF, Lee et al., arXiv 2309.00267 (soft labels from the judge's log-probabilities of
//! the options, averaged over both orders of presentation).
//! Idea: Ask a model which of two answers is better, and take how sure it is for the label. It has
//! a weakness for a place, the first or the last, so ask twice with the places changed.
//! Formula: p₁ = π(A) / (π(A) + π(B)) with the first answer shown as A, p₂ = π(B) / (π(A) + π(B))
//! with it shown as B; p = (p₁ + p₂) / 2; L = p·ℓ(first, second) + (1 − p)·ℓ(second, first)
//! Reads: the judge's log-probabilities of two option tokens in each order.
//! Differs: the paper reads labels after a written reason too; here the option comes at once. With
//! `dpo` L is −p log σ(m) − (1 − p) log σ(−m), cDPO with a rate of error of its own for each pair.
//! Degenerate: options that the judge gives less than `mass_min` in an order are no answer: the
//! pair has no label, is counted, and trains nothing. p = 1/2 asks for a margin of 0.
//! Control: `orders = "one"`, which keeps the weakness; `control = "swapped"`.

use serde::{Deserialize, Serialize};

/// In which orders a pair is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Orders {
    /// As it is, and with the places changed.
    #[default]
    Both,
    /// As it is.
    One,
}

impl Orders {
    /// How often a pair is shown.
    pub fn count(self) -> usize {
        match self {
            Orders::Both => 2,
            Orders::One => 1,
        }
    }
}

/// What counts as an answer of the judge.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// In which orders a pair is shown. Default `both`, the paper's.
    pub orders: Orders,
    /// Least probability of both options together, in each order; 0 to 1. Default 0.1, ours.
    pub mass_min: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { orders: Orders::Both, mass_min: 0.1 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=1.0).contains(&self.mass_min);
        (!fine).then(|| format!("`judged.mass_min` must be from 0 to 1, got: {}", self.mass_min))
    }
}

/// What a judge said of a pair.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Label {
    /// The first answer is the better with this probability.
    Scored(f64),
    /// It named neither option: their probability together, the least of the orders.
    NoOption(f64),
    /// It said what is no number.
    NoNumber,
}

/// The label of a pair. `shown[0]` holds the log-probabilities of "the one shown first" and "the
/// one shown second" with the pair as it is, `shown[1]`, where there is one, with its places
/// changed.
pub fn label(shown: &[[f64; 2]], config: &Config) -> Label {
    if shown.is_empty() || shown.iter().flatten().any(|lp| lp.is_nan()) {
        return Label::NoNumber;
    }
    let mass = |[a, b]: &[f64; 2]| a.exp() + b.exp();
    let least = shown.iter().map(mass).fold(f64::INFINITY, f64::min);
    if least < config.mass_min || least == 0.0 {
        return Label::NoOption(least);
    }
    let first = |(order, options): (usize, &[f64; 2])| options[order % 2].exp() / mass(options);
    let sum: f64 = shown.iter().enumerate().map(first).sum();
    Label::Scored(sum / shown.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ln(options: [f64; 2]) -> [f64; 2] {
        options.map(f64::ln)
    }

    fn scored(shown: &[[f64; 2]]) -> f64 {
        match label(shown, &Config::default()) {
            Label::Scored(p) => p,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_worked_pair() {
        // Shown first: 0.6 of 0.8; shown second: 0.3 of 0.5.
        let shown = [ln([0.6, 0.2]), ln([0.2, 0.3])];
        assert!((scored(&shown) - (0.75 + 0.6) / 2.0).abs() < 1e-12);
        assert!((scored(&shown[..1]) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_weakness_for_a_place_cancels_in_both_orders_and_stays_in_one() {
        // A judge that always says the first.
        let shown = [ln([0.9, 0.1]), ln([0.9, 0.1])];
        assert!((scored(&shown) - 0.5).abs() < 1e-12);
        assert!((scored(&shown[..1]) - 0.9).abs() < 1e-12);
        // The pair the other way round has the other label.
        for (one, two) in [([0.6, 0.2], [0.2, 0.3]), ([0.01, 0.5], [0.3, 0.3])] {
            let (as_is, round) = ([ln(one), ln(two)], [ln(two), ln(one)]);
            assert!((scored(&as_is) + scored(&round) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn no_option_and_no_number_are_no_label() {
        let config = Config::default();
        let shown = [ln([0.6, 0.2]), ln([0.03, 0.02])];
        assert!(matches!(label(&shown, &config), Label::NoOption(m) if (m - 0.05).abs() < 1e-12));
        let all = Config { mass_min: 0.0, ..config };
        assert!(matches!(label(&shown, &all), Label::Scored(_)));
        // Nothing at all is no label, whatever is asked for.
        let nothing = [[f64::NEG_INFINITY; 2]];
        assert_eq!(label(&nothing, &all), Label::NoOption(0.0));
        assert_eq!(label(&[[f64::NAN, -1.0]], &all), Label::NoNumber);
        assert_eq!(label(&[], &all), Label::NoNumber);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { mass_min: 1.5, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`judged.mass_min`")));
    }
}
