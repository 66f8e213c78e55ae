//! What each step is worth: from the rewards of leaves to one number per policy step.
//!
//! Every method here is `credit(forest, rewards, config) -> Vec<Credit>`, one [`Credit`] per tree
//! (DECISIONS 3: a forest, because some methods compare trees). Only policy steps get a number;
//! prompt, environment and demonstration steps get `None`, and so does a step without a scored
//! leaf below it (INV-11, INV-12).

pub mod anchor_group;
pub mod backup;
pub mod depth_group;
pub mod effective_reward;
pub mod gae;
pub mod gpg;
pub mod group_mean;
pub mod leave_one_out;
pub mod length_weighted;
pub mod monte_carlo;
pub mod n_step;
pub mod pass_at_k;
pub mod permuted;
pub mod progress;
pub mod reinforce;
pub mod reinforce_plus_plus;
pub mod remax;
mod returns;
pub mod reverse_kl;
pub mod sibling;
pub mod uniform;

use stepwell_tree::{Credit, StepId, StepTree, recursive_mean};

/// The training reward of every scored leaf, made by a method of [`crate::reward`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Rewards {
    /// `[tree][step]`: `Some` on scored leaves, `None` on every other step.
    pub leaf: Vec<Vec<Option<f64>>>,
    /// `[tree][step]` rewards that policy steps earn at once, at their last token; 0 on every other
    /// step. `None` where the reward gives none. A path's return is the sum of both columns along
    /// it, so a leaf's own reward is then what its steps have not been given.
    pub step: Option<Vec<Vec<f64>>>,
}

impl Rewards {
    /// Rewards of leaves and no others.
    pub fn of_leaves(leaf: Vec<Vec<Option<f64>>>) -> Rewards {
        Rewards { leaf, step: None }
    }

    /// `[N]` what the steps of one tree earn at once; `None` where the reward gives none.
    pub fn at_steps(&self, tree: usize) -> Option<&[f64]> {
        self.step.as_ref().map(|step| step[tree].as_slice())
    }

    /// Rewards of the scored leaves of one tree, in order of step.
    pub fn scored(&self, tree: usize) -> Vec<f64> {
        self.leaf[tree].iter().flatten().copied().collect()
    }
}

/// Asserts that rewards belong to this forest and sit on leaves only.
fn assert_fits(forest: &[StepTree], rewards: &Rewards) {
    assert_eq!(forest.len(), rewards.leaf.len(), "trees in the forest and in the rewards");
    for (tree, leaf) in forest.iter().zip(&rewards.leaf) {
        assert_eq!(tree.len(), leaf.len(), "steps in the tree and in its rewards");
        for parent in &tree.parent[1..] {
            assert!(leaf[parent.index()].is_none(), "{parent:?} has children and a reward");
        }
        assert!(leaf.iter().flatten().all(|r| r.is_finite()), "a reward is not finite");
    }
    let Some(all) = &rewards.step else { return };
    assert_eq!(forest.len(), all.len(), "trees in the forest and in the rewards of steps");
    for (tree, own) in forest.iter().zip(all) {
        assert_eq!(tree.len(), own.len(), "steps in the tree and in their rewards");
        for (reward, origin) in own.iter().zip(&tree.origin) {
            assert!(reward.is_finite(), "the reward of a step is not finite");
            assert!(*reward == 0.0 || origin.is_policy(), "{origin:?} step with a reward");
        }
    }
}

/// `[T]` a column over tokens.
pub(crate) fn token_column<'a>(tree: &'a StepTree, name: &str) -> &'a [f32] {
    let column = tree.token_column.get(name);
    let column = column.unwrap_or_else(|| panic!("the column `{name}` was not filled"));
    assert_eq!(column.len(), tree.token.len(), "tokens in the tree and in `{name}`");
    column
}

/// `[N]` a column over steps.
pub(crate) fn step_column<'a>(tree: &'a StepTree, name: &str) -> &'a [f32] {
    let column = tree.step_column.get(name);
    let column = column.unwrap_or_else(|| panic!("the column `{name}` was not filled"));
    assert_eq!(column.len(), tree.len(), "steps in the tree and in `{name}`");
    column
}

/// The credit of a flat method on a tree (DECISIONS 6): leaves have an advantage, and a policy step
/// gets the recursive mean over its children of the advantages below. With independent attempts
/// every step of an attempt gets the attempt's advantage.
fn from_leaves(tree: &StepTree, advantage: impl FnMut(StepId) -> Option<f64>) -> Credit {
    let mut step = recursive_mean(tree, advantage);
    for (credit, origin) in step.iter_mut().zip(&tree.origin) {
        if !origin.is_policy() {
            *credit = None;
        }
    }
    Credit { step, token: None }
}
