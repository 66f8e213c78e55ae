//! Where to sample next.
//!
//! A grow method answers two questions: how many steps to open below the prompt (`opening`), and
//! how many to open below an observation that came back (`after_observation`; 1 continues the
//! line). It never answers 0: a path ends when its environment ends it, or a token limit does.
//!
//! A *search* reads the whole tree instead, and is asked in rounds: when no step of a tree is live,
//! [`crate::Grow::search`] says where to open further steps, and an empty answer ends the tree. It
//! sees the tree in canonical order and as a whole, so it does not depend on arrival either.
//!
//! Some methods grow *companions*, steps that help to judge an attempt and are no attempt
//! themselves: a greedy baseline, Monte-Carlo continuations. The column [`COMPANION`] marks them.
//!
//! **Any other decision depends on its own path and on nothing else**: not on what siblings did,
//! nor on who came back first. So the engine may ask in any order, on any number of threads, after
//! any resume, and get the same tree (DECISIONS 2). This is why [`GrowView`] has no count of live
//! leaves: that number depends on arrival. Budgets for the whole tree are split at every fork among
//! its children, by index.

pub mod beam;
pub mod branch;
pub mod continuations;
pub mod first_pit;
pub mod fork_at_entropy;
pub mod greedy_baseline;
pub mod independent;
pub mod mcts;

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

/// The column over steps that is 1 on companions and 0 elsewhere; absent where a method grows none.
pub const COMPANION: &str = "companion";

/// How far steps go that a search opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Run {
    /// On in one line until the environment ends it.
    ToTheEnd,
    /// To the next observation, where the search decides again.
    OneStep,
}

/// Steps that a search opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Open {
    /// The prompt or an observation.
    pub at: StepId,
    /// How many, at least 1, after the children that it has.
    pub children: u32,
    /// How far they go.
    pub run: Run,
}

/// Which steps of a tree a search wants valued before it decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scores {
    /// None: it reads no value.
    Nowhere,
    /// Judged leaves: by a scorer where there is one, else their verdict's reward is the value.
    Leaves,
    /// Judged leaves, the prompt and observations; a scorer is needed.
    Everywhere,
}

/// What a search may know when no step of a tree is live.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SearchView<'a> {
    /// The tree, in canonical order. A leaf that is no policy step waits for a decision.
    pub tree: &'a StepTree,
    /// `[N]` values as [`Scores`] says; `None` elsewhere, and where nothing could be judged.
    pub value: &'a [Option<f64>],
    /// Decisions made before this one.
    pub round: u32,
}

/// True where a step is a companion.
pub fn is_companion(tree: &StepTree, step: StepId) -> bool {
    tree.step_column.get(COMPANION).is_some_and(|column| column[step.index()] != 0.0)
}

/// `[N]` marks for [`COMPANION`]: the steps that `first` names, and everything below them.
fn companions(tree: &StepTree, first: impl Fn(usize) -> bool) -> Vec<f32> {
    let mut mark = vec![0.0; tree.len()];
    for i in 1..tree.len() {
        mark[i] = if first(i) { 1.0 } else { mark[tree.parent[i].index()] };
    }
    mark
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
