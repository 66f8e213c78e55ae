//! # Regression of the implicit reward on the score (UNA)
//!
//! Paper: UNA, arXiv 2408.15339, as the survey states it, arXiv 2507.04136: E ℓ(β log π/π_ref, z).
//! Idea: A policy's log-ratio to the reference, times β, is a reward; make it agree with the score
//! of the attempt, instead of following a gradient of the score.
//! Formula: uₛ = β·Σ over tokens of s of (log π − log π_ref); L = Σₛ ωₛ·ℓ(uₛ, zₛ); `mse`
//! ℓ = (u − z)²; `bce` ℓ = −z·log σ(u) − (1 − z)·log(1 − σ(u)); z the score of attempt s
//! Reads: log-probabilities now and under the reference, credit: that of an attempt's last step is
//! its score, so that the credit must be the reward itself (`reinforce` without a baseline).
//! Differs: an attempt is a path of a tree; a step shared by several paths has a part in each, by
//! its share (DECISIONS 6). UNA leaves β·log Z(x) out: where attempts are drawn from the policy
//! itself that is a baseline and moves nothing in expectation, and `mse` reaches
//! π* ∝ π_ref·exp(z/β); on attempts of another policy it does not. The logistic margin on pairs is
//! `dpo` of a preference stage.
//! Degenerate: at the reference u is 0; a score equal to u has no gradient; where π_ref of an
//! attempt is about 0 the log-ratio of a token counts up to `log_ratio_max` and has no gradient
//! beyond.
//! Control: `clipped` with the same β as a `k2` penalty, which has the same fixed point as `mse`.

use serde::{Deserialize, Serialize};

use super::kl::{Companions, Kl, Token, clamp, outside};
use super::{Aggregation, Batch, Loss};
use crate::preference::{sigmoid, softplus};

/// How far the implicit reward may be from the score.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// The square: scores are numbers.
    #[default]
    Mse,
    /// Binary cross-entropy: scores are chances of success, from 0 to 1.
    Bce,
}

/// The regression.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// β: what a nat of log-ratio is worth, in units of score; above 0, at most 100. Default 0.1,
    /// ours: DPO's.
    pub beta: f64,
    /// `mse` (default) or `bce`.
    pub distance: Distance,
    /// Log-ratios of a token beyond this count as this, in nats; above 0, at most 80. Default 20.
    pub log_ratio_max: f64,
    /// From attempts to the update. Default `sequence_mean_token_mean`: every attempt weighs the
    /// same.
    pub aggregation: Aggregation,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            beta: 0.1,
            distance: Distance::default(),
            log_ratio_max: 20.0,
            aggregation: Aggregation::SequenceMeanTokenMean,
        }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let ranges = [
            ("beta", self.beta, f64::MIN_POSITIVE, 100.0),
            ("log_ratio_max", self.log_ratio_max, f64::MIN_POSITIVE, 80.0),
        ];
        outside("una", &ranges).or_else(|| self.aggregation.problem())
    }
}

/// The regression's loss over a batch, and its gradient per log-probability.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let with =
        Companions { kl: Kl::default(), entropy_bonus: 0.0, log_ratio_max: config.log_ratio_max };
    with.check(batch);
    assert!(batch.reference.is_some(), "no reference for the log-ratio");
    let mut loss = Loss::zero(batch.len());
    let mut slope = vec![0.0; batch.len()];
    for sequence in batch.sequence {
        let rows = sequence.iter().flat_map(|part| part.of.clone().map(|i| (i, part.share)));
        let rows: Vec<(usize, f64)> = rows.filter(|(i, _)| batch.weight[*i] != 0.0).collect();
        let Some((last, _)) = rows.last() else { continue };
        let score = f64::from(batch.credit[*last]);
        let weight: f64 = rows.iter().map(|(i, share)| batch.weight[*i] * share).sum();
        let ratio = |i: usize| log_ratio(batch, i, config);
        let implicit = config.beta * rows.iter().map(|(i, _)| ratio(*i).0).sum::<f64>();
        let (value, derivative) = distance(implicit, score, config.distance);
        loss.value += weight * value;
        for (i, _) in &rows {
            slope[*i] += weight * derivative * config.beta * ratio(*i).1;
        }
    }
    for i in (0..batch.len()).filter(|i| batch.weight[*i] != 0.0) {
        let token = Token::read(batch, i);
        token.ratio(config.log_ratio_max, &mut loss.diagnostics);
        with.add(batch, i, &token, (0.0, 0.0), &mut loss);
        loss.d_logprob[i] = slope[i] as f32;
    }
    loss
}

/// log π − log π_ref of a token within its limit, and the slope there.
fn log_ratio(batch: &Batch<'_>, i: usize, config: &Config) -> (f64, f64) {
    let reference = batch.reference.map_or(0.0, |column| f64::from(column[i]));
    clamp(f64::from(batch.logprob[i]) - reference, config.log_ratio_max)
}

/// The loss of one attempt and its derivative by the implicit reward.
fn distance(implicit: f64, score: f64, distance: Distance) -> (f64, f64) {
    match distance {
        Distance::Mse => ((implicit - score).powi(2), 2.0 * (implicit - score)),
        // −z·log σ(u) − (1 − z)·log σ(−u) = softplus(u) − z·u
        Distance::Bce => {
            assert!((0.0..=1.0).contains(&score), "a chance is from 0 to 1, got: {score}");
            (softplus(implicit) - score * implicit, sigmoid(implicit) - score)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::sequence::Part;

    #[test]
    fn a_worked_batch() {
        // Two attempts share the first token: with Δ 0.5 + 0.25 and 0.5 − 1; β = 2 gives u = 1.5
        // and −1, scores 1 and 0.
        let (logprob, reference) = ([-1.0f32, -1.25, -2.0], [-1.5f32, -1.5, -1.0]);
        let part = |of, share| Part { of, share };
        let batch = Batch {
            logprob: &logprob,
            behaviour: &logprob,
            reference: Some(&reference),
            credit: &[0.5, 1.0, 0.0],
            weight: &[0.5, 0.25, 0.25],
            sequence: &[
                vec![part(0..1, 0.5), part(1..2, 1.0)],
                vec![part(0..1, 0.5), part(2..3, 1.0)],
            ],
            ..Batch::default()
        };
        // Each attempt weighs 0.25 + 0.25 = 0.5.
        let mse = objective(&batch, &Config { beta: 2.0, ..Config::default() });
        assert!((mse.value - 0.5 * (0.25 + 1.0)).abs() < 1e-12, "{}", mse.value);
        // 2·ω·(u − z)·β: 1 and −2; the shared token has both.
        let expected = [-1.0, 1.0, -2.0];
        assert!(mse.d_logprob.iter().zip(expected).all(|(d, e)| (f64::from(*d) - e).abs() < 1e-6));
        let config = Config { beta: 2.0, distance: Distance::Bce, ..Config::default() };
        let bce = objective(&batch, &config);
        // −log σ(1.5) = 0.2014133, −log σ(1) = 0.3132617
        assert!((bce.value - 0.5 * (0.201_413_3 + 0.313_261_7)).abs() < 1e-7, "{}", bce.value);
        // β·ω·(σ(u) − z): σ(1.5) − 1 = −0.1824255, σ(−1) = 0.2689414
        assert!((f64::from(bce.d_logprob[1]) + 0.182_425_5).abs() < 1e-6);
        assert!((f64::from(bce.d_logprob[2]) - 0.268_941_4).abs() < 1e-6);
        assert!((f64::from(bce.d_logprob[0]) - (0.268_941_4 - 0.182_425_5)).abs() < 1e-6);
        assert_eq!(bce.diagnostics.reference_tokens, 3);
    }

    #[test]
    fn at_the_limit_of_a_token_there_is_no_gradient() {
        let batch = Batch {
            logprob: &[-1.0],
            behaviour: &[-1.0],
            reference: Some(&[-90.0]),
            credit: &[0.0],
            weight: &[1.0],
            sequence: &[vec![Part { of: 0..1, share: 1.0 }]],
            ..Batch::default()
        };
        let loss = objective(&batch, &Config { beta: 1.0, ..Config::default() });
        assert_eq!((loss.value, loss.d_logprob[0]), (400.0, 0.0));
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { beta: 0.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`una.beta`")));
    }
}
