//! # Direct preference optimisation (DPO)
//!
//! Paper: Rafailov et al., arXiv 2305.18290, equation 7; over steps: Step-DPO, arXiv 2406.18629.
//! Idea: A policy that is best under a reward and a KL to a reference tells that reward: β times
//! its log-ratio. So fit the reward that explains the preferences by training the policy itself.
//! Formula: L = −log σ(m), m = β·[Δ(chosen) − Δ(rejected)], Δ = log π − log π_ref, summed
//! Reads: summed log-probabilities of both answers, now and under the frozen reference.
//! Differs: nothing.
//! Degenerate: at the reference m is 0 and the loss ln 2; only the difference counts, so that both
//! answers may lose probability together.
//! Control: the same number of updates on pairs whose sides are swapped at random.

use serde::{Deserialize, Serialize};

use super::{Pair, Term, sigmoid, softplus};

/// The logistic loss on the margin of implicit rewards.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// β: what a nat of log-ratio is worth; above 0, at most 100. Default 0.1, Tool-Star's.
    pub beta: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { beta: 0.1 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        super::beta_problem("dpo", self.beta)
    }
}

/// The loss of one pair.
pub fn loss(pair: &Pair, config: &Config) -> Term {
    let margin = config.beta * pair.margin();
    Term::of_difference(softplus(-margin), -config.beta * sigmoid(-margin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preference::FIXTURE;

    #[test]
    fn a_worked_pair() {
        // m = 0.1·(2 + 0.5) = 0.25; the fixture of primitives.md, section 5.
        let term = loss(&FIXTURE, &Config::default());
        assert!((term.value - 0.57594).abs() < 5e-6, "{}", term.value);
        // −β σ(−0.25)
        assert!((term.d_chosen + 0.0437823).abs() < 1e-7, "{}", term.d_chosen);
        assert_eq!(term.d_chosen, -term.d_rejected);
    }

    #[test]
    fn at_the_reference_the_loss_is_ln_2_and_a_swap_negates_the_margin() {
        let at = |x| super::super::Answer { logprob: x, reference: x, tokens: 3 };
        let even = Pair { chosen: at(-3.0), rejected: at(-9.0) };
        assert_eq!(loss(&even, &Config::default()).value, std::f64::consts::LN_2);
        let swapped = Pair { chosen: FIXTURE.rejected, rejected: FIXTURE.chosen };
        let margin =
            loss(&swapped, &Config::default()).value - loss(&FIXTURE, &Config::default()).value;
        // softplus(m) − softplus(−m) = m
        assert!((margin - 0.25).abs() < 1e-12);
        assert!(loss(&FIXTURE, &Config { beta: 1e-9 }).d_chosen.abs() < 1e-9);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        assert!(Config { beta: 0.0 }.problem().is_some_and(|p| p.starts_with("`dpo.beta`")));
    }
}
