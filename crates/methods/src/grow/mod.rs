//! Where to sample next.
//!
//! A grow method answers two questions: how many steps to open below the prompt (`opening`), and
//! how many to open below an observation that came back (`after_observation`; 1 continues the
//! line). It never answers 0: a path ends when its environment ends it, or a token limit does.
//!
//! **A decision depends on its own path and on nothing else**: not on what siblings did, nor on who
//! came back first. So the engine may ask in any order, on any number of threads, after any resume,
//! and get the same tree (DECISIONS 2). This is why [`GrowView`] has no count of live leaves: that
//! number depends on arrival. Budgets for the whole tree are split at every fork among its
//! children, by index.

pub mod branch;
pub mod fork_at_entropy;
pub mod independent;

use stepwell_tree::{StepId, StepTree, path_to};

/// One choice on a path: which of the steps that were opened there the path took.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Decision {
    /// Place among the siblings, from 0.
    pub child_index: u32,
    /// Tokens the policy sampled in that step.
    pub tokens: u32,
    /// Mean over those tokens of −log p as they were sampled, nats; 0 for a step without tokens.
    pub surprisal: f64,
}

impl Decision {
    /// The choice that led to a step of the policy, from its tokens' log-probabilities.
    pub fn new(child_index: u32, logprob: &[f32]) -> Decision {
        let sum: f64 = logprob.iter().map(|l| f64::from(*l)).sum();
        let tokens = logprob.len() as u32;
        Decision { child_index, tokens, surprisal: -sum / f64::from(tokens.max(1)) }
    }
}

/// What a grow method may know when an observation has come back.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct GrowView<'a> {
    /// The policy's steps from the root to this boundary, in order; at least one.
    pub path: &'a [Decision],
}

impl GrowView<'_> {
    /// Policy steps on the path.
    pub fn depth_in_decisions(&self) -> usize {
        self.path.len()
    }

    /// Tokens the policy sampled on the path.
    pub fn tokens_sampled(&self) -> u64 {
        self.path.iter().map(|decision| u64::from(decision.tokens)).sum()
    }
}

/// The decisions on the path from the root to a step, the step included: what [`GrowView`] reads.
pub fn decisions(tree: &StepTree, step: StepId) -> Vec<Decision> {
    let path = path_to(tree, step).into_iter();
    let policy = path.filter(|s| tree.origin[s.index()].is_policy());
    policy.map(|s| Decision::new(tree.child_index[s.index()], tree.logprobs(s))).collect()
}
