//! # Geometric-mean policy optimisation (GMPO)
//!
//! Paper: Zhao et al., arXiv 2507.20673; the released code agrees.
//! Idea: The geometric mean of a sequence's ratios moves little where one token's ratio is an
//! outlier; with it the clip can be wide, so that tokens are free to explore.
//! Formula: L = Σᵢ wᵢ·[−A·exp(mean over the sequence of c(log π − log π_behaviour)) + β·KLₖ − η·H];
//! c(d) = min(d, ε) where A > 0, max(d, −ε) where A < 0, 0 where A = 0
//! Reads: log-probabilities now and at sampling, credit, sequences; entropy if η > 0; reference if
//! β > 0.
//! Differs: on a branched tree a sequence is a path, or a step (`sequence`), as in `gspo`. The
//! paper has one credit per answer; where credit differs within a sequence each token is clipped
//! by the sign of its own and, with `level = "token"`, moved by its own.
//! Degenerate: one token per sequence is `clipped` with bounds e^±ε; on the policy that sampled the
//! gradient is −A; a clipped token has no gradient and the others of its sequence keep theirs.
//! Control: `gspo`, which clips the sequence and not its tokens.

use serde::{Deserialize, Serialize};

use super::kl::{Bound, Companions, Kl, outside};
use super::sequence::{Level, Rule, Unit, by_sequence};
use super::{Aggregation, Batch, Loss};

/// The surrogate over geometric means of clipped ratios.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ε downwards: how far a log-ratio is pushed down, in nats; 0 to 80. Default 0.4, the paper's.
    pub clip_low: f64,
    /// ε upwards: how far a log-ratio is pushed up, in nats; 0 to 80. Default 0.4, the paper's.
    pub clip_high: f64,
    /// Which tokens share a ratio: `path`, an attempt (default, the paper's), or `step`.
    pub sequence: Unit,
    /// How the gradient reaches a token: `token`, by its own credit (default, ours), or `sequence`,
    /// by the mean over its sequence.
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
            clip_low: 0.4,
            clip_high: 0.4,
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
            [("clip_low", self.clip_low, 0.0, 80.0), ("clip_high", self.clip_high, 0.0, 80.0)];
        let all = [&clips[..], &self.companions().ranges()].concat();
        outside("gmpo", &all).or_else(|| self.aggregation.problem())
    }
}

/// The surrogate's loss over a batch, and its gradient per log-probability and entropy.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let rule = Rule {
        level: config.level,
        log_ratio: |credit: f64, drift: f64| clip(credit, drift, config),
        surrogate: |credit: f64, ratio: f64| (-credit * ratio, -credit * ratio, Bound::Free),
    };
    by_sequence(batch, &config.companions(), &rule)
}

/// c(d), its slope, and the bound that holds.
fn clip(credit: f64, drift: f64, config: &Config) -> (f64, f64, Bound) {
    if credit == 0.0 {
        (0.0, 0.0, Bound::Free)
    } else if credit > 0.0 && drift > config.clip_high {
        (config.clip_high, 0.0, Bound::High)
    } else if credit < 0.0 && drift < -config.clip_low {
        (-config.clip_low, 0.0, Bound::Low)
    } else {
        (drift, 1.0, Bound::Free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::sequence::Part;

    #[test]
    fn a_worked_batch() {
        // Credit 1: log-ratios 1 (held at 0.4) and -0.6: mean -0.1, ratio 0.904837.
        // Credit -2: log-ratios 1 and -0.6 (held at -0.4): mean 0.3, ratio 1.349859.
        let (logprob, behaviour) = ([0.0f32, -1.6, 0.0, -1.6], [-1.0f32; 4]);
        let part = |of, share| Part { of, share };
        let batch = Batch {
            logprob: &logprob,
            behaviour: &behaviour,
            credit: &[1.0, 1.0, -2.0, -2.0],
            weight: &[0.25; 4],
            sequence: &[vec![part(0..2, 1.0)], vec![part(2..4, 1.0)]],
            ..Batch::default()
        };
        let loss = objective(&batch, &Config::default());
        let expected = 0.5 * (-0.904837 + 2.0 * 1.349859);
        assert!((loss.value - expected).abs() < 1e-6, "{} {expected}", loss.value);
        let gradient = [0.0, -0.25 * 0.904837, 0.5 * 1.349859, 0.0];
        for (got, expected) in loss.d_logprob.iter().zip(gradient) {
            assert!((f64::from(*got) - expected).abs() < 1e-6, "{:?}", loss.d_logprob);
        }
        assert_eq!((loss.diagnostics.clipped_high, loss.diagnostics.clipped_low), (1, 1));
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { clip_high: -0.1, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`gmpo.clip_high`")));
    }
}
