//! # Clipped surrogate (PPO, GRPO)
//!
//! Paper: Schulman et al., arXiv 1707.06347, equation 7; two bounds: DAPO, arXiv 2503.14476; dual
//! clip: arXiv 1912.09729; KL in the loss: GRPO, arXiv 2402.03300, equation 3.
//! Idea: Follow the policy gradient until a token's probability has moved as far as its bound in
//! the direction its credit asks for; then stop pushing it.
//! Formula: L = Σᵢ wᵢ·[max(−A·ρ, −A·clip(ρ, 1−ε₁, 1+ε₂)) + β·KLₖ − η·H]; ρ = π/π_behaviour;
//! A < 0 with dual clip c: min(that, −c·A);
//! d = log π_ref − log π: k1 = −d, k2 = d²/2, k3 = eᵈ − d − 1
//! Reads: log-probabilities now and at sampling, credit; entropy if η > 0; reference if β > 0.
//! Differs: tokens are weighted by [`super::token_weights`] and not by a mean over a batch. KL's
//! default coefficient is 0 (ours: papers print 0 to 0.04, and ReEx-SQL's is not known). Log-ratios
//! are clamped to ±20 before the exponential, as verl does, and have no gradient beyond.
//! Degenerate: credit 0 leaves KL and entropy; on the policy that sampled, ρ is 1 and the gradient
//! is −A, the unclipped policy gradient; weight 0 is not read and gets gradient 0.
//! Control: `clip_low` and `clip_high` too wide to bind.

use serde::{Deserialize, Serialize};

use super::kl::{Bound, Companions, Token, by_token, clipped, outside};
use super::{Aggregation, Batch, Diagnostics, Loss};

pub use super::kl::{Estimator, Kl};

/// The clipped surrogate with its usual companions.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ε₁: how far below 1 a ratio is pushed down; 0 to 1. Default 0.2, PPO's.
    pub clip_low: f64,
    /// ε₂: how far above 1 a ratio is pushed up; 0 to 1e6. Default 0.2, PPO's; DAPO has 0.28.
    pub clip_high: f64,
    /// c: where credit is negative, a ratio beyond c is pushed no more; above 1 and at most 1e6.
    /// Default none; verl has 3.
    pub dual_clip: Option<f64>,
    /// The penalty for leaving the reference.
    pub kl: Kl,
    /// η: what a nat of entropy is worth, in units of credit; 0 to 100. Default 0; tiny models
    /// with shaped rewards want 0.01 (ours).
    pub entropy_bonus: f64,
    /// Log-ratios beyond this count as this, in nats; above 0, at most 80. Default 20, verl's.
    pub log_ratio_max: f64,
    /// From tokens to the update. Default `token_mean`, verl's and DAPO's.
    pub aggregation: Aggregation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            clip_low: 0.2,
            clip_high: 0.2,
            dual_clip: None,
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
        let open_at_1 = 1.0 + f64::EPSILON;
        let ranges = [
            ("clip_low", self.clip_low, 0.0, 1.0),
            ("clip_high", self.clip_high, 0.0, 1e6),
            ("dual_clip", self.dual_clip.unwrap_or(3.0), open_at_1, 1e6),
        ];
        let all = [ranges, self.companions().ranges()].concat();
        outside("clipped", &all).or_else(|| self.aggregation.problem())
    }
}

/// The surrogate's loss over a batch, and its gradient per log-probability and entropy.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    by_token(batch, &config.companions(), |_, token, seen| surrogate(token, config, seen))
}

/// Value and derivative of the clipped term.
fn surrogate(token: &Token, config: &Config, seen: &mut Diagnostics) -> (f64, f64) {
    let (ratio, slope) = token.ratio(config.log_ratio_max, seen);
    let credit = token.credit;
    let (value, derivative, bound) = clipped(credit, ratio, config.clip_low, config.clip_high);
    seen.count(bound);
    if let Some(dual) = config.dual_clip
        && bound == Bound::Free
        && credit < 0.0
        && ratio > dual
    {
        seen.clipped_dual += 1;
        return (-credit * dual, 0.0);
    }
    (value, derivative * slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_batch() {
        // Ratios 1, 1.5, 0.5 twice; the first bound that binds is named beside its credit.
        let behaviour = [-1.0f32; 4];
        let logprob = [-1.0, -1.0 + 1.5f32.ln(), -1.0 + 0.5f32.ln(), -1.0 + 0.5f32.ln()];
        let batch = Batch {
            logprob: &logprob,
            behaviour: &behaviour,
            credit: &[2.0, 1.0 /* high */, -1.0 /* low */, 1.0],
            weight: &[0.5, 0.25, 0.25, 0.25],
            ..Batch::default()
        };
        let loss = objective(&batch, &Config::default());
        // 0.5·(−2) + 0.25·(−1.2) + 0.25·0.8 + 0.25·(−0.5)
        assert!((loss.value + 1.225).abs() < 1e-7, "{}", loss.value);
        assert_eq!(loss.d_logprob[..3], [-1.0, 0.0, 0.0]);
        assert!((loss.d_logprob[3] + 0.125).abs() < 1e-7);
        assert_eq!((loss.diagnostics.clipped_low, loss.diagnostics.clipped_high), (1, 1));
        assert!((loss.diagnostics.ratio_max - 1.5).abs() < 1e-6);
    }

    #[test]
    fn each_side_has_its_own_bound() {
        // Ratios 1.25 and 0.75 lie between 1 - 0.3 and 1 + 0.2 or outside, by their side.
        let logprob = [-1.0 + 1.25f32.ln(), -1.0 + 0.75f32.ln()];
        let batch = Batch {
            logprob: &logprob,
            behaviour: &[-1.0; 2],
            credit: &[1.0, -1.0],
            weight: &[1.0, 1.0],
            ..Batch::default()
        };
        let of = |clip_low, clip_high| {
            objective(&batch, &Config { clip_low, clip_high, ..Config::default() }).diagnostics
        };
        let counts = |seen: Diagnostics| (seen.clipped_low, seen.clipped_high);
        assert_eq!(counts(of(0.3, 0.2)), (0, 1));
        assert_eq!(counts(of(0.2, 0.3)), (1, 0));
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        let bad = |config: Config, name: &str| {
            assert!(config.problem().is_some_and(|p| p.contains(name)), "{name}");
        };
        assert_eq!(Config::default().problem(), None);
        bad(Config { clip_low: 1.5, ..Config::default() }, "clip_low");
        bad(Config { clip_high: f64::NAN, ..Config::default() }, "clip_high");
        bad(Config { dual_clip: Some(1.0), ..Config::default() }, "dual_clip");
        bad(Config { log_ratio_max: 0.0, ..Config::default() }, "log_ratio_max");
    }
}
