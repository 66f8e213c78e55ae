//! # Implicit language Q-learning (ILQL)
//!
//! Paper: ILQL, Snell et al., arXiv 2206.11871; its expectile: IQL, arXiv 2110.06169; the weighted
//! cross-entropy: AWAC, arXiv 2006.09359. Numbers of trlX.
//! Idea: What a state is worth under the best of what was tried there is a high expectile of the Q
//! of what was tried: no maximum over tokens that nobody ever took.
//! Formula: L = Σᵢ wᵢ·[Σₖ (Qₖ − y)² + |τ − [u < 0]|·u² − a·exp(β·(Q̄ − V))·log π]; u = Q̄ − V, Q̄ =
//! min of the frozen heads; y = r + γ·V(s')
//! Reads: streams `q1`, `q2`, `q1_target`, `q2_target`, `value`; y as credit, from `bellman`;
//! log-probabilities if a > 0.
//! Differs: nothing in the losses. The conservative term is [`row`], for each of the two heads.
//! Degenerate: τ = ½ is half the squared error, τ → 1 the maximum of what was tried; of the last
//! token y is the reward. Frozen heads, y and the weights of the last term have no gradient. A row
//! of weight 0 is not read.
//! Control: τ = ½, which is the behaviour's value; `cross_entropy` on the same samples.
//!
//! To decode: the tokens of highest log π + b·(Q̄ − V), of which V is the same for all tokens of a
//! state and changes no choice: an evaluation's `q_beta` is b, and not the `beta` above.

use serde::{Deserialize, Serialize};

use super::bellman_error;
use crate::row::cql;
use crate::{Batch, Loss, Row, RowLoss};

/// The weights of its terms.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// τ of the expectile, above 0 and below 1. Default 0.7, trlX's.
    pub expectile: f64,
    /// The factor of the conservative term, 0 to 100. Default 0.1, trlX's.
    pub conservatism: f64,
    /// a, the factor of the weighted cross-entropy, 0 to 100. Default 1, trlX's.
    pub awac: f64,
    /// β, how much a better token weighs in it, per unit of reward; 0 to 100. Default 0, trlX's:
    /// all alike.
    pub beta: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { expectile: 0.7, conservatism: 0.1, awac: 1.0, beta: 0.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let tau = self.expectile;
        if !(tau > 0.0 && tau < 1.0) {
            return Some(format!("`ilql.expectile` must be above 0 and below 1, got: {tau}"));
        }
        let ranges =
            [("conservatism", self.conservatism), ("awac", self.awac), ("beta", self.beta)];
        let (name, number) = ranges.iter().find(|(_, x)| !(0.0..=100.0).contains(x))?;
        Some(format!("`ilql.{name}` must be from 0 to 100, got: {number}"))
    }
}

/// |τ − [u < 0]|·u² and its derivative by u.
pub fn expectile(u: f64, tau: f64) -> (f64, f64) {
    let side = if u < 0.0 { 1.0 - tau } else { tau };
    (side * u * u, 2.0 * side * u)
}

/// The loss of Q heads, value head and policy over a batch.
pub fn objective(batch: &Batch<'_>, config: &Config) -> Loss {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let mut loss = Loss::zero(batch.len());
    bellman_error(batch, "q1", &mut loss);
    bellman_error(batch, "q2", &mut loss);
    let [q1, q2, value] = ["q1_target", "q2_target", "value"].map(|name| batch.streams.get(name));
    let mut d_value = vec![0.0; value.len()];
    for i in (0..value.len()).filter(|&i| batch.weight[i] != 0.0) {
        let u = f64::from(q1[i].min(q2[i])) - f64::from(value[i]);
        assert!(u.is_finite(), "row {i} of the value streams is not finite: {u}");
        let (own, slope) = expectile(u, config.expectile);
        loss.value += batch.weight[i] * own;
        d_value[i] = (-batch.weight[i] * slope) as f32;
        if config.awac > 0.0 {
            let logprob = f64::from(batch.logprob[i]);
            assert!(logprob.is_finite(), "log-prob of row {i} is not finite: {logprob}");
            // An advantage too large for an exponential counts as this.
            let factor = batch.weight[i] * config.awac * (config.beta * u).min(20.0).exp();
            loss.value -= factor * logprob;
            loss.d_logprob[i] = -factor as f32;
        }
    }
    loss.d_streams.insert("value", d_value);
    loss
}

/// The conservative term of one head at one position.
pub fn row(row: &Row<'_>, config: &Config) -> RowLoss {
    cql::row(row, &cql::Config { coefficient: config.conservatism })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OfflineValue;
    use crate::offline::tests::{check, example, run};

    #[test]
    fn a_worked_batch() {
        // y 3/8 and 1. q1: 1/8 and -3/4; q2: -7/8 and 0. u = 1/2 - 0 and 1/4 - 1.
        let config = Config { awac: 0.0, ..Config::default() };
        let loss = run(&OfflineValue::Ilql(config), &example(), &[-1.0; 3]);
        let q = 0.5 * (0.015625 + 0.765625) + 0.25 * 0.5625;
        let v = 0.5 * 0.7 * 0.25 + 0.25 * 0.3 * 0.5625;
        assert!((loss.value - q - v).abs() < 1e-9, "{}", loss.value);
        assert_eq!(loss.d_streams["q1"], [0.125, -0.375, 0.0]);
        assert!((loss.d_streams["value"][0] + 0.35).abs() < 1e-7);
        assert!((loss.d_streams["value"][1] - 0.1125).abs() < 1e-7);
        assert_eq!(loss.d_logprob, [0.0; 3]);
        // The weighted cross-entropy: ½·e^{½} + ¼·½·e^{-¾} with β = 1.
        let with = Config { awac: 1.0, beta: 1.0, ..config };
        let both = run(&OfflineValue::Ilql(with), &example(), &[-1.0, -0.5, -1.0]);
        let expected = 0.5 * 0.5f64.exp() + 0.125 * (-0.75f64).exp();
        assert!((both.value - loss.value - expected).abs() < 1e-9);
        assert!((f64::from(both.d_logprob[1]) + 0.25 * (-0.75f64).exp()).abs() < 1e-7);
        // The weight of a token is a number: V does not learn through it.
        assert_eq!(both.d_streams["value"][..2], loss.d_streams["value"][..2]);
        let alike = Config { beta: 0.0, ..with };
        check(&OfflineValue::Ilql(alike), &["q1", "q2", "value"]);
        check(
            &OfflineValue::Ilql(Config { awac: 0.0, expectile: 0.9, ..config }),
            &["q1", "q2", "value"],
        );
    }

    #[test]
    fn an_expectile_lies_between_the_mean_and_the_maximum() {
        // survey_algorithms.md, section 10, 6.
        assert_eq!(expectile(2.0, 0.5), (2.0, 2.0), "half the squared error");
        assert_eq!((expectile(2.0, 0.7).0, expectile(-2.0, 0.75).0), (2.8, 1.0));
        let tried = [0.0, 0.25, 1.0];
        let best = |tau: f64| {
            let mut v = 0.0;
            for _ in 0..200_000 {
                v += 0.05 * tried.iter().map(|q| expectile(q - v, tau).1).sum::<f64>() / 3.0;
            }
            v
        };
        assert!((best(0.5) - 1.25 / 3.0).abs() < 1e-9);
        assert!(best(0.7) > best(0.5) && best(0.9) > best(0.7));
        // 0.999: (1 - v) = (v + v - 0.25)·0.001/0.999.
        assert!((best(0.999) - 1.0).abs() < 2e-3, "{}", best(0.999));
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        for expectile in [0.0, 1.0, f64::NAN] {
            let wrong = Config { expectile, ..Config::default() };
            assert!(wrong.problem().is_some_and(|p| p.starts_with("`ilql.expectile`")));
        }
        let wrong = Config { beta: -1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`ilql.beta`")));
    }
}
