//! # Soft penalty for long attempts (DAPO)
//!
//! Paper: DAPO, arXiv 2503.14476, equation 13.
//! Idea: An attempt that runs into the limit of tokens is punished for its length and not for its
//! thoughts; a penalty that grows before the limit says so gently.
//! Formula: R = R' + f·P; P = 0 up to L − C, (L − C − len)/C up to L, −1 beyond; len = sampled
//! tokens on the path of a leaf
//! Reads: what the other reward reads; sampled tokens on the path.
//! Differs: observations do not count, so on several turns L is a limit on what the policy wrote.
//! Degenerate: `factor = 0` is the other reward. Unscored leaves get `None`, however long.
//! Control: the other reward, `of`, alone.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepTree, sampled_length};

use crate::{RewardConfig, Rewards};

/// Another reward, less the penalty.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The reward that is reduced. Default `outcome`.
    pub of: Box<RewardConfig>,
    /// L, sampled tokens on a path beyond which the penalty is whole; at least 1. Default 20480,
    /// the paper's.
    pub tokens_max: u64,
    /// C, tokens before L over which the penalty grows; 1 to L. Default 4096, the paper's.
    pub tokens_soft: u64,
    /// f, the whole penalty; in units of reward, 0 to 100. Default 1, the paper's.
    pub factor: f64,
}

impl Default for Config {
    fn default() -> Self {
        let of = Box::new(RewardConfig::Outcome);
        Config { of, tokens_max: 20_480, tokens_soft: 4096, factor: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { tokens_max, tokens_soft, factor, .. } = *self;
        if !(1..=tokens_max).contains(&tokens_soft) {
            return Some(format!(
                "`overlong.tokens_soft` must be from 1 to `tokens_max` {tokens_max}, got: \
                 {tokens_soft}"
            ));
        }
        if !(0.0..=100.0).contains(&factor) {
            return Some(format!("`overlong.factor` must be from 0 to 100, got: {factor}"));
        }
        self.of.problem()
    }
}

/// The other reward of every scored leaf, less the penalty for its length.
pub fn reward(forest: &[StepTree], config: &Config) -> Rewards {
    let mut rewards = config.of.reward(forest);
    for (tree, leaf) in forest.iter().zip(&mut rewards.leaf) {
        for (reward, length) in leaf.iter_mut().zip(sampled_length(tree)) {
            if let Some(reward) = reward {
                *reward += config.factor * penalty(length as u64, config);
            }
        }
    }
    rewards
}

/// From 0 to −1.
fn penalty(length: u64, config: &Config) -> f64 {
    let free = config.tokens_max - config.tokens_soft;
    -(length.saturating_sub(free) as f64 / config.tokens_soft as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use stepwell_tree::parse;

    #[test]
    fn the_numbers_of_the_paper() {
        let of = |length| penalty(length, &Config::default());
        assert_eq!(
            [0, 16_384, 18_432, 20_480, 20_481, 1 << 40].map(of),
            [0.0, 0.0, -0.5, -1.0, -1.0, -1.0]
        );
        assert_eq!(of(16_385), -1.0 / 4096.0);
    }

    #[test]
    fn a_worked_tree() {
        // L = 4, C = 2: free up to 2 sampled tokens; the observation's do not count.
        let tree = parse(
            "0 -  prompt q q q q q
             1 0  policy a a        r=1
             2 0  policy b
             3 2  environment o o o o o
             4 3  policy c c        r=0.5
             5 3  policy d d d d    r=0
             6 3  policy e e e e e  unscored=interrupted",
        );
        let config = Config { tokens_max: 4, tokens_soft: 2, factor: 0.5, ..Config::default() };
        let got = reward(&[tree], &config).leaf.remove(0);
        assert_eq!(got, [None, Some(1.0), None, None, Some(0.25), Some(-0.5), None]);
    }

    #[test]
    fn it_reads_and_refuses_what_the_other_does() {
        let hierarchical = super::super::hierarchical::Config::default();
        let of = Box::new(RewardConfig::Hierarchical(hierarchical.clone()));
        let config = RewardConfig::Overlong(Config { of, ..Config::default() });
        assert_eq!(config.parts(), ["format"]);
        let broken = super::super::hierarchical::Config { broken: 1.0, ..hierarchical };
        let of = Box::new(RewardConfig::Hierarchical(broken));
        assert!(Config { of, ..Config::default() }.problem().is_some());
        for (tokens_max, tokens_soft) in [(0, 0), (4, 0), (4, 5)] {
            let config = Config { tokens_max, tokens_soft, ..Config::default() };
            assert!(config.problem().is_some(), "{config:?}");
        }
    }

    #[test]
    fn laws() {
        let config = Config { tokens_max: 6, tokens_soft: 4, ..Config::default() };
        laws::check_reward(&[], |forest| reward(forest, &config));
    }
}
