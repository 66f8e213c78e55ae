//! # Value loss
//!
//! Paper: PPO, arXiv 1707.06347, equation 9 (squared error, coefficient c₁); the clip: OpenAI's
//! baselines and, on tokens, TRL and verl.
//! Idea: A head learns what a state is worth from what the advantage method says it should have
//! been. The clip lets no state's value move further in one update than a policy's ratio may.
//! Formula: L = c·Σᵢ wᵢ·½·max((V − R)², (clip(V, V_old ± ε) − R)²); without a clip the first of
//! the two alone
//! Reads: values now, values when the advantages were made, targets; weights as the policy loss.
//! Differs: nothing clipped by default (ours); TRL and verl have ε = 0.2 and 0.5, in units of the
//! reward, which no default can know.
//! Degenerate: a row of weight 0 is not read and gets gradient 0. Where the clip holds the worse of
//! the two errors the gradient is 0, and where both are equal it is that of V.
//! Control: a constant value, which makes `gae` with λ = 1 `reinforce` with a constant baseline.

use serde::{Deserialize, Serialize};

/// The critic's loss.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// c, the factor of the loss beside the policy's; 0 to 100. Default 0.5, ours: half of
    /// A2C's, whose square has no ½.
    pub coefficient: f64,
    /// ε: how far a value moves from the old one before it is pushed no more; above 0, at most 1e6,
    /// in units of reward. Default none.
    pub clip: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Config { coefficient: 0.5, clip: None }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        if !(0.0..=100.0).contains(&self.coefficient) {
            let got = self.coefficient;
            return Some(format!("`value.coefficient` must be from 0 to 100, got: {got}"));
        }
        let clip = self.clip.filter(|clip| !(*clip > 0.0 && *clip <= 1e6))?;
        Some(format!("`value.clip` must be above 0 and at most 1e6, got: {clip}"))
    }
}

/// The three streams of a batch, R rows each.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// `[R]` under the weights being trained; stream `value`.
    pub value: &'a [f32],
    /// `[R]` when the advantages were made; stream `value_behaviour`.
    pub behaviour: &'a [f32],
    /// `[R]` what they should have been; stream `value_target`.
    pub target: &'a [f32],
}

/// The loss and its gradient.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ValueLoss {
    /// The weighted sum over this batch; sums over an update's batches.
    pub value: f64,
    /// `[R]` derivative with respect to `Values::value`.
    pub d_value: Vec<f32>,
    /// What reports show.
    pub diagnostics: ValueDiagnostics,
}

/// Sums over the rows that train, unweighted, so that micro-batches merge.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct ValueDiagnostics {
    /// Rows seen.
    pub rows: u64,
    /// Rows whose gradient the clip removed.
    pub clipped: u64,
    /// Sum of targets.
    pub target_sum: f64,
    /// Sum of squares of targets.
    pub target_square_sum: f64,
    /// Sum of target − value.
    pub error_sum: f64,
    /// Sum of squares of target − value.
    pub error_square_sum: f64,
}

impl ValueDiagnostics {
    /// Adds those of another batch of the same update.
    pub fn merge(&mut self, other: &ValueDiagnostics) {
        self.rows += other.rows;
        self.clipped += other.clipped;
        self.target_sum += other.target_sum;
        self.target_square_sum += other.target_square_sum;
        self.error_sum += other.error_sum;
        self.error_square_sum += other.error_square_sum;
    }

    /// 1 − var(target − value)/var(target): 1 is a perfect critic, 0 one that says nothing, below
    /// 0 a misleading one. `None` where the targets are equal.
    pub fn explained_variance(&self) -> Option<f64> {
        let n = self.rows as f64;
        let variance = |sum: f64, squares: f64| (squares / n - (sum / n).powi(2)).max(0.0);
        let of_target = variance(self.target_sum, self.target_square_sum);
        // What is left of equal numbers by rounding is no variance.
        let least = 1e-12 * self.target_square_sum / n.max(1.0);
        let known = self.rows > 0 && of_target > least;
        known.then(|| 1.0 - variance(self.error_sum, self.error_square_sum) / of_target)
    }

    /// Named numbers for a report, in a fixed order; nothing where no row was trained.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        if self.rows == 0 {
            return Vec::new();
        }
        let n = self.rows as f64;
        let mut named = vec![
            ("value_target", self.target_sum / n),
            ("value_error", (self.error_square_sum / n).sqrt()),
            ("value_clip_fraction", self.clipped as f64 / n),
        ];
        named.extend(self.explained_variance().map(|x| ("value_explained_variance", x)));
        named
    }
}

/// The loss of a batch; `weight` `[R]` as in [`Batch::weight`](super::Batch).
pub fn value_loss(values: &Values<'_>, weight: &[f64], config: &Config) -> ValueLoss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let rows = values.value.len();
    assert_eq!(values.behaviour.len(), rows, "old values of a batch against its values");
    assert_eq!(values.target.len(), rows, "targets of a batch against its values");
    assert_eq!(weight.len(), rows, "weights of a batch against its values");
    let mut loss = ValueLoss { d_value: vec![0.0; rows], ..ValueLoss::default() };
    for i in (0..rows).filter(|&i| weight[i] != 0.0) {
        let numbers = [values.value[i], values.behaviour[i], values.target[i]].map(f64::from);
        assert!(numbers.iter().all(|x| x.is_finite()), "row {i} is not finite: {numbers:?}");
        let [value, old, target] = numbers;
        let error = value - target;
        let bound = config.clip.map_or(error, |clip| value.clamp(old - clip, old + clip) - target);
        let held = bound * bound > error * error;
        let factor = config.coefficient * weight[i];
        loss.value += factor * 0.5 * if held { bound * bound } else { error * error };
        loss.d_value[i] = if held { 0.0 } else { (factor * error) as f32 };
        let seen = &mut loss.diagnostics;
        seen.rows += 1;
        seen.clipped += u64::from(held);
        seen.target_sum += target;
        seen.target_square_sum += target * target;
        seen.error_sum -= error;
        seen.error_square_sum += error * error;
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'static> = Values {
        value: &[0.5, 1.0, -0.25, 0.75],
        behaviour: &[0.5, 0.25, 0.0, 0.25],
        target: &[1.0, 0.0, 1.0, 2.0],
    };
    const WEIGHT: [f64; 4] = [0.5, 0.25, 0.25, 0.125];

    #[test]
    fn a_worked_batch() {
        // ε = 1/4. Errors -1/2, 1, -5/4, -5/4; clipped values 1/2, 1/2, -1/4, 1/2 have errors -1/2,
        // 1/2, -5/4, -3/2: only the last is worse clipped, and is held.
        let config = Config { clip: Some(0.25), ..Config::default() };
        let loss = value_loss(&VALUES, &WEIGHT, &config);
        assert_eq!(loss.d_value, [-0.125, 0.125, -0.15625, 0.0]);
        // ½·½·(½·¼ + ¼·1 + ¼·25/16 + ⅛·9/4)
        let expected = 0.25 * (0.125 + 0.25 + 0.390625 + 0.28125);
        assert!((loss.value - expected).abs() < 1e-12, "{}", loss.value);
        assert_eq!((loss.diagnostics.rows, loss.diagnostics.clipped), (4, 1));
        let free = value_loss(&VALUES, &WEIGHT, &Config::default());
        assert_eq!(free.d_value[3], -0.078125);
    }

    #[test]
    fn gradients_are_those_of_the_loss() {
        for clip in [None, Some(0.25), Some(0.6)] {
            let config = Config { coefficient: 0.7, clip };
            let loss = value_loss(&VALUES, &WEIGHT, &config);
            for i in 0..4 {
                let h = 1.0 / 4096.0;
                let shifted = |by: f32| {
                    let mut value = VALUES.value.to_vec();
                    value[i] += by;
                    value_loss(&Values { value: &value, ..VALUES }, &WEIGHT, &config).value
                };
                let expected = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
                assert!((f64::from(loss.d_value[i]) - expected).abs() < 1e-7, "{clip:?} {i}");
            }
        }
    }

    #[test]
    fn explained_variance_is_that_of_all_rows() {
        let perfect = Values { value: VALUES.target, ..VALUES };
        let of = |values: &Values<'_>| value_loss(values, &WEIGHT, &Config::default()).diagnostics;
        assert_eq!(of(&perfect).explained_variance(), Some(1.0));
        // Targets 1, 0, 1, 2: variance 1/2. A constant explains nothing.
        let constant = Values { value: &[0.25; 4], ..VALUES };
        assert!(of(&constant).explained_variance().unwrap().abs() < 1e-12);
        let equal = Values { target: &[0.1; 4], ..VALUES };
        assert_eq!(of(&equal).explained_variance(), None);
        // Errors ½, -1, 5/4, 5/4: mean ½, squares 1/4 + 1 + 25/8, variance 35/32 - 1/4.
        let whole = of(&VALUES);
        assert!((whole.explained_variance().unwrap() - (1.0 - 2.0 * 0.84375)).abs() < 1e-12);
        let cut = |a: usize, b: usize| Values {
            value: &VALUES.value[a..b],
            behaviour: &VALUES.behaviour[a..b],
            target: &VALUES.target[a..b],
        };
        let part = |a: usize, b: usize| value_loss(&cut(a, b), &WEIGHT[a..b], &Config::default());
        let mut first = part(0, 1).diagnostics;
        first.merge(&part(1, 4).diagnostics);
        assert_eq!(first, whole);
    }

    #[test]
    fn a_row_of_weight_zero_is_not_read() {
        let values = Values { value: &[f32::NAN], behaviour: &[0.0], target: &[f32::INFINITY] };
        let loss = value_loss(&values, &[0.0], &Config::default());
        assert_eq!((loss.value, loss.d_value[0].to_bits(), loss.diagnostics.rows), (0.0, 0, 0));
        assert!(loss.diagnostics.metrics().is_empty());
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        for clip in [0.0, -1.0, f64::NAN] {
            let wrong = Config { clip: Some(clip), ..Config::default() };
            assert!(wrong.problem().is_some_and(|p| p.starts_with("`value.clip`")));
        }
        let wrong = Config { coefficient: -1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`value.coefficient`")));
    }
}
