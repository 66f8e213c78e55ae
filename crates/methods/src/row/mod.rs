//! Losses of whole distributions, one position at a time.
//!
//! No array may hold a distribution for every position at once (INV-7), so such a loss is a
//! function of one [`Row`](crate::Row): the trainer calls it tile by tile and adds up.

pub mod cql;
pub mod distill;

/// `[V]` log-probabilities of logits by a temperature.
fn log_softmax(logit: &[f32], temperature: f64) -> Vec<f64> {
    let scaled = || logit.iter().map(|x| f64::from(*x) / temperature);
    let top = scaled().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scaled().map(|x| (x - top).exp()).sum();
    let all = top + sum.ln();
    assert!(all.is_finite(), "the logits of a row are not finite");
    scaled().map(|x| x - all).collect()
}

/// Derivatives of a loss by log-probabilities of a softmax, from those by probabilities' logarithms
/// weighted by the probability itself: p⊙(h − p·h).
fn through_softmax(p: &[f64], h: &[f64]) -> Vec<f64> {
    let mean: f64 = p.iter().zip(h).map(|(p, h)| p * h).sum();
    p.iter().zip(h).map(|(p, h)| p * (h - mean)).collect()
}

#[cfg(test)]
mod tests {
    use crate::{Row, RowLoss, RowObjective};

    /// The gradient of a row loss against central differences.
    pub(super) fn check(objective: &RowObjective) {
        let mut logit = [0.5f32, -0.25, 0.0, 0.75];
        let target = [0.0f32, 0.5, -1.0, 0.25];
        let run = |logit: &[f32]| -> RowLoss {
            objective.row(&Row { logit, target: &target, token: 2, weight: 0.5 })
        };
        let d_logit = run(&logit).d_logit;
        for k in 0..logit.len() {
            let h = 1.0 / 1024.0;
            let at = logit[k];
            let mut shifted = |by: f32| {
                logit[k] = at + by;
                let value = run(&logit).value;
                logit[k] = at;
                value
            };
            let expected = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
            let got = f64::from(d_logit[k]);
            assert!((got - expected).abs() < 1e-6, "{objective:?} {k}: {got} {expected}");
        }
        let nothing = Row { logit: &[f32::NAN; 4], target: &target, token: 0, weight: 0.0 };
        let loss = objective.row(&nothing);
        assert!(loss.value == 0.0 && loss.d_logit.iter().all(|d| d.to_bits() == 0));
    }
}
