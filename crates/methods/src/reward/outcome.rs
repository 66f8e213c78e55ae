//! # Outcome reward
//!
//! Paper: none; the reward of every outcome-based method (DeepSeekMath, arXiv 2402.03300, and on).
//! Idea: An attempt is worth what its environment says it is worth.
//! Formula: R(leaf) = outcome(leaf)
//! Reads: verdicts of leaves.
//! Differs: nothing to differ from.
//! Degenerate: unscored and pending leaves get `None`, which is in no mean; never 0.
//! Control: credit `uniform`, which trains the same tokens without reading the reward.

use stepwell_tree::StepTree;

use crate::Rewards;

/// The outcome of every scored leaf, `None` at every other step.
pub fn reward(forest: &[StepTree]) -> Rewards {
    let of = |tree: &StepTree| tree.verdict.iter().map(|verdict| verdict.reward()).collect();
    Rewards::of_leaves(forest.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::parse;

    #[test]
    fn only_scored_leaves_have_a_reward() {
        let tree = parse(
            "0 -  prompt q
             1 0  policy a    r=0.25 part:format=1
             2 0  policy b
             3 0  policy c    unscored=interrupted",
        );
        assert_eq!(reward(&[tree]).leaf, [[None, Some(0.25), None, None]]);
    }
}
