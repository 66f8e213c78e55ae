//! # Forking where the policy has become unsure
//!
//! Paper: ARPO, "Agentic Reinforced Policy Optimization", arXiv 2507.19849, entropy-based adaptive
//! rollout.
//! Idea: After a tool has answered, a policy is at times much less sure than it was at the start;
//! sampling is worth most there, so the leaves are spent where uncertainty rose.
//! Formula: H(s) = −(1/|s|) Σ log p over the tokens of a step; an observation forks where H(step
//! before it) − H(first step of the path) > threshold, into as many as `branch` would
//! Reads: log-probabilities as sampled, child indices and token counts on the path.
//! Differs: H is the mean surprisal of what was sampled, whose mean is the entropy, and not the
//! entropy of the whole distribution, which the sampler does not tell. The paper looks at the first
//! tokens after a tool's answer, forks before them and turns the rise into a chance; here the step
//! that the observation answers decides, by a threshold, so a decision reads its own path only and
//! draws nothing. The budget is shared out as in `branch`.
//! Degenerate: the first observation compares a step with itself: its rise is 0, and it forks only
//! where `threshold` is below 0. A threshold below every rise is `branch`, one above every rise is
//! independent attempts; a step of no tokens has H = 0.
//! Control: `branch` at the same number of sampled tokens: forks at the same number of places,
//! whatever the entropy was there.

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

use super::{GrowView, branch};

/// Forks at observations where surprisal rose, until a budget is used.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Steps opened below the prompt, 1 to 65536. Default 4, ours.
    pub attempts: u32,
    /// Steps opened below an observation that forks, 1 to 65536. Default 2, ours.
    pub branches: u32,
    /// Most leaves of a tree, from `attempts` to 65536. Default 16, ours.
    pub leaves: u32,
    /// Rise of the mean surprisal, nats a token, -100 to 100. Default 0.1, ours.
    pub threshold: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { attempts: 4, branches: 2, leaves: 16, threshold: 0.1 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let named = |why: String| why.replace("`branch.", "`fork_at_entropy.");
        if let Some(why) = self.budget().problem() {
            return Some(named(why));
        }
        let fine = (-100.0..=100.0).contains(&self.threshold);
        let why = || {
            let got = self.threshold;
            format!("`fork_at_entropy.threshold` must be from -100 to 100, got: {got}")
        };
        (!fine).then(why)
    }

    fn budget(&self) -> branch::Config {
        let Config { attempts, branches, leaves, .. } = *self;
        branch::Config { attempts, branches, leaves, tokens: None }
    }
}

/// Steps to open below the prompt.
pub fn opening(config: &Config) -> u32 {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    config.attempts
}

/// Steps to open below an observation. The key is not read: nothing here is drawn.
pub fn after_observation(view: &GrowView<'_>, config: &Config, _key: Key) -> u32 {
    assert!(!view.path.is_empty(), "an observation follows a step");
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let first = view.path[0].surprisal;
    let rose = |i: usize| view.path[i].surprisal - first > config.threshold;
    branch::shared_out(view, &config.budget(), rose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::Decision;
    use stepwell_tree::Purpose;

    fn at(config: &Config, path: &[(u32, f64)]) -> u32 {
        let decision = |&(child_index, surprisal)| Decision { child_index, tokens: 5, surprisal };
        let path: Vec<Decision> = path.iter().map(decision).collect();
        after_observation(&GrowView { path: &path }, config, Key::new(0, Purpose::Grow))
    }

    #[test]
    fn a_worked_tree() {
        // Two attempts share six leaves: 3 and 3. The first observation never forks; a rise of 0.5
        // does, one of 0.2 does not.
        let config = Config { attempts: 2, branches: 2, leaves: 6, threshold: 0.25 };
        assert_eq!(opening(&config), 2);
        assert_eq!(at(&config, &[(0, 1.0)]), 1);
        assert_eq!(at(&config, &[(0, 1.0), (0, 1.2)]), 1);
        assert_eq!(at(&config, &[(0, 1.0), (0, 1.5)]), 2);
        // 3 leaves for two children are 2 and 1: the second child's share is used.
        assert_eq!(at(&config, &[(0, 1.0), (0, 1.5), (0, 1.5)]), 2);
        assert_eq!(at(&config, &[(0, 1.0), (0, 1.5), (1, 1.5)]), 1);
        // A line without a fork has kept its share: 3 leaves fork into two.
        assert_eq!(at(&config, &[(1, 1.0), (0, 1.0), (0, 9.0)]), 2);
        // At the threshold is not above it.
        assert_eq!(at(&config, &[(0, 1.0), (0, 1.25)]), 1);
    }

    #[test]
    fn a_low_threshold_is_branch_and_a_high_one_is_independent_attempts() {
        let low = Config { threshold: -100.0, ..Config::default() };
        let high = Config { threshold: 100.0, ..Config::default() };
        let key = Key::new(0, Purpose::Grow);
        for k in 0..4u32 {
            for second in 0..2u32 {
                let path: Vec<Decision> = [(k, 2.0), (second, 0.5)]
                    .map(|(child_index, surprisal)| Decision { child_index, tokens: 1, surprisal })
                    .to_vec();
                for n in 1..=2 {
                    let view = GrowView { path: &path[..n] };
                    let branched = branch::after_observation(&view, &low.budget(), key);
                    assert_eq!(after_observation(&view, &low, key), branched);
                }
                assert_eq!(at(&high, &[(k, 2.0)]), 1);
            }
        }
    }

    #[test]
    fn never_more_leaves_than_the_budget_whatever_the_surprisal() {
        for seed in 0..200u64 {
            let config = Config { attempts: 3, branches: 3, leaves: 11, threshold: 0.0 };
            let draw = Key::new(seed, Purpose::Control);
            let mut open: Vec<(Key, Vec<(u32, f64)>)> = (0..opening(&config))
                .map(|k| (draw.with(u64::from(k)), vec![(k, draw.with(u64::from(k)).uniform())]))
                .collect();
            let mut leaves = 0;
            while let Some((key, path)) = open.pop() {
                if path.len() == 5 {
                    leaves += 1;
                    continue;
                }
                for k in 0..at(&config, &path) {
                    let key = key.with(u64::from(k));
                    open.push((key, [path.as_slice(), &[(k, key.uniform())]].concat()));
                }
            }
            assert!((3..=11).contains(&leaves), "{leaves} leaves, seed {seed}");
        }
    }

    #[test]
    fn refuses_what_branch_refuses_and_a_wild_threshold() {
        assert_eq!(Config::default().problem(), None);
        let few = Config { leaves: 3, ..Config::default() }.problem();
        assert_eq!(few.as_deref(), Some("`fork_at_entropy.leaves` is below `attempts` 4: 3"));
        let wild = Config { threshold: 101.0, ..Config::default() }.problem();
        assert!(wild.is_some_and(|why| why.starts_with("`fork_at_entropy.threshold` must be")));
    }
}
