//! # Cross-entropy
//!
//! Paper: none; maximum likelihood. RFT, RAFT and STaR are this on own samples that a filter kept.
//! Idea: Make the tokens that stand there more likely, all alike; credit only says which they are.
//! Formula: L = −Σᵢ wᵢ · log π(yᵢ)
//! Reads: log-probabilities and weights.
//! Differs: nothing to differ from.
//! Degenerate: weights of 0 are not read and get gradient 0; no tokens, loss 0.
//! Control: the same number of updates on the same tokens with labels shuffled among tasks.

use serde::{Deserialize, Serialize};

use super::{Aggregation, Batch, Loss};

/// Cross-entropy on the tokens that train.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// From tokens to the update. Default `token_mean`.
    pub aggregation: Aggregation,
}

/// Negative log-likelihood of the batch.
pub fn objective(batch: &Batch<'_>, _config: &Config) -> Loss {
    assert_eq!(batch.weight.len(), batch.len(), "weights of a batch against its log-probs");
    let mut loss = Loss::zero(batch.len());
    for (i, (&logprob, &weight)) in batch.logprob.iter().zip(batch.weight).enumerate() {
        if weight == 0.0 {
            continue;
        }
        assert!(logprob.is_finite(), "log-prob of row {i} is not finite: {logprob}");
        loss.value -= weight * f64::from(logprob);
        loss.d_logprob[i] = -weight as f32;
        loss.diagnostics.tokens += 1;
        loss.diagnostics.ratio_sum += 1.0;
        loss.diagnostics.ratio_max = 1.0;
        if let Some(entropy) = batch.entropy.get(i) {
            loss.diagnostics.entropy_sum += f64::from(*entropy);
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_batch() {
        let batch = Batch {
            logprob: &[-1.0, -0.5, f32::NAN],
            weight: &[0.25, 0.75, 0.0],
            ..Batch::default()
        };
        let loss = objective(&batch, &Config::default());
        assert_eq!(loss.value, 0.625);
        assert_eq!(loss.d_logprob, [-0.25, -0.75, 0.0]);
        assert_eq!(loss.d_entropy, [0.0; 3]);
        assert_eq!(loss.diagnostics.tokens, 2);
    }
}
