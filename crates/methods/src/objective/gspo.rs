//! # Group sequence policy optimisation (GSPO)
//!
//! Paper: Zheng et al., arXiv 2507.18071; its token variant is there too.
//! Idea: Reward is given to whole answers, so the ratio that corrects for old samples, and its
//! clip, belong to whole answers too; a token's own ratio is noise that adds up with length.
//! Formula: s = exp(mean over the sequence of log π − log π_behaviour);
//! L = Σᵢ wᵢ·[max(−A·s, −A·clip(s, 1−ε₁, 1+ε₂)) + β·KLₖ − η·H]
//! Reads: log-probabilities now and at sampling, credit, sequences; entropy if η > 0; reference if
//! β > 0.
//! Differs: on a branched tree a sequence is a path, or a step (`sequence`); a shared step stands
//! in several, each with its own ratio. `level = "token"`, the default, is the paper's own variant
//! for credit that differs within a sequence, as credit per step does, and the same where it does
//! not. KL and entropy are as in `clipped`.
//! Degenerate: one token per sequence is `clipped`; on the policy that sampled, s is 1 and the
//! gradient is −A; a sequence beyond its bound gives no token a gradient.
//! Control: `clipped` with a clip as rarely reached.

use serde::{Deserialize, Serialize};

use super::kl::{Bound, Companions, Kl, clipped, outside};
use super::sequence::{Level, Rule, Unit, by_sequence};
use super::{Aggregation, Batch, Loss};

/// The clipped surrogate over ratios of sequences.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ε₁: how far below 1 a ratio is pushed down; 0 to 1. Default 3e-4, the paper's.
    pub clip_low: f64,
    /// ε₂: how far above 1 a ratio is pushed up; 0 to 1e6. Default 4e-4, the paper's.
    pub clip_high: f64,
    /// Which tokens share a ratio: `path`, an attempt (default, the paper's), or `step`.
    pub sequence: Unit,
    /// How the gradient reaches a token: `token`, by its own credit (default, ours: credit differs
    /// from step to step here), or `sequence`, by the mean over its sequence.
    pub level: Level,
    /// The penalty for leaving the reference.
    pub kl: Kl,
    /// η: what a nat of entropy is worth, in units of credit; 0 to 100. Default 0.
    pub entropy_bonus: f64,
    /// Mean log-ratios beyond this count as this, in nats; above 0, at most 80. Default 20, ours.
    pub log_ratio_max: f64,
    /// From tokens to the update. Default `sequence_mean_token_mean`, the paper's: every sequence
    /// weighs the same.
    pub aggregation: Aggregation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            clip_low: 3e-4,
            clip_high: 4e-4,
            sequence: Unit::default(),
            level: Level::default(),
            kl: Kl::default(),
            entropy_bonus: 0.0,
            log_ratio_max: 20.0,
            aggregation: Aggregation::SequenceMeanTokenMean,
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
        outside("gspo", &all).or_else(|| self.aggregation.problem())
    }
}

/// The surrogate's loss over a batch, and its gradient per log-probability and entropy.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let rule = Rule {
        level: config.level,
        log_ratio: |_, drift| (drift, 1.0, Bound::Free),
        surrogate: |credit, ratio| clipped(credit, ratio, config.clip_low, config.clip_high),
    };
    by_sequence(batch, &config.companions(), &rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::sequence::Part;

    #[test]
    fn a_worked_batch() {
        // Log-ratios 0.3 and -0.1 in the first sequence: s = e^0.1 = 1.105171 beyond 1.1, so
        // credit 2 is held at 2.2; credit -1 in the second, whose ratio is e^-0.05 = 0.951229.
        let (logprob, behaviour) = ([-0.7f32, -1.1, -1.05], [-1.0f32; 3]);
        let part = |of, share| Part { of, share };
        let batch = Batch {
            logprob: &logprob,
            behaviour: &behaviour,
            credit: &[2.0, 2.0, -1.0],
            weight: &[0.25, 0.25, 0.5],
            sequence: &[vec![part(0..2, 1.0)], vec![part(2..3, 1.0)]],
            ..Batch::default()
        };
        let config = Config { clip_low: 0.1, clip_high: 0.1, ..Config::default() };
        let loss = objective(&batch, &config);
        assert!((loss.value - (0.5 * -2.2 + 0.5 * 0.951229)).abs() < 1e-6, "{}", loss.value);
        assert_eq!(loss.d_logprob[..2], [0.0, 0.0]);
        assert!((loss.d_logprob[2] - 0.5 * 0.951229).abs() < 1e-6);
        assert_eq!((loss.diagnostics.clipped_high, loss.diagnostics.clipped_low), (2, 0));
        assert!((loss.diagnostics.ratio_max - 1.105171).abs() < 1e-6);
        // A bound out of reach: -2 s for each token, and so is the gradient.
        let loss = objective(&batch, &Config { clip_high: 0.2, ..config });
        assert!((loss.d_logprob[0] + 0.25 * 2.0 * 1.105171).abs() < 1e-6);
        assert_eq!(loss.d_logprob[0], loss.d_logprob[1]);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { clip_low: 2.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`gspo.clip_low`")));
    }
}
