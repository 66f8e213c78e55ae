//! One trained token and the penalty for leaving the reference, which every policy-gradient
//! objective may add.
//!
//! Of the estimators in the loss only k2 has the gradient of the KL in expectation: k1's is 0 and
//! k3 has a fixed point of its own (DECISIONS 18).

use serde::{Deserialize, Serialize};

use super::{Batch, Diagnostics, Loss};

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

/// What stands beside a surrogate: KL, entropy, and where log-ratios are cut.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Companions {
    pub(super) kl: Kl,
    pub(super) entropy_bonus: f64,
    pub(super) log_ratio_max: f64,
}

impl Companions {
    /// Ranges of the three, for `problem`.
    pub(super) fn ranges(&self) -> [Range; 3] {
        [
            ("kl.coefficient", self.kl.coefficient, 0.0, 100.0),
            ("entropy_bonus", self.entropy_bonus, 0.0, 100.0),
            ("log_ratio_max", self.log_ratio_max, f64::MIN_POSITIVE, 80.0),
        ]
    }

    /// Panics where a column is missing that these or any surrogate reads.
    pub(super) fn check(&self, batch: &Batch<'_>) {
        assert_eq!(batch.weight.len(), batch.len(), "weights of a batch against its log-probs");
        batch.assert_column("behaviour", batch.behaviour);
        batch.assert_column("credit", batch.credit);
        assert!(self.kl.coefficient == 0.0 || batch.reference.is_some(), "no reference for the KL");
        if let Some(reference) = batch.reference {
            batch.assert_column("reference", reference);
        }
        if self.entropy_bonus != 0.0 || !batch.entropy.is_empty() {
            batch.assert_column("entropy", batch.entropy);
        }
    }

    /// Puts a row into the loss, with the value and the slope of its surrogate.
    pub(super) fn add(
        &self,
        batch: &Batch<'_>,
        i: usize,
        token: &Token,
        surrogate: (f64, f64),
        loss: &mut Loss,
    ) {
        let (kl, d_kl) = token.kl(self, &mut loss.diagnostics);
        let entropy = batch.entropy.get(i).map_or(0.0, |h| f64::from(*h));
        loss.diagnostics.entropy_sum += entropy;
        let beta = self.kl.coefficient;
        loss.value += batch.weight[i] * (surrogate.0 + beta * kl - self.entropy_bonus * entropy);
        loss.d_logprob[i] = (batch.weight[i] * (surrogate.1 + beta * d_kl)) as f32;
        loss.d_entropy[i] = (-batch.weight[i] * self.entropy_bonus) as f32;
    }
}

/// A setting's name, its value, and the two ends of its range.
pub(super) type Range = (&'static str, f64, f64, f64);

/// What a recipe must not hold: the first number outside its range.
pub(super) fn outside(kind: &str, ranges: &[Range]) -> Option<String> {
    let wrong = ranges.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value));
    wrong.map(|(name, value, low, high)| {
        format!("`{kind}.{name}` must be from {low} to {high}, got: {value}")
    })
}

/// A loss that looks at one token at a time: `surrogate` gives the value and the slope of row i.
pub(super) fn by_token(
    batch: &Batch<'_>,
    with: &Companions,
    surrogate: impl Fn(usize, &Token, &mut Diagnostics) -> (f64, f64),
) -> Loss {
    with.check(batch);
    let mut loss = Loss::zero(batch.len());
    for i in (0..batch.len()).filter(|&i| batch.weight[i] != 0.0) {
        let token = Token::read(batch, i);
        let term = surrogate(i, &token, &mut loss.diagnostics);
        with.add(batch, i, &token, term, &mut loss);
    }
    loss
}

/// One trained token, in f64.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) logprob: f64,
    behaviour: f64,
    reference: Option<f64>,
    pub(super) credit: f64,
}

impl Token {
    /// Row i of a batch, every number of it finite.
    pub(super) fn read(batch: &Batch<'_>, i: usize) -> Token {
        let token = Token {
            logprob: f64::from(batch.logprob[i]),
            behaviour: f64::from(batch.behaviour[i]),
            reference: batch.reference.map(|column| f64::from(column[i])),
            credit: f64::from(batch.credit[i]),
        };
        let numbers =
            [token.logprob, token.behaviour, token.reference.unwrap_or(0.0), token.credit];
        assert!(numbers.iter().all(|x| x.is_finite()), "row {i} is not finite: {token:?}");
        token
    }

    /// log π − log π_behaviour.
    pub(super) fn drift(&self) -> f64 {
        self.logprob - self.behaviour
    }

    /// The ratio, cut at the limit, and the slope of its logarithm; counted.
    pub(super) fn ratio(&self, limit: f64, seen: &mut Diagnostics) -> (f64, f64) {
        let drift = if stepwell_mutant::planted(7) { 0.0 } else { self.drift() };
        let (log_ratio, slope) = clamp(drift, limit);
        let ratio = log_ratio.exp();
        seen.tokens += 1;
        seen.ratio_sum += ratio;
        seen.ratio_max = seen.ratio_max.max(ratio);
        seen.drift_sum += self.drift().abs();
        (ratio, slope)
    }

    /// Value and derivative of the chosen estimator; (0, 0) without a reference.
    fn kl(&self, with: &Companions, seen: &mut Diagnostics) -> (f64, f64) {
        let Some(reference) = self.reference else { return (0.0, 0.0) };
        let d = reference - self.logprob;
        let (d, slope) =
            clamp(if stepwell_mutant::planted(29) { -d } else { d }, with.log_ratio_max);
        let k3 = d.exp_m1() - d;
        seen.reference_tokens += 1;
        seen.kl_k1_sum += -d;
        seen.kl_k2_sum += 0.5 * d * d;
        seen.kl_k3_sum += k3;
        match with.kl.estimator {
            Estimator::K1 => (-d, slope),
            Estimator::K2 => (0.5 * d * d, -d * slope),
            Estimator::K3 => (k3, -d.exp_m1() * slope),
        }
    }
}

/// What a bound did to the gradient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    /// Nothing: it does not bind.
    Free,
    /// The lower one removed it.
    Low,
    /// The upper one removed it.
    High,
}

/// max(−A·ρ, −A·clip(ρ, 1−low, 1+high)): its value, its derivative per log ρ, and which bound
/// holds. On a bound the ratio still moves: only past it is the gradient 0.
pub(super) fn clipped(credit: f64, ratio: f64, low: f64, high: f64) -> (f64, f64, Bound) {
    let (low, high) = if stepwell_mutant::planted(6) { (high, low) } else { (low, high) };
    if credit > 0.0 && ratio > 1.0 + high {
        (-credit * (1.0 + high), 0.0, Bound::High)
    } else if credit < 0.0 && ratio < 1.0 - low {
        (-credit * (1.0 - low), 0.0, Bound::Low)
    } else {
        (-credit * ratio, -credit * ratio, Bound::Free)
    }
}

/// The number within ±limit, and the slope there: 1 inside, 0 where it was cut.
pub(super) fn clamp(x: f64, limit: f64) -> (f64, f64) {
    let inside = (-limit..=limit).contains(&x);
    (x.clamp(-limit, limit), if inside { 1.0 } else { 0.0 })
}
