//! # A limit on length (overlong filtering)
//!
//! Paper: DAPO, arXiv 2503.14476, section 3.4: overlong filtering.
//! Idea: An attempt that was cut off says little of the reasoning in it, and its reward punishes
//! the length. Let it count for its siblings' baseline and not train.
//! Formula: a leaf is masked ⇔ sampled tokens on its path > tokens_max, or, with `truncated`, its
//! last step ended for want of tokens; a step trains ⇔ some scored leaf below it is not masked
//! Reads: tokens, and why steps ended.
//! Differs: in a tree a step is shared, and it trains as long as one attempt through it may.
//! Degenerate: unscored leaves and companions do not count, and a companion is not masked; no leaf
//! masked: the tree as it is; all masked: the tree is dropped.
//! Control: `overlong` in the reward, which punishes what this ignores.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree, Stop, leaves, sampled_length};

use super::{Keep, assert_fits};
use crate::grow::is_companion;

/// What is too long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Most tokens that the policy may write on a path that trains, at least 1. Default none.
    pub tokens_max: Option<u64>,
    /// True masks what a limit of tokens cut off. Default true, DAPO's.
    pub truncated: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { tokens_max: None, truncated: true }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match (self.tokens_max, self.truncated) {
            (Some(0), _) => Some("`length.tokens_max` must be at least 1, got: 0".to_owned()),
            (None, false) => {
                Some("`length` masks nothing; set `tokens_max` or `truncated = true`".to_owned())
            }
            _ => None,
        }
    }
}

/// Masks attempts that are too long; `reward` is `[N]`, of scored leaves.
pub fn keep(tree: &StepTree, reward: &[Option<f64>], config: &Config) -> Keep {
    assert_fits(tree, reward);
    let length = sampled_length(tree);
    let companion = |i: usize| is_companion(tree, StepId(i as u32));
    let mut trains = vec![false; tree.len()];
    let (mut scored, mut masked) = (0, 0);
    for leaf in leaves(tree).into_iter().map(|leaf| leaf.index()) {
        if reward[leaf].is_none() || companion(leaf) {
            continue;
        }
        scored += 1;
        let long = config.tokens_max.is_some_and(|most| length[leaf] as u64 > most);
        let cut = config.truncated && matches!(tree.stop[leaf], Stop::Length | Stop::Context);
        trains[leaf] = !(long || cut);
        masked += usize::from(!trains[leaf]);
    }
    if masked == 0 {
        return Keep::All;
    }
    if masked == scored {
        return Keep::Nothing;
    }
    for i in (1..tree.len()).rev() {
        trains[tree.parent[i].index()] |= trains[i];
    }
    (1..tree.len()).filter(|&i| companion(i)).for_each(|i| trains[i] = true);
    Keep::Steps(trains)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::COMPANION;
    use stepwell_tree::{StepId, parse};

    fn tree() -> (StepTree, Vec<Option<f64>>) {
        let tree = parse(
            "0 -  prompt q q q q q q
             1 0  policy a a        r=1
             2 0  policy b
             3 2  environment o o o o
             4 3  policy c          r=0
             5 3  policy d d d      r=1
             6 0  policy e e e e    unscored=x",
        );
        let reward = tree.verdict.iter().map(|v| v.reward()).collect();
        (tree, reward)
    }

    #[test]
    fn a_worked_tree() {
        // Sampled tokens on the paths: a 2, c 2, d 4. Prompt and observation do not count.
        let (tree, reward) = tree();
        let most = |tokens| Config { tokens_max: Some(tokens), truncated: false };
        assert_eq!(keep(&tree, &reward, &most(4)), Keep::All);
        let shared = Keep::Steps(vec![true, true, true, true, true, false, false]);
        assert_eq!(keep(&tree, &reward, &most(3)), shared);
        assert_eq!(keep(&tree, &reward, &most(1)), Keep::Nothing);
    }

    #[test]
    fn what_was_cut_off_does_not_train() {
        let (mut tree, reward) = tree();
        assert_eq!(keep(&tree, &reward, &Config::default()), Keep::All);
        tree.stop[StepId(4).index()] = Stop::Length;
        tree.stop[StepId(5).index()] = Stop::Context;
        let above = Keep::Steps(vec![true, true, false, false, false, false, false]);
        assert_eq!(keep(&tree, &reward, &Config::default()), above);
        let off = Config { tokens_max: Some(9), truncated: false };
        assert_eq!(keep(&tree, &reward, &off), Keep::All);
    }

    #[test]
    fn a_companion_is_no_attempt() {
        // d of 4 tokens is masked, and c of 2 is a line beside it: all attempts left are a of 2.
        let (mut tree, reward) = tree();
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        let most = |tokens| Config { tokens_max: Some(tokens), truncated: false };
        let beside = Keep::Steps(vec![true, true, false, false, true, false, false]);
        assert_eq!(keep(&tree, &reward, &most(3)), beside);
        // A companion that is too long masks nothing, and one that is not saves nothing.
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(keep(&tree, &reward, &most(3)), Keep::All);
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(keep(&tree, &reward, &most(3)), Keep::Nothing);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let zero = Config { tokens_max: Some(0), truncated: true };
        assert!(zero.problem().is_some_and(|p| p.starts_with("`length.tokens_max`")));
        let idle = Config { tokens_max: None, truncated: false };
        assert!(idle.problem().is_some_and(|p| p.starts_with("`length` masks nothing")));
    }
}
