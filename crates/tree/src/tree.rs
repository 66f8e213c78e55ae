//! All attempts at one task as one tree: columns over steps, one arena of tokens.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{NOT_SAMPLED, Origin, PolicyVersion, Span, StepId, Stop, TaskHash, Verdict};

/// N steps and T tokens. `parent[i] < i`, so loops replace recursion and a backup is a reverse
/// `for` (INV-2). Ids never change while a tree grows; [`StepTree::canonical`] gives the order in
/// which trees are committed, which does not depend on arrival.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepTree {
    /// The task that is attempted.
    pub task: TaskHash,
    /// `[N]` the step this one continues; the root points at itself.
    pub parent: Vec<StepId>,
    /// `[N]` place among its parent's children, from the grow decision and not from arrival.
    pub child_index: Vec<u32>,
    /// `[N]` range into `token`; ranges do not overlap and cover the arena.
    pub span: Vec<Span>,
    /// `[N]` who wrote the step.
    pub origin: Vec<Origin>,
    /// `[N]` why a policy step ended.
    pub stop: Vec<Stop>,
    /// `[N]` judgement; `Pending` on inner steps.
    pub verdict: Vec<Verdict>,
    /// `[T]` the arena, in creation order.
    pub token: Vec<u32>,
    /// `[T]` log-probability under the distribution really sampled from; [`NOT_SAMPLED`] where the
    /// policy did not write the token. Never NaN.
    pub logprob: Vec<f32>,
    /// Named columns over steps `[N]` that a method declares and the engine fills: `mc_value` ...
    pub step_column: BTreeMap<String, Vec<f32>>,
    /// Named columns over tokens `[T]`: `reference_logprob`, `value` ...
    pub token_column: BTreeMap<String, Vec<f32>>,
}

/// A step about to be added.
#[derive(Clone, Debug)]
pub struct NewStep<'a> {
    /// The step it continues.
    pub parent: StepId,
    /// Place among its siblings.
    pub child_index: u32,
    /// Who wrote it.
    pub origin: Origin,
    /// Why it ended, for policy steps.
    pub stop: Stop,
    /// Its tokens.
    pub token: &'a [u32],
    /// Their log-probabilities: as many as tokens for a policy step, empty for any other.
    pub logprob: &'a [f32],
}

impl StepTree {
    /// A tree that holds its prompt only.
    pub fn new(task: TaskHash, prompt: &[u32]) -> Self {
        StepTree {
            task,
            parent: vec![StepId::ROOT],
            child_index: vec![0],
            span: vec![Span { begin: 0, end: prompt.len() as u32 }],
            origin: vec![Origin::Prompt],
            stop: vec![Stop::NotSampled],
            verdict: vec![Verdict::Pending],
            token: prompt.to_vec(),
            logprob: vec![NOT_SAMPLED; prompt.len()],
            step_column: BTreeMap::new(),
            token_column: BTreeMap::new(),
        }
    }

    /// Number of steps, N.
    pub fn len(&self) -> usize {
        self.parent.len()
    }

    /// Never true: a tree has its prompt.
    pub fn is_empty(&self) -> bool {
        self.parent.is_empty()
    }

    /// Appends a step and returns its id.
    ///
    /// Panics where the step would break the tree: an unknown parent, a judged parent, a policy
    /// step without one finite log-probability per token.
    pub fn push(&mut self, step: NewStep<'_>) -> StepId {
        assert!(step.parent.index() < self.len(), "parent {:?} does not exist", step.parent);
        assert!(
            self.verdict[step.parent.index()] == Verdict::Pending,
            "step {:?} is judged: nothing may follow it",
            step.parent
        );
        let expected = if step.origin.is_policy() { step.token.len() } else { 0 };
        assert_eq!(step.logprob.len(), expected, "log-probs of a {:?} step", step.origin);
        assert!(step.logprob.iter().all(|l| l.is_finite()), "a log-prob is not finite");
        let begin = self.token.len() as u32;
        self.token.extend_from_slice(step.token);
        if step.origin.is_policy() {
            self.logprob.extend_from_slice(step.logprob);
        } else {
            self.logprob.resize(self.token.len(), NOT_SAMPLED);
        }
        self.parent.push(step.parent);
        self.child_index.push(step.child_index);
        self.span.push(Span { begin, end: self.token.len() as u32 });
        self.origin.push(step.origin);
        self.stop.push(step.stop);
        self.verdict.push(Verdict::Pending);
        StepId(self.len() as u32 - 1)
    }

    /// Records the judgement of a leaf. Panics when it is judged already or has children.
    pub fn judge(&mut self, leaf: StepId, verdict: Verdict) {
        assert!(self.verdict[leaf.index()] == Verdict::Pending, "{leaf:?} is judged already");
        assert!(
            !self.parent.iter().enumerate().skip(1).any(|(_, p)| *p == leaf),
            "{leaf:?} has children: verdicts sit on leaves"
        );
        self.verdict[leaf.index()] = verdict;
    }

    /// Tokens of a step.
    pub fn tokens(&self, step: StepId) -> &[u32] {
        &self.token[self.span[step.index()].range()]
    }

    /// Behaviour log-probabilities of a step.
    pub fn logprobs(&self, step: StepId) -> &[f32] {
        &self.logprob[self.span[step.index()].range()]
    }

    /// The version of the weights that wrote the tree; `None` where the policy wrote nothing.
    pub fn policy_version(&self) -> Option<PolicyVersion> {
        self.origin.iter().find_map(|origin| match origin {
            Origin::Policy(version) => Some(*version),
            _ => None,
        })
    }

    /// U: unique tokens. Each is computed once.
    pub fn unique_tokens(&self) -> usize {
        self.token.len()
    }

    /// F: tokens of all root-to-leaf rows, which a flat representation computes.
    pub fn flat_tokens(&self) -> usize {
        let mut depth = vec![0usize; self.len()];
        let mut inner = vec![false; self.len()];
        for i in 0..self.len() {
            let parent = self.parent[i].index();
            depth[i] = self.span[i].len() + if i == 0 { 0 } else { depth[parent] };
            if i > 0 {
                inner[parent] = true;
            }
        }
        (0..self.len()).filter(|&i| !inner[i]).map(|i| depth[i]).sum()
    }

    /// The same tree with steps in depth-first order of child indices and the arena to match:
    /// whatever order steps arrived in, equal decisions give equal bytes (DECISIONS 2).
    #[must_use]
    pub fn canonical(&self) -> StepTree {
        let order = self.depth_first();
        let mut place = vec![StepId::ROOT; self.len()];
        for (new, old) in order.iter().enumerate() {
            place[old.index()] = StepId(new as u32);
        }
        let mut tree = StepTree {
            parent: order.iter().map(|old| place[self.parent[old.index()].index()]).collect(),
            child_index: order.iter().map(|old| self.child_index[old.index()]).collect(),
            origin: order.iter().map(|old| self.origin[old.index()]).collect(),
            stop: order.iter().map(|old| self.stop[old.index()]).collect(),
            verdict: order.iter().map(|old| self.verdict[old.index()].clone()).collect(),
            ..StepTree::new(self.task, &[])
        };
        tree.span.clear();
        for old in &order {
            let begin = tree.token.len() as u32;
            tree.token.extend_from_slice(self.tokens(*old));
            tree.logprob.extend_from_slice(self.logprobs(*old));
            tree.span.push(Span { begin, end: tree.token.len() as u32 });
        }
        for (name, column) in &self.step_column {
            let moved = order.iter().map(|old| column[old.index()]).collect();
            tree.step_column.insert(name.clone(), moved);
        }
        for (name, column) in &self.token_column {
            let moved = order.iter().flat_map(|old| &column[self.span[old.index()].range()]);
            tree.token_column.insert(name.clone(), moved.copied().collect());
        }
        tree
    }

    /// Steps in depth-first order, children by child index.
    pub fn depth_first(&self) -> Vec<StepId> {
        let mut below: Vec<Vec<StepId>> = vec![Vec::new(); self.len()];
        for i in 1..self.len() {
            below[self.parent[i].index()].push(StepId(i as u32));
        }
        let mut order = Vec::with_capacity(self.len());
        let mut open = vec![StepId::ROOT];
        while let Some(step) = open.pop() {
            order.push(step);
            let children = &mut below[step.index()];
            children.sort_by_key(|child| std::cmp::Reverse(self.child_index[child.index()]));
            open.append(children);
        }
        order
    }
}
