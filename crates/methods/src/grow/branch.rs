//! # Branching at step boundaries under a leaf budget
//!
//! Paper: ReEx-SQL, arXiv 2505.12768, tree-structured decoding (its parameters are not published).
//! Idea: Continue each observation in several ways until the budget of leaves is used, then go on in
//! single lines; what comes before a fork is sampled, computed and stored once.
//! Formula: share(root) = leaves; a fork with share B into n gives child k the share ⌊B/n⌋ + [k < B mod n];
//! n = min(branches, B) below an observation, min(attempts, leaves) at the root
//! Reads: child indices and token counts on the path.
//! Differs: the budget belongs to subtrees and not to whoever asks first, so the tree does not depend
//! on arrival. The price: what a subtree does not use, because it ended early, is not given to
//! another. Duplicate steps are kept: dropping them would bias every mean over siblings.
//! Degenerate: `branches = 1`, or `leaves = attempts`, are independent attempts. At most `leaves`
//! leaves, by induction: shares of children add up to their parent's and are at least 1.
//! Control: `independent` at the same number of sampled tokens.
//!
//! The token budget is split the same way, and a step's tokens come off the share it was sampled
//! under. A boundary forks into n only where its remaining share is at least n; below that it goes on
//! in one line. So the budget ends branching and is no hard limit: lines that are open run on.

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

use super::GrowView;

/// Forks at observations until a budget is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Steps opened below the prompt, 1 to 65536. Default 2, ours.
    pub attempts: u32,
    /// Steps opened below each observation while the budget lasts, 1 to 65536. Default 2, ours.
    pub branches: u32,
    /// Most leaves of a tree, from `attempts` to 65536. Default 8, ReEx-SQL's group of 8.
    pub leaves: u32,
    /// Sampled tokens of a tree after which nothing forks, at least 1. Default none: no such limit.
    pub tokens: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config { attempts: 2, branches: 2, leaves: 8, tokens: None }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let counts =
            [("attempts", self.attempts), ("branches", self.branches), ("leaves", self.leaves)];
        for (name, count) in counts {
            if !(1..=65536).contains(&count) {
                return Some(format!("`branch.{name}` must be from 1 to 65536, got: {count}"));
            }
        }
        if self.leaves < self.attempts {
            let (leaves, attempts) = (self.leaves, self.attempts);
            return Some(format!("`branch.leaves` is below `attempts` {attempts}: {leaves}"));
        }
        (self.tokens == Some(0)).then(|| "`branch.tokens` must be at least 1, got: 0".to_owned())
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
    let mut children = opening(config);
    let mut share = Share { leaves: config.leaves, tokens: config.tokens };
    for decision in view.path {
        assert!(decision.child_index < children, "{decision:?} is not one of {children} children");
        share = share.of_child(children, decision.child_index, decision.tokens);
        children = share.children(config);
    }
    children
}

/// What a subtree may still spend.
#[derive(Clone, Copy, Debug)]
struct Share {
    leaves: u32,
    tokens: Option<u64>,
}

impl Share {
    fn of_child(self, children: u32, index: u32, sampled: u32) -> Share {
        let leaves = self.leaves / children + u32::from(index < self.leaves % children);
        let (n, k) = (u64::from(children), u64::from(index));
        let tokens = self.tokens.map(|t| t / n + u64::from(k < t % n));
        Share { leaves, tokens: tokens.map(|t| t.saturating_sub(u64::from(sampled))) }
    }

    fn children(self, config: &Config) -> u32 {
        let affordable = config.branches.min(self.leaves).max(1);
        match self.tokens {
            Some(tokens) if tokens < u64::from(affordable) => 1,
            _ => affordable,
        }
    }
}
