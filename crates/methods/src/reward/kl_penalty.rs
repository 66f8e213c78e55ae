//! # Penalty for leaving the reference, in the reward
//!
//! Paper: fine-tuning from preferences, Ziegler et al., arXiv 1909.08593, equation 2; as part of
//! the reward of a whole answer: RLOO, arXiv 2402.14740, equation 3.
//! Idea: An attempt pays for every nat by which the policy likes it better than the reference does.
//! Then the best policy is π_ref·exp(r/β), whatever method looks for it.
//! Formula: R = R' − β·Σ over sampled tokens of the path of (log π_behaviour − log π_ref)
//! Reads: what the other reward reads; `reference_logprob` over tokens.
//! Differs: an attempt pays at its end, as TRL's RLOO does; `gae` and `n_step` have a `kl` of their
//! own, by which every token pays at once.
//! Degenerate: `coefficient = 0` is the other reward and needs no reference. Unscored leaves get
//! `None`. The estimate is noisy and can be negative: it is a bonus where the reference likes the
//! attempt better.
//! Control: the other reward, `of`, alone; KL in the loss (`objective.kl`) with `k2`, which has the
//! same best policy.

use serde::{Deserialize, Serialize};
use stepwell_tree::StepTree;

use crate::{RewardConfig, Rewards};

/// Another reward, less the penalty.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The reward that is reduced. Default `outcome`.
    pub of: Box<RewardConfig>,
    /// β, in units of reward per nat; 0 to 100. Default 0.05, TRL's for RLOO.
    pub coefficient: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { of: Box::new(RewardConfig::Outcome), coefficient: 0.05 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        if !(0.0..=100.0).contains(&self.coefficient) {
            let got = self.coefficient;
            return Some(format!("`kl_penalty.coefficient` must be from 0 to 100, got: {got}"));
        }
        self.of.problem()
    }
}

/// The other reward of every scored leaf, less what its path pays.
pub fn reward(forest: &[StepTree], config: &Config) -> Rewards {
    let mut rewards = config.of.reward(forest);
    if config.coefficient == 0.0 {
        return rewards;
    }
    for (tree, leaf) in forest.iter().zip(&mut rewards.leaf) {
        for (reward, nats) in leaf.iter_mut().zip(log_ratio(tree)) {
            if let Some(reward) = reward {
                *reward -= config.coefficient * nats;
            }
        }
    }
    rewards
}

/// `[N]` log π_behaviour − log π_ref, summed over the sampled tokens from the root to each step.
fn log_ratio(tree: &StepTree) -> Vec<f64> {
    let reference = crate::credit::token_column(tree, "reference_logprob");
    let mut sum = vec![0.0; tree.len()];
    for i in 1..tree.len() {
        sum[i] = sum[tree.parent[i].index()];
        if tree.origin[i].is_policy() {
            let own = tree.span[i].range();
            let apart = |t: usize| f64::from(tree.logprob[t]) - f64::from(reference[t]);
            sum[i] += own.map(apart).sum::<f64>();
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use stepwell_tree::parse;

    #[test]
    fn a_worked_tree() {
        // log π is -1. a a: 0.5 + 0.25; c after b: 0.25 - 0.5; d after b: 0.25 + 0. β = 0.2.
        let mut tree = parse(
            "0 - prompt q
             1 0 policy a a      r=1
             2 0 policy b
             3 2 environment o
             4 3 policy c        r=0
             5 3 policy d        r=0.5
             6 3 policy e        unscored=interrupted",
        );
        let reference = vec![9.0, -1.5, -1.25, -1.25, 9.0, -0.5, -1.0, 9.0];
        tree.token_column.insert("reference_logprob".to_owned(), reference);
        let config = Config { coefficient: 0.2, ..Config::default() };
        let got = reward(&[tree.clone()], &config).leaf.remove(0);
        for (got, expected) in [1, 4, 5].map(|i| got[i]).iter().zip([0.85, 0.05, 0.45]) {
            assert!((got.unwrap() - expected).abs() < 1e-12, "{got:?} {expected}");
        }
        assert_eq!([got[0], got[2], got[3], got[6]], [None; 4]);
        tree.token_column.clear();
        let free = Config { coefficient: 0.0, ..config };
        assert_eq!(reward(&[tree], &free).leaf[0][1], Some(1.0));
    }

    #[test]
    fn laws() {
        laws::check_reward(&[], |forest| reward(&laws::with_columns(forest), &Config::default()));
        let wrong = Config { coefficient: -1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`kl_penalty.coefficient`")));
    }
}
