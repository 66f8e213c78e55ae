//! # Branching at step boundaries under a leaf budget
//!
//! Paper: ReEx-SQL, arXiv 2505.12768, tree-structured decoding (its parameters are not published).
//! Idea: Continue each observation in several ways until the budget of leaves is used, then go on
//! in single lines; what comes before a fork is sampled, computed and stored once.
//! Formula: share(root) = leaves, n(root) = attempts; below an observation n = min(branches, B);
//! a fork with share B into n gives child k the share ⌊B/n⌋ + [k < B mod n]
//! Reads: child indices and token counts on the path.
//! Differs: the budget belongs to subtrees and not to whoever asks first, so the tree does not
//! depend on arrival. The price: what a subtree does not use, because it ended early, is not given
//! to another. Duplicate steps are kept: dropping them would bias every mean over siblings.
//! Degenerate: `branches = 1`, or `leaves = attempts`, are independent attempts. At most `leaves`
//! leaves, by induction: shares of children add up to their parent's and are at least 1.
//! Control: `independent` at the same number of sampled tokens.
//!
//! The token budget is split the same way, and a step's tokens come off the share it was sampled
//! under. A boundary forks into n only where its remaining share is at least n; below that it goes
//! on in one line. So the budget ends branching and is no hard limit: lines that are open run on.

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
    assert!(config.problem().is_none(), "{:?}", config.problem());
    shared_out(view, config, |_| true)
}

/// Steps to open below an observation where a fork needs a reason, too: `forks(i)` tells whether
/// the observation after the path's step i may fork. One that may not takes nothing off the budget.
pub(super) fn shared_out(
    view: &GrowView<'_>,
    config: &Config,
    forks: impl Fn(usize) -> bool,
) -> u32 {
    let mut children = config.attempts;
    let mut share = Share { leaves: config.leaves, tokens: config.tokens };
    for (i, decision) in view.path.iter().enumerate() {
        assert!(decision.child_index < children, "{decision:?} is not one of {children} children");
        share = share.of_child(children, decision.child_index, decision.tokens);
        children = if forks(i) { share.children(config) } else { 1 };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::Decision;
    use stepwell_tree::Purpose;

    fn at(config: &Config, path: &[(u32, u32)]) -> u32 {
        let decision = |&(child_index, tokens)| Decision { child_index, tokens, surprisal: 1.0 };
        let path: Vec<Decision> = path.iter().map(decision).collect();
        after_observation(&GrowView { path: &path }, config, Key::new(0, Purpose::Grow))
    }

    /// Leaves of the tree in which nothing ends before `depth` decisions.
    fn leaves(config: &Config, depth: usize, tokens: u32) -> u32 {
        let mut open: Vec<Vec<(u32, u32)>> =
            (0..opening(config)).map(|k| vec![(k, tokens)]).collect();
        let mut count = 0;
        while let Some(path) = open.pop() {
            if path.len() == depth {
                count += 1;
                continue;
            }
            for k in 0..at(config, &path) {
                open.push([path.as_slice(), &[(k, tokens)]].concat());
            }
        }
        count
    }

    #[test]
    fn a_worked_tree() {
        // Eight leaves: shares 4 and 4, then 2 each, then 1 each: lines from there.
        let config = Config::default();
        assert_eq!(at(&config, &[(0, 5)]), 2);
        assert_eq!(at(&config, &[(1, 5), (0, 5)]), 2);
        assert_eq!(at(&config, &[(1, 5), (0, 5), (1, 5)]), 1);
        // Five leaves for three attempts: shares 2, 2, 1; the third goes on in one line.
        let config = Config { attempts: 3, leaves: 5, ..config };
        assert_eq!([0, 1, 2].map(|k| at(&config, &[(k, 5)])), [2, 2, 1]);
    }

    #[test]
    fn never_more_leaves_than_the_budget_and_all_of_them_where_paths_are_long() {
        for attempts in 1..=5 {
            for branches in 1..=4 {
                for budget in attempts..=20 {
                    let config = Config { attempts, branches, leaves: budget, tokens: None };
                    let used = if branches == 1 { attempts } else { budget };
                    assert_eq!(leaves(&config, 7, 3), used, "{config:?}");
                }
            }
        }
    }

    #[test]
    fn a_spent_token_budget_goes_on_in_lines() {
        let config = Config { leaves: 64, tokens: Some(40), ..Config::default() };
        // Shares 20, 20; less 5 sampled is 15: fork into 8 and 7; less 5 is 3 and 2: fork; spent.
        assert_eq!(at(&config, &[(0, 5)]), 2);
        assert_eq!(at(&config, &[(0, 5), (1, 5)]), 2);
        assert_eq!(at(&config, &[(0, 5), (1, 6)]), 1);
        assert_eq!(at(&config, &[(0, 5), (1, 5), (0, 5)]), 1);
        assert_eq!(leaves(&config, 6, 5), 8);
    }

    #[test]
    fn one_branch_is_independent_attempts() {
        let config = Config { attempts: 8, branches: 1, leaves: 32, tokens: None };
        let independent = crate::grow::independent::Config { attempts: 8 };
        assert_eq!(opening(&config), crate::grow::independent::opening(&independent));
        assert_eq!(at(&config, &[(7, 5)]), 1);
        assert_eq!(at(&config, &[(7, 5), (0, 1)]), 1);
    }

    #[test]
    fn the_cost_model_of_reex_sql() {
        // Binary branching, depth D, equal segments: (2^(D+1) − 2) against D·2^D sampled tokens.
        for (depth, ratio) in [(3u32, 0.58), (4, 0.47), (5, 0.39)] {
            let leaves = 1 << depth;
            let config = Config { leaves, ..Config::default() };
            let mut open: Vec<Vec<(u32, u32)>> = vec![vec![(0, 1)], vec![(1, 1)]];
            let mut sampled = 0u32;
            while let Some(path) = open.pop() {
                sampled += 1;
                if path.len() < depth as usize {
                    let children = 0..at(&config, &path);
                    open.extend(children.map(|k| [path.as_slice(), &[(k, 1)]].concat()));
                }
            }
            let got = f64::from(sampled) / f64::from(depth * leaves);
            assert!((got - ratio).abs() < 0.005, "depth {depth}: {got}");
        }
    }
}
