//! What a prefix of a tree is worth, as somebody sees it who does not know how it ends.

use stepwell_methods::estimator::Aggregator;
use stepwell_methods::{EstimatorConfig, Grow, credit};
use stepwell_train::Learner;
use stepwell_tree::{
    Environment, Key, Policy, Sampling, StepId, StepTree, Task, children, leaves, path_to,
};

use crate::rollout::{Grown, Plan, Start, continue_from};

/// A path of a tree, from the prompt to a step.
#[derive(Clone, Copy, Debug)]
pub struct Prefix<'a> {
    /// The task that the tree attempts.
    pub task: &'a Task,
    /// The tree, in canonical order.
    pub tree: &'a StepTree,
    /// `[N]` the text of each of its steps.
    pub text: &'a [String],
    /// The last step of the path.
    pub step: StepId,
}

/// Values prefixes: a verifier. Searches read it, and a best-of-N is picked by it.
pub trait Scorer {
    /// One number per prefix, in order, the larger the better; a chance of success where the scorer
    /// has one. `None` where it could not judge: such a prefix is never picked before one that was
    /// judged. What is asked twice is answered alike.
    fn score(&mut self, asked: &[Prefix<'_>]) -> Vec<Option<f64>>;

    /// Tokens that the policy sampled for its answers so far: part of what a search costs.
    fn sampled_tokens(&self) -> u64 {
        0
    }
}

/// Monte-Carlo continuations: goes on from a prefix several times and asks the environment how it
/// came out. **It reads verdicts**, so it makes labels and upper bounds; it is no verifier that one
/// could deploy, and an accuracy that it picked must not be reported as one.
pub struct Continuations<'a> {
    /// Writes the continuations.
    pub policy: Box<dyn Policy + 'a>,
    /// Judges them.
    pub environment: &'a dyn Environment,
    /// Continuations of a prefix, at least 1.
    pub rollouts: u32,
    /// K: the score is the chance that one of K continuations succeeds; 1 is the mean reward.
    pub best_of: u32,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of a step.
    pub max_tokens: usize,
    /// Most tokens on a path; `None`: the policy's context.
    pub path_tokens: Option<usize>,
    /// The key that the trees were grown under.
    pub grown_under: Key,
    /// Tokens sampled so far.
    pub sampled: u64,
}

/// A learned verifier: what an estimator says of the steps of a path.
pub struct Learned<'a> {
    /// Has the head.
    pub learner: &'a mut Learner,
    /// What it learned, and so what its scores mean.
    pub method: &'a EstimatorConfig,
    /// How the scores of a path's steps make that of the path.
    pub aggregator: Aggregator,
    /// Tokens computed at once.
    pub tokens_max: usize,
}

impl Scorer for Learned<'_> {
    fn score(&mut self, asked: &[Prefix<'_>]) -> Vec<Option<f64>> {
        let mut score = Vec::with_capacity(asked.len());
        // Prefixes of one tree stand together: the tree is read once.
        for same in asked.chunk_by(|a, b| std::ptr::eq(a.tree, b.tree)) {
            let tree = same[0].tree;
            let said = self.learner.step_scores(std::slice::from_ref(tree), self.tokens_max);
            let said = said.expect("heads are computed on the processor, which does not fail");
            score.extend(same.iter().map(|prefix| self.of(tree, &said[0], prefix.step)));
        }
        score
    }
}

impl Learned<'_> {
    /// The score of a path; `None` where an estimator of steps is asked before the first.
    fn of(&self, tree: &StepTree, said: &[f32], step: StepId) -> Option<f64> {
        let written = |step: &StepId| tree.origin[step.index()].is_policy();
        let own: Vec<f32> = path_to(tree, step)
            .into_iter()
            .filter(written)
            .map(|step| self.method.column(said[step.index()]))
            .collect();
        match self.method {
            // The chance of the path as it stands, prompt and observations included.
            EstimatorConfig::PrefixValue(_) if self.aggregator == Aggregator::Last => {
                Some(f64::from(self.method.column(said[step.index()])))
            }
            EstimatorConfig::Progress(_) => Some(own.iter().map(|c| f64::from(*c)).sum()),
            _ => self.aggregator.aggregate(&own),
        }
    }
}

/// Lines that are sampled at once: bounds memory and changes no score.
const LINES_AT_ONCE: u32 = 1024;

/// Keeps the draws of continuations apart from those of the tree that they value.
const OWN_DRAWS: u64 = 0x5c0e;

impl Scorer for Continuations<'_> {
    fn score(&mut self, asked: &[Prefix<'_>]) -> Vec<Option<f64>> {
        let mut score: Vec<Option<f64>> = vec![None; asked.len()];
        let (mut starts, mut places) = (Vec::new(), Vec::new());
        for (place, prefix) in asked.iter().enumerate() {
            match boundary(prefix) {
                // An attempt that has ended has nothing to go on with.
                None => score[place] = prefix.tree.verdict[prefix.step.index()].reward(),
                Some(at) => {
                    let Prefix { task, tree, text, .. } = *prefix;
                    let grown_under = self.grown_under;
                    starts.push(Start { task, tree, text, at, grown_under });
                    places.push(place);
                }
            }
        }
        let plan = Plan {
            grow: &Grow::Independent(Default::default()),
            sampling: self.sampling,
            max_tokens: self.max_tokens,
            path_tokens: self.path_tokens,
            key: self.grown_under.with(OWN_DRAWS),
        };
        let lines = self.rollouts;
        let at_once = (LINES_AT_ONCE / lines).max(1) as usize;
        for (starts, places) in starts.chunks(at_once).zip(places.chunks(at_once)) {
            let policy = self.policy.as_mut();
            let grown = continue_from(policy, self.environment, starts, lines, &plan);
            for ((place, start), Grown { tree, .. }) in places.iter().zip(starts).zip(&grown) {
                let before = path_to(start.tree, start.at).len();
                let own = (before..tree.len()).filter(|&i| tree.origin[i].is_policy());
                self.sampled += own.map(|i| tree.span[i].len() as u64).sum::<u64>();
                score[*place] = mean(tree);
            }
        }
        let best_of = |q: f64| match self.best_of {
            1 => q,
            k => credit::progress::best_of(q, k),
        };
        score.into_iter().map(|q| q.map(best_of)).collect()
    }

    fn sampled_tokens(&self) -> u64 {
        self.sampled
    }
}

/// Where a path can be continued: its last step, or the observation after that; `None` where the
/// attempt has ended.
fn boundary(prefix: &Prefix<'_>) -> Option<StepId> {
    let Prefix { tree, step, .. } = *prefix;
    if !tree.origin[step.index()].is_policy() {
        return Some(step);
    }
    children(tree)[step.index()].first().copied()
}

/// The mean over the judged lines.
fn mean(tree: &StepTree) -> Option<f64> {
    let ends = leaves(tree);
    let rewards: Vec<f64> =
        ends.iter().filter_map(|leaf| tree.verdict[leaf.index()].reward()).collect();
    (!rewards.is_empty()).then(|| rewards.iter().sum::<f64>() / rewards.len() as f64)
}
