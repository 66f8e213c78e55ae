//! # Unclipped surrogate (TRPO's)
//!
//! Paper: TRPO, Schulman et al., arXiv 1502.05477, equation 14; CPI, Kakade and Langford 2002.
//! Idea: What a policy near the one that sampled can expect, as far as its samples tell: each
//! credit by how much likelier its token has become.
//! Formula: L = Σᵢ wᵢ·[−A·ρ + β·KLₖ − η·H]; ρ = π/π_behaviour
//! Reads: log-probabilities now and at sampling, credit; entropy if η > 0; reference if β > 0.
//! Differs: the paper holds the mean KL to the sampling policy below a bound, which is the
//! optimizer's business; with another optimizer nothing bounds a ratio but a small step. Log-ratios
//! are clamped to ±20 before the exponential, as verl does, and have no gradient beyond.
//! Degenerate: on the policy that sampled, ρ is 1 and the gradient is −A; weight 0 is not read and
//! gets gradient 0; credit 0 leaves KL and entropy.
//! Control: `clipped`, which bounds each ratio.

use serde::{Deserialize, Serialize};

use super::kl::{Companions, Kl, Token, by_token, outside};
use super::{Aggregation, Batch, Diagnostics, Loss};

/// The surrogate with its usual companions.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The penalty for leaving the reference.
    pub kl: Kl,
    /// η: what a nat of entropy is worth, in units of credit; 0 to 100. Default 0, TRPO's.
    pub entropy_bonus: f64,
    /// Log-ratios beyond this count as this, in nats; above 0, at most 80. Default 20, verl's.
    pub log_ratio_max: f64,
    /// From tokens to the update. Default `token_mean`, ours.
    pub aggregation: Aggregation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            kl: Kl::default(),
            entropy_bonus: 0.0,
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
        outside("surrogate", &self.companions().ranges()).or_else(|| self.aggregation.problem())
    }
}

/// The surrogate's loss over a batch, and its gradient per log-probability and entropy.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    by_token(batch, &config.companions(), |_, token, seen| weighed(token, config, seen))
}

fn weighed(token: &Token, config: &Config, seen: &mut Diagnostics) -> (f64, f64) {
    let (ratio, slope) = token.ratio(config.log_ratio_max, seen);
    let value = -token.credit * ratio;
    (value, value * slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_batch() {
        // Ratios 1, 4 and 1/4: nothing is clipped.
        let batch = Batch {
            logprob: &[-1.0, -1.0 + 4f32.ln(), -1.0 - 4f32.ln()],
            behaviour: &[-1.0; 3],
            credit: &[2.0, 1.0, -1.0],
            weight: &[0.5, 0.25, 0.25],
            ..Batch::default()
        };
        let loss = objective(&batch, &Config::default());
        for (got, expected) in loss.d_logprob.iter().zip([-1.0, -1.0, 0.0625]) {
            assert!((got - expected).abs() < 1e-6, "{:?}", loss.d_logprob);
        }
        assert!((loss.value + 1.9375).abs() < 1e-6, "{}", loss.value);
        let seen = loss.diagnostics;
        assert_eq!((seen.clipped_low, seen.clipped_high), (0, 0));
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { log_ratio_max: 0.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`surrogate.log_ratio_max`")));
    }
}
