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
//! Control: `orders = "one"`, each pair in one order that its content draws, which keeps the
//! weakness; `control = "swapped"`.
//!
//! A stage `preference` on pairs of a file reads it under `[stage.preference.judge]`, whose keys
//! `orders` and `mass_min` are those of this page.

/// What a judge said of a pair.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Label {
    /// The first answer is the better with this probability.
    Scored(f64),
    /// In an order it named neither option.
    NoOption,
    /// It said what is no number.
    NoNumber,
}

/// The label of a pair. `shown` holds, for each order that it was shown in, the log-probabilities
/// of the option that names its first answer and of the one that names its second, wherever they
/// stood. `mass_min`, 0 to 1, is the least probability of both options together, in each order.
pub fn label(shown: &[[f64; 2]], mass_min: f64) -> Label {
    if shown.is_empty() || shown.iter().flatten().any(|lp| lp.is_nan()) {
        return Label::NoNumber;
    }
    let mass = |[a, b]: &[f64; 2]| a.exp() + b.exp();
    let least = shown.iter().map(mass).fold(f64::INFINITY, f64::min);
    if least < mass_min || least == 0.0 {
        return Label::NoOption;
    }
    let sum: f64 = shown.iter().map(|options| options[0].exp() / mass(options)).sum();
    Label::Scored(sum / shown.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ln(options: [f64; 2]) -> [f64; 2] {
        options.map(f64::ln)
    }

    fn scored(shown: &[[f64; 2]]) -> f64 {
        match label(shown, 0.1) {
            Label::Scored(p) => p,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_worked_pair() {
        // Shown first: 0.6 of 0.8; shown second: 0.3 of 0.5.
        let shown = [ln([0.6, 0.2]), ln([0.3, 0.2])];
        assert!((scored(&shown) - (0.75 + 0.6) / 2.0).abs() < 1e-12);
        assert!((scored(&shown[..1]) - 0.75).abs() < 1e-12);
    }

    #[test]
    fn a_weakness_for_a_place_cancels_in_both_orders_and_stays_in_one() {
        // A judge that always says the one that stands first.
        let shown = [ln([0.9, 0.1]), ln([0.1, 0.9])];
        assert!((scored(&shown) - 0.5).abs() < 1e-12);
        assert!((scored(&shown[..1]) - 0.9).abs() < 1e-12);
        assert!((scored(&shown[1..]) - 0.1).abs() < 1e-12);
        // The pair the other way round has the other label.
        for (one, two) in [([0.6, 0.2], [0.3, 0.2]), ([0.01, 0.5], [0.3, 0.3])] {
            let (as_is, round) = ([one, two].map(ln), [two, one].map(|[a, b]| ln([b, a])));
            assert!((scored(&as_is) + scored(&round) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn no_option_and_no_number_are_no_label() {
        let shown = [ln([0.6, 0.2]), ln([0.03, 0.02])];
        assert_eq!(label(&shown, 0.1), Label::NoOption);
        assert!(matches!(label(&shown, 0.0), Label::Scored(_)));
        // Nothing at all is no label, whatever is asked for.
        let nothing = [[f64::NEG_INFINITY; 2]];
        assert_eq!(label(&nothing, 0.0), Label::NoOption);
        assert_eq!(label(&[[f64::NAN, -1.0]], 0.1), Label::NoNumber);
        assert_eq!(label(&[], 0.1), Label::NoNumber);
    }
}
