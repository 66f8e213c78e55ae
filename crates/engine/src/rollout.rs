//! Grows one tree per task: the policy writes a step, the environment answers, and where the grow
//! method says so the tree forks. All live steps of all trees decode together.
//!
//! Steps arrive in any order; what they are does not depend on it. Every draw is keyed by the path
//! of child indices (DECISIONS 2), grow decisions read the path alone, and finished trees are put
//! into canonical order. A search is asked when nothing is live (`rounds`); what one wants to know
//! of a place in a finished tree is found by going on from there (`resumed`).

mod arrival;
mod episode;
mod resumed;
mod rounds;
mod turn;

#[doc(hidden)]
pub use arrival::shuffle_arrivals;
pub use resumed::{Start, continue_from};

use std::collections::BTreeMap;

use stepwell_methods::{COMPANION, Decision, Grow, Run};
use stepwell_tree::{
    Environment, Key, Policy, PrefixId, SampleRequest, Sampling, StepId, StepTree, Task,
    UnscoredReason,
};

use crate::scorer::Scorer;
use arrival::Arrivals;
use episode::Attempt;
pub(crate) use episode::{cut_short, judgement};
use rounds::{Kept, Rounds};

/// How trees are grown.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Where to sample next.
    pub grow: &'a Grow,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of one policy step.
    pub max_tokens: usize,
    /// Most tokens on a path, prompt and observations included; `None`: the policy's context.
    pub path_tokens: Option<usize>,
    /// Names the draws: seed, purpose, stage, update.
    pub key: Key,
}

/// A finished tree with the text of its steps.
#[derive(Clone, Debug)]
pub struct Grown {
    /// The tree, in canonical order.
    pub tree: StepTree,
    /// `[N]` the text of each step; the root's is the prompt.
    pub text: Vec<String>,
}

/// How an attempt goes on.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Manner {
    sampling: Sampling,
    /// What a search asked for; attempts of other methods go on as their method says.
    run: Run,
    /// A companion that never forks.
    single: bool,
}

/// A policy step that is being sampled.
struct Live {
    tree: usize,
    parent: StepId,
    child_index: u32,
    key: Key,
    /// Choices above this one.
    path: Vec<Decision>,
    prefix: PrefixId,
    length: usize,
    manner: Manner,
    /// `Err` where the harness could not provide a world: the leaf will be unscored.
    attempt: Result<Attempt, UnscoredReason>,
}

/// An observation that waits to be computed, with what will be sampled below it.
struct Boundary {
    tree: usize,
    step: StepId,
    key: Key,
    path: Vec<Decision>,
    prefix: PrefixId,
    length: usize,
    token: Vec<u32>,
    manner: Manner,
    attempt: Attempt,
}

struct Rollout<'a> {
    policy: &'a mut dyn Policy,
    environment: &'a dyn Environment,
    tasks: &'a [&'a Task],
    plan: &'a Plan<'a>,
    trees: Vec<StepTree>,
    texts: Vec<Vec<String>>,
    live: BTreeMap<u64, Live>,
    requests: u64,
    /// How many live steps and waiting boundaries hang on a prefix; 0 releases its keys and values.
    users: BTreeMap<PrefixId, u32>,
    /// Places where a search may still open steps; nothing for other methods.
    kept: BTreeMap<(usize, StepId), Kept>,
}

/// Grows one tree per task. `on_round` is called after every decoding round with the number of
/// steps still live, so that a caller can show progress.
pub fn grow_forest(
    policy: &mut dyn Policy,
    environment: &dyn Environment,
    tasks: &[&Task],
    plan: &Plan<'_>,
    on_round: impl FnMut(usize),
) -> Vec<Grown> {
    search_forest(policy, environment, tasks, plan, None, on_round)
}

/// As [`grow_forest`], with a scorer for searches that read scores.
///
/// Panics where the plan's method reads scores and there is no scorer.
pub fn search_forest(
    policy: &mut dyn Policy,
    environment: &dyn Environment,
    tasks: &[&Task],
    plan: &Plan<'_>,
    scorer: Option<&mut (dyn Scorer + '_)>,
    mut on_round: impl FnMut(usize),
) -> Vec<Grown> {
    let mut rollout = Rollout::new(policy, environment, tasks, plan);
    rollout.open();
    rollout.decode(&mut on_round);
    if plan.grow.is_search() {
        let mut rounds = Rounds::new(tasks.len(), scorer);
        while rounds.next(&mut rollout) {
            rollout.decode(&mut on_round);
        }
    }
    rollout.finish()
}

/// A tree in canonical order, with its texts.
fn in_order(tree: &StepTree, text: &[String]) -> Grown {
    let order = tree.depth_first();
    let tree = tree.canonical();
    Grown { text: order.iter().map(|step| text[step.index()].clone()).collect(), tree }
}

impl<'a> Rollout<'a> {
    fn new(
        policy: &'a mut dyn Policy,
        environment: &'a dyn Environment,
        tasks: &'a [&'a Task],
        plan: &'a Plan<'a>,
    ) -> Rollout<'a> {
        policy.set_stop_strings(&environment.stop_strings());
        Rollout {
            policy,
            environment,
            tasks,
            plan,
            trees: Vec::new(),
            texts: Vec::new(),
            live: BTreeMap::new(),
            requests: 0,
            users: BTreeMap::new(),
            kept: BTreeMap::new(),
        }
    }

    /// Samples until nothing is live.
    fn decode(&mut self, on_round: &mut impl FnMut(usize)) {
        let mut arrivals = Arrivals::new();
        while !self.live.is_empty() {
            let completions = arrivals.next(self.policy, self.live.len());
            let boundaries: Vec<Boundary> =
                completions.into_iter().filter_map(|done| self.answer(done)).collect();
            self.branch(boundaries);
            on_round(self.live.len());
        }
    }

    fn finish(self) -> Vec<Grown> {
        let companions = |mut grown: Grown| {
            if let Some(column) = self.plan.grow.companions(&grown.tree) {
                grown.tree.step_column.insert(COMPANION.to_owned(), column);
            }
            grown
        };
        let grown = self.trees.iter().zip(&self.texts).map(|(tree, text)| in_order(tree, text));
        grown.map(companions).collect()
    }

    /// Starts every task: prompts are computed in one batch, then the first steps are queued.
    fn open(&mut self) {
        let (environment, tasks) = (self.environment, self.tasks);
        let mut prompts = Vec::new();
        for task in tasks {
            let opening = environment.opening(task);
            let prompt = self.policy.encode_opening(&opening);
            self.texts.push(vec![format!("{}{}", opening.system, opening.user)]);
            self.trees.push(StepTree::new(task.hash(), &prompt));
            prompts.push((None, prompt));
        }
        let prefixes = self.policy.extend(&prompts);
        for (t, task) in tasks.iter().enumerate() {
            let key = self.plan.key.with_task(&task.hash());
            let (prefix, length) = (prefixes[t], prompts[t].1.len());
            if self.plan.grow.is_search() {
                self.keep_root(t, key, prefix, length);
                continue;
            }
            let children = self.plan.grow.opening();
            self.users.insert(prefix, children);
            for child in 0..children {
                let own =
                    if stepwell_mutant::planted(14) { key } else { key.with(u64::from(child)) };
                let live = Live {
                    tree: t,
                    parent: StepId::ROOT,
                    child_index: child,
                    key: own,
                    path: Vec::new(),
                    prefix,
                    length,
                    manner: self.manner(child),
                    attempt: Attempt::start(environment, task, own),
                };
                self.submit(live);
            }
        }
    }

    /// How a step below the prompt is sampled, and what follows it.
    fn manner(&self, child: u32) -> Manner {
        let single = self.plan.grow.is_greedy(child);
        let sampling = if single { Sampling::GREEDY } else { self.plan.sampling };
        Manner { sampling, run: Run::ToTheEnd, single }
    }

    fn path_tokens(&self) -> usize {
        self.plan.path_tokens.unwrap_or(usize::MAX).min(self.policy.context())
    }

    fn submit(&mut self, live: Live) {
        let room = self.path_tokens().saturating_sub(live.length);
        assert!(room > 0, "a prompt fills its path: tasks are checked before a run starts");
        self.requests += 1;
        self.policy.submit(SampleRequest {
            id: self.requests,
            parent: live.prefix,
            key: live.key,
            sampling: live.manner.sampling,
            max_tokens: self.plan.max_tokens.min(room),
        });
        self.live.insert(self.requests, live);
    }
}
