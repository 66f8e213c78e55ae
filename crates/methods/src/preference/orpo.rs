//! # Odds-ratio preference optimisation (ORPO)
//!
//! Paper: Hong et al., arXiv 2403.07691.
//! Idea: Train on the chosen answer as in supervised tuning, and in the same stroke make its odds
//! larger than those of the rejected one: no reference, no stage before.
//! Formula: L = −l̄(chosen) − λ·log σ(log odds(chosen) − log odds(rejected)); odds = p/(1−p),
//! p = exp(l̄), l̄ the mean log-probability of a token
//! Reads: summed log-probabilities of both answers and their numbers of tokens.
//! Differs: log-odds diverge as p goes to 1: there p counts as `probability_max` and has no
//! gradient through its odds.
//! Degenerate: λ = 0 is cross-entropy on chosen answers, each weighing the same.
//! Control: λ = 0 on the same pairs.

use serde::{Deserialize, Serialize};

use super::{Answer, Pair, Term, sigmoid, softplus};

/// Cross-entropy and the logistic loss on the ratio of odds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// λ: weight of the odds ratio; 0 to 100. Default 0.1, ours.
    pub lambda: f64,
    /// Largest p inside the odds; from 0.5 to 0.999999999. Default 0.999999, ours.
    pub probability_max: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { lambda: 0.1, probability_max: 0.999_999 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let ranges = [
            ("lambda", self.lambda, 0.0, 100.0),
            ("probability_max", self.probability_max, 0.5, 0.999_999_999),
        ];
        let wrong = ranges.iter().find(|(_, value, low, high)| !(*low..=*high).contains(value));
        wrong.map(|(name, value, low, high)| {
            format!("`orpo.{name}` must be from {low} to {high}, got: {value}")
        })
    }
}

/// The loss of one pair.
pub fn loss(pair: &Pair, config: &Config) -> Term {
    let Pair { chosen, rejected } = pair;
    let (odds_chosen, slope_chosen) = log_odds(chosen, config);
    let (odds_rejected, slope_rejected) = log_odds(rejected, config);
    let ratio = odds_chosen - odds_rejected;
    let slope = -config.lambda * sigmoid(-ratio);
    Term {
        value: -chosen.mean() + config.lambda * softplus(-ratio),
        d_chosen: (slope * slope_chosen - 1.0) / chosen.tokens as f64,
        d_rejected: -slope * slope_rejected / rejected.tokens as f64,
    }
}

/// log(p/(1−p)) and its slope per mean log-probability, 1/(1−p).
fn log_odds(answer: &Answer, config: &Config) -> (f64, f64) {
    let (mean, limit) = (answer.mean(), config.probability_max.ln());
    let (mean, moves) = if mean > limit { (limit, 0.0) } else { (mean, 1.0) };
    let rest = -mean.exp_m1();
    (mean - rest.ln(), moves / rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::FIXTURE;

    #[test]
    fn a_worked_pair() {
        // Means −2.5, −2.2: p 0.082085, 0.110803; log-odds −2.414338, −2.082563; ratio −0.331775.
        // σ(0.331775) = 0.582191; softplus(0.331775) = 0.872731.
        let term = loss(&FIXTURE, &Config { lambda: 0.5, ..Config::default() });
        assert!((term.value - (2.5 + 0.5 * 0.872731)).abs() < 1e-5, "{}", term.value);
        let chosen = -(1.0 + 0.5 * 0.582191 / 0.917915) / 4.0;
        assert!((term.d_chosen - chosen).abs() < 1e-6, "{} {chosen}", term.d_chosen);
        assert!((term.d_rejected - 0.5 * 0.582191 / 0.889197 / 5.0).abs() < 1e-6);
    }

    #[test]
    fn it_stays_finite_where_an_answer_is_certain() {
        let certain = Answer { logprob: 0.0, reference: 0.0, tokens: 1 };
        let never = Answer { logprob: -800.0, reference: 0.0, tokens: 1 };
        for (chosen, rejected) in [(certain, certain), (certain, never), (never, certain)] {
            let term = loss(&Pair { chosen, rejected }, &Config::default());
            let all = [term.value, term.d_chosen, term.d_rejected];
            assert!(all.iter().all(|x| x.is_finite()), "{term:?}");
        }
        // The rejected side is certain: its odds are held, and so is its gradient.
        let pair = Pair { chosen: never, rejected: certain };
        assert_eq!(loss(&pair, &Config::default()).d_rejected, 0.0);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { probability_max: 1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`orpo.probability_max`")));
    }
}
