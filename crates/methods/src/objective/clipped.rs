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
//!
//! Of the estimators in the loss only k2 has the gradient of the KL in expectation: k1's is 0 and
//! k3 has a fixed point of its own (DECISIONS 18).

use serde::{Deserialize, Serialize};

use super::{Aggregation, Batch, Diagnostics, Loss};

/// Estimator of KL(π ‖ π_reference) at one sampled token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// log π − log π_ref: unbiased value, no gradient in expectation.
    K1,
    /// ½ (log π − log π_ref)²: biased value, the KL's gradient in expectation.
    K2,
    /// eᵈ − d − 1 ≥ 0: unbiased value, a gradient of its own. GRPO's.
    #[default]
    K3,
}

/// The penalty for leaving the reference.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kl {
    /// Which estimator. Default k3, GRPO's.
    pub estimator: Estimator,
    /// β, in units of credit per nat; 0 to 100. Default 0, ours: no reference is needed.
    pub coefficient: f64,
}

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
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let open_at_1 = 1.0 + f64::EPSILON;
        let ranges = [
            ("clip_low", self.clip_low, 0.0, 1.0),
            ("clip_high", self.clip_high, 0.0, 1e6),
            ("dual_clip", self.dual_clip.unwrap_or(3.0), open_at_1, 1e6),
            ("kl.coefficient", self.kl.coefficient, 0.0, 100.0),
            ("entropy_bonus", self.entropy_bonus, 0.0, 100.0),
            ("log_ratio_max", self.log_ratio_max, f64::MIN_POSITIVE, 80.0),
        ];
        let outside = |(_, value, low, high): &&(_, f64, f64, f64)| !(*low..=*high).contains(value);
        let wrong = ranges.iter().find(outside).map(|(name, value, low, high)| {
            format!("`clipped.{name}` must be from {low} to {high}, got: {value}")
        });
        wrong.or_else(|| self.aggregation.problem())
    }
}

/// The surrogate's loss over a batch, and its gradient per log-probability and entropy.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    assert_eq!(batch.weight.len(), batch.len(), "weights of a batch against its log-probs");
    batch.assert_column("behaviour", batch.behaviour);
    batch.assert_column("credit", batch.credit);
    assert!(config.kl.coefficient == 0.0 || batch.reference.is_some(), "no reference for the KL");
    if let Some(reference) = batch.reference {
        batch.assert_column("reference", reference);
    }
    if config.entropy_bonus != 0.0 || !batch.entropy.is_empty() {
        batch.assert_column("entropy", batch.entropy);
    }
    let mut loss = Loss::zero(batch.len());
    for i in (0..batch.len()).filter(|&i| batch.weight[i] != 0.0) {
        let token = Token {
            logprob: f64::from(batch.logprob[i]),
            behaviour: f64::from(batch.behaviour[i]),
            reference: batch.reference.map(|column| f64::from(column[i])),
            credit: f64::from(batch.credit[i]),
        };
        assert!(token.is_finite(), "row {i} is not finite: {token:?}");
        let (surrogate, d_surrogate) = token.surrogate(config, &mut loss.diagnostics);
        let (kl, d_kl) = token.kl(config, &mut loss.diagnostics);
        let entropy = batch.entropy.get(i).map_or(0.0, |h| f64::from(*h));
        loss.diagnostics.entropy_sum += entropy;
        let beta = config.kl.coefficient;
        loss.value += batch.weight[i] * (surrogate + beta * kl - config.entropy_bonus * entropy);
        loss.d_logprob[i] = (batch.weight[i] * (d_surrogate + beta * d_kl)) as f32;
        loss.d_entropy[i] = (-batch.weight[i] * config.entropy_bonus) as f32;
    }
    loss
}

/// One trained token, in f64.
#[derive(Clone, Copy, Debug)]
struct Token {
    logprob: f64,
    behaviour: f64,
    reference: Option<f64>,
    credit: f64,
}

impl Token {
    fn is_finite(&self) -> bool {
        let numbers = [self.logprob, self.behaviour, self.reference.unwrap_or(0.0), self.credit];
        numbers.iter().all(|x| x.is_finite())
    }

    /// Value and derivative of the clipped term.
    fn surrogate(&self, config: &Config, seen: &mut Diagnostics) -> (f64, f64) {
        let (log_ratio, slope) = clamp(self.logprob - self.behaviour, config.log_ratio_max);
        let ratio = log_ratio.exp();
        let credit = self.credit;
        seen.tokens += 1;
        seen.ratio_sum += ratio;
        seen.ratio_max = seen.ratio_max.max(ratio);
        seen.drift_sum += (self.logprob - self.behaviour).abs();
        // On a bound the token still moves: only past it is the gradient 0.
        if credit > 0.0 && ratio > 1.0 + config.clip_high {
            seen.clipped_high += 1;
            return (-credit * (1.0 + config.clip_high), 0.0);
        }
        if credit < 0.0 && ratio < 1.0 - config.clip_low {
            seen.clipped_low += 1;
            return (-credit * (1.0 - config.clip_low), 0.0);
        }
        if let Some(dual) = config.dual_clip
            && credit < 0.0
            && ratio > dual
        {
            seen.clipped_dual += 1;
            return (-credit * dual, 0.0);
        }
        (-credit * ratio, -credit * ratio * slope)
    }

    /// Value and derivative of the chosen estimator; (0, 0) without a reference.
    fn kl(&self, config: &Config, seen: &mut Diagnostics) -> (f64, f64) {
        let Some(reference) = self.reference else { return (0.0, 0.0) };
        let (d, slope) = clamp(reference - self.logprob, config.log_ratio_max);
        let k3 = d.exp_m1() - d;
        seen.reference_tokens += 1;
        seen.kl_k1_sum += -d;
        seen.kl_k2_sum += 0.5 * d * d;
        seen.kl_k3_sum += k3;
        match config.kl.estimator {
            Estimator::K1 => (-d, slope),
            Estimator::K2 => (0.5 * d * d, -d * slope),
            Estimator::K3 => (k3, -d.exp_m1() * slope),
        }
    }
}

/// The number within ±limit, and the slope there: 1 inside, 0 where it was cut.
fn clamp(x: f64, limit: f64) -> (f64, f64) {
    let inside = (-limit..=limit).contains(&x);
    (x.clamp(-limit, limit), if inside { 1.0 } else { 0.0 })
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
