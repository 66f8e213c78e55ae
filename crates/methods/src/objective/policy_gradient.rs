//! # Policy gradient (REINFORCE, A2C)
//!
//! Paper: Williams 1992, "Simple statistical gradient-following algorithms"; A3C, arXiv 1602.01783,
//! algorithm S3.
//! Idea: Push each choice by its credit, and nothing else: no ratio, no clip.
//! Formula: L = Σᵢ wᵢ·[−A·log π + β·KLₖ − η·H]
//! Reads: log-probabilities now, credit; entropy if η > 0; reference if β > 0.
//! Differs: A3C adds 0.5·(V − R)² of a head on the same trunk; here that is the value loss of the
//! stage. It is right for one optimizer step per update: there is no correction for samples of
//! other weights.
//! Degenerate: credit 0 leaves KL and entropy; weight 0 is not read and gets gradient 0. The value
//! of the loss is no mean of anything that should fall: read the reward.
//! Control: `surrogate` and `clipped`, which are this on the policy that sampled.

use serde::{Deserialize, Serialize};

use super::kl::{Companions, Kl, Token, by_token, outside};
use super::{Aggregation, Batch, Diagnostics, Loss};

/// The policy gradient with its usual companions.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The penalty for leaving the reference.
    pub kl: Kl,
    /// η: what a nat of entropy is worth, in units of credit; 0 to 100. Default 0.01, A3C's.
    pub entropy_bonus: f64,
    /// Log-ratios to the reference beyond this count as this, in nats; above 0, at most 80. Default
    /// 20, verl's.
    pub log_ratio_max: f64,
    /// From tokens to the update. Default `token_mean`, ours.
    pub aggregation: Aggregation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            kl: Kl::default(),
            entropy_bonus: 0.01,
            log_ratio_max: 20.0,
            aggregation: Aggregation::default(),
        }
    }
}

impl Config {
    fn companions(&self) -> Companions {
        let Config { kl, entropy_bonus, log_ratio_max, .. } = *self;
        Companions { kl, entropy_bonus, log_ratio_max }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        outside("policy_gradient", &self.companions().ranges())
            .or_else(|| self.aggregation.problem())
    }
}

/// The loss over a batch, and its gradient per log-probability and entropy.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    by_token(batch, &config.companions(), |_, token, seen| pushed(token, config, seen))
}

fn pushed(token: &Token, config: &Config, seen: &mut Diagnostics) -> (f64, f64) {
    // Counted, so that reports show how far the weights were from those that sampled.
    token.ratio(config.log_ratio_max, seen);
    (-token.credit * token.logprob, -token.credit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_batch() {
        // Whatever the ratio, the gradient is -A.
        let batch = Batch {
            logprob: &[-1.0, -0.5, f32::NAN],
            behaviour: &[-1.0, -2.5, -1.0],
            entropy: &[2.0, 1.0, 1.0],
            credit: &[2.0, -1.0, 1.0],
            weight: &[0.5, 0.25, 0.0],
            ..Batch::default()
        };
        let loss = objective(&batch, &Config::default());
        assert_eq!(loss.d_logprob, [-1.0, 0.25, 0.0]);
        assert_eq!(loss.d_entropy, [-0.005, -0.0025, 0.0]);
        // 0.5·2·1 - 0.25·0.5 - 0.01·(0.5·2 + 0.25·1)
        assert!((loss.value - 0.8625).abs() < 1e-12, "{}", loss.value);
        assert!((loss.diagnostics.ratio_max - 2f64.exp()).abs() < 1e-6);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { entropy_bonus: -1.0, ..Config::default() };
        let problem = wrong.problem().unwrap();
        assert!(problem.starts_with("`policy_gradient.entropy_bonus`"), "{problem}");
    }
}
