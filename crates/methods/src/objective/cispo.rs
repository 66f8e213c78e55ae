//! # Clipped importance-sampling weights (CISPO)
//!
//! Paper: MiniMax-M1, arXiv 2506.13585.
//! Idea: A clip that removes gradients silences the rare tokens at which an answer turns. Bound
//! the weight of a token instead, and let every token learn.
//! Formula: L = Σᵢ wᵢ·[−sg(clip(ρ, 1−ε₁, 1+ε₂))·A·log π + β·KLₖ − η·H]; ρ = π/π_behaviour, sg: no
//! gradient
//! Reads: log-probabilities now and at sampling, credit; entropy if η > 0; reference if β > 0.
//! Differs: the paper does not print its upper bound; ε₂ = 4 is ours, a weight of at most 5. The
//! value of the loss is no mean of anything that should fall: read the reward.
//! Degenerate: on the policy that sampled, ρ is 1 and the gradient is −A; beyond a bound the
//! gradient is −A times the bound and never 0.
//! Control: `clipped` with the same bounds, which silences the tokens beyond them.

use serde::{Deserialize, Serialize};

use super::kl::{Bound, Companions, Kl, Token, by_token, outside};
use super::{Aggregation, Batch, Diagnostics, Loss};

/// The policy gradient under bounded weights.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ε₁: how far below 1 a weight may be; 0 to 1. Default 1, the paper's: no lower bound.
    pub clip_low: f64,
    /// ε₂: how far above 1 a weight may be; 0 to 1e6. Default 4, ours.
    pub clip_high: f64,
    /// The penalty for leaving the reference.
    pub kl: Kl,
    /// η: what a nat of entropy is worth, in units of credit; 0 to 100. Default 0.
    pub entropy_bonus: f64,
    /// Log-ratios beyond this count as this, in nats; above 0, at most 80. Default 20, verl's.
    pub log_ratio_max: f64,
    /// From tokens to the update. Default `token_mean`, the paper's.
    pub aggregation: Aggregation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            clip_low: 1.0,
            clip_high: 4.0,
            kl: Kl::default(),
            entropy_bonus: 0.0,
            log_ratio_max: 20.0,
            aggregation: Aggregation::TokenMean,
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
        let clips =
            [("clip_low", self.clip_low, 0.0, 1.0), ("clip_high", self.clip_high, 0.0, 1e6)];
        let all = [&clips[..], &self.companions().ranges()].concat();
        outside("cispo", &all).or_else(|| self.aggregation.problem())
    }
}

/// The weighted policy gradient over a batch, per log-probability and entropy.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    by_token(batch, &config.companions(), |_, token, seen| weighed(token, config, seen))
}

fn weighed(token: &Token, config: &Config, seen: &mut Diagnostics) -> (f64, f64) {
    let (ratio, _) = token.ratio(config.log_ratio_max, seen);
    let (low, high) = (1.0 - config.clip_low, 1.0 + config.clip_high);
    seen.count(match ratio {
        _ if ratio < low => Bound::Low,
        _ if ratio > high => Bound::High,
        _ => Bound::Free,
    });
    let slope = -ratio.clamp(low, high) * token.credit;
    (slope * token.logprob, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_batch() {
        // Ratios 1, 2 (held at 1.5), 0.25 (held at 0.5); log-probs -1, -1 + ln 2, -1 - ln 4.
        let behaviour = [-1.0f32; 3];
        let logprob = [-1.0, -1.0 + 2.0f32.ln(), -1.0 - 4.0f32.ln()];
        let batch = Batch {
            logprob: &logprob,
            behaviour: &behaviour,
            credit: &[2.0, -1.0, 1.0],
            weight: &[0.5, 0.25, 0.25],
            ..Batch::default()
        };
        let config = Config { clip_low: 0.5, clip_high: 0.5, ..Config::default() };
        let loss = objective(&batch, &config);
        let gradient = [-1.0, 0.375, -0.125];
        for (got, expected) in loss.d_logprob.iter().zip(gradient) {
            assert!((f64::from(*got) - expected).abs() < 1e-7, "{:?}", loss.d_logprob);
        }
        // 1 + 0.375·(-0.306853) + (-0.125)·(-2.386294)
        assert!((loss.value - 1.183217).abs() < 1e-6, "{}", loss.value);
        assert_eq!((loss.diagnostics.clipped_low, loss.diagnostics.clipped_high), (1, 1));
        // Unbounded it is the importance-weighted policy gradient.
        let loss = objective(&batch, &Config::default());
        assert!((loss.d_logprob[1] - 0.5).abs() < 1e-6);
        assert!((loss.d_logprob[2] + 0.0625).abs() < 1e-6);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { clip_high: -1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`cispo.clip_high`")));
    }
}
