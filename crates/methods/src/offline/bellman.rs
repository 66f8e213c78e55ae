//! # Bellman targets
//!
//! Paper: Watkins 1989; as detached targets of a frozen value: DQN 2015, ILQL, arXiv 2206.11871.
//! Idea: What a choice earns, and what the state after it is said to be worth.
//! Formula: yₜ = rₜ + γ·V(sₜ₊₁), 0 for V beyond the end; at a fork the mean over the scored
//! children
//! Reads: rewards of leaves and of steps; `value` over tokens: what a frozen head says of the state
//! in which each was chosen.
//! Differs: these are targets for `double_q` and `ilql`, which read them as credit, and no
//! advantage: with a policy-gradient objective they would be one without a baseline.
//! Degenerate: the last token's target is the reward, whatever V says. A step without a scored leaf
//! below gets `None`; one attempt, or equal rewards, are nothing special. A policy step without
//! tokens gets 0.
//! Control: `n_step` with n beyond the end, whose targets believe no head.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use crate::Rewards;
use crate::credit::n_step;

/// How far ahead counts.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// γ per sampled token, 0 to 1. Default 0.99, trlX's for ILQL.
    pub gamma: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { gamma: 0.99 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=1.0).contains(&self.gamma);
        (!fine).then(|| format!("`bellman.gamma` must be from 0 to 1, got: {}", self.gamma))
    }
}

/// The target of every sampled token; a step has the mean of its tokens'.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    let one = n_step::Config { n: 1, gamma: config.gamma, ..n_step::Config::default() };
    let mut credits = n_step::credit(forest, rewards, &one);
    let targets = n_step::value_targets(forest, rewards, &one);
    for ((tree, credit), target) in forest.iter().zip(&mut credits).zip(targets) {
        for (number, span) in credit.step.iter_mut().zip(&tree.span) {
            let own = &target[span.range()];
            let mean = own.iter().sum::<f64>() / own.len().max(1) as f64;
            *number = number.map(|_| mean);
        }
        credit.token = Some(target);
    }
    credits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims};

    #[test]
    fn a_worked_tree() {
        // γ = ½. a sees V(b) = 1/2, b the mean of V(c) = 3/4 and V(d) = 1/4 across the observation;
        // c and d are the last: their rewards, and no V. The step `a b` has the mean 1/4.
        let tree = "
            0 - prompt q
            1 0 policy a b                | 0.25
            2 1 environment o
            3 2 policy c         r=1      | 1
            4 2 policy d         r=0      | 0
            5 2 policy e         unscored=interrupted";
        let of = |f: &[StepTree], r: &Rewards| {
            let mut tree = f[0].clone();
            let value = vec![9.0, 0.25, 0.5, 9.0, 0.75, 0.25, 9.0];
            tree.token_column.insert("value".to_owned(), value);
            let credit = credit(&[tree], r, &Config { gamma: 0.5 });
            assert_eq!(credit[0].token, Some(vec![0.0, 0.25, 0.25, 0.0, 1.0, 0.0, 0.0]));
            credit
        };
        laws::table(tree, of);
    }

    #[test]
    fn laws() {
        laws::check(|f, r| credit(&laws::with_columns(f), r, &Config::default()), Claims::NONE);
        let wrong = Config { gamma: 2.0 };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`bellman.gamma`")));
    }
}
