//! One turn of every attempt: a step has been sampled, the environment answers, the next steps are
//! queued.

use stepwell_methods::{Decision, GrowView, Run};
use stepwell_tree::{
    Completion, NewStep, Origin, PrefixId, StepId, Stop, Turn, UnscoredReason, Verdict,
};

use super::episode::{Attempt, cut_short, judgement};
use super::{Boundary, Live, Rollout};

impl Rollout<'_> {
    /// Records a sampled step and asks the environment. `None`: the attempt is over.
    pub(super) fn answer(&mut self, done: Completion) -> Option<Boundary> {
        let live = self.live.remove(&done.id).expect("a completion answers a request of ours");
        self.leave(live.prefix);
        let step = self.trees[live.tree].push(NewStep {
            parent: live.parent,
            child_index: live.child_index,
            origin: Origin::Policy(self.policy.version()),
            stop: done.stop,
            token: &done.token,
            logprob: &done.logprob,
        });
        self.texts[live.tree].push(done.text.clone());
        let mut attempt = match live.attempt {
            Ok(attempt) => attempt,
            Err(reason) => {
                return self.end(live.tree, step, done.prefix, Verdict::Unscored(reason));
            }
        };
        let text = match attempt.episode.step(&done.text, done.stop) {
            Turn::End(verdict) => return self.end(live.tree, step, done.prefix, verdict),
            Turn::Observation(text) => text,
        };
        let token = self.policy.encode(&text);
        let length = live.length + done.token.len() + token.len();
        if length + 1 > self.path_tokens() {
            // No room for an answer: the environment judges the attempt as cut short.
            let verdict = cut_short(attempt.episode.as_mut(), self.environment);
            return self.end(live.tree, step, done.prefix, verdict);
        }
        let observation = self.trees[live.tree].push(NewStep {
            parent: step,
            child_index: 0,
            origin: Origin::Environment,
            stop: Stop::NotSampled,
            token: &token,
            logprob: &[],
        });
        self.texts[live.tree].push(text);
        let mut path = live.path;
        path.push(Decision::new(live.child_index, &done.logprob));
        Some(Boundary {
            tree: live.tree,
            step: observation,
            key: live.key,
            path,
            prefix: done.prefix,
            length,
            token,
            manner: live.manner,
            attempt,
        })
    }

    fn end<T>(
        &mut self,
        tree: usize,
        leaf: StepId,
        prefix: PrefixId,
        verdict: Verdict,
    ) -> Option<T> {
        self.trees[tree].judge(leaf, judgement(verdict));
        self.policy.release(prefix);
        None
    }

    /// Computes the observations in one batch and queues what grows below each.
    pub(super) fn branch(&mut self, boundaries: Vec<Boundary>) {
        if boundaries.is_empty() {
            return;
        }
        let batch: Vec<(Option<PrefixId>, Vec<u32>)> =
            boundaries.iter().map(|b| (Some(b.prefix), b.token.clone())).collect();
        let prefixes = self.policy.extend(&batch);
        for (boundary, prefix) in boundaries.into_iter().zip(prefixes) {
            self.policy.release(boundary.prefix);
            let children = self.children(&boundary);
            self.users.insert(prefix, children);
            if self.plan.grow.is_search() {
                self.keep(&boundary, prefix);
            }
            self.submit_below(boundary, prefix, children);
        }
    }

    /// Steps that follow an observation at once.
    fn children(&self, boundary: &Boundary) -> u32 {
        let (grow, manner) = (self.plan.grow, boundary.manner);
        let children = match grow.is_search() {
            true => u32::from(manner.run == Run::ToTheEnd),
            false if manner.single => 1,
            false => grow.after_observation(&GrowView { path: &boundary.path }, boundary.key),
        };
        assert!(children > 0 || grow.is_search(), "a boundary continues at least once");
        children
    }

    fn submit_below(&mut self, boundary: Boundary, prefix: PrefixId, children: u32) {
        let at = boundary.step;
        let (tree, text) = (&self.trees[boundary.tree], &self.texts[boundary.tree]);
        let (environment, task) = (self.environment, self.tasks[boundary.tree]);
        // The last child takes the attempt itself; the others are made before it moves on.
        let mut attempts: Vec<Result<Attempt, UnscoredReason>> = (1..children)
            .map(|_| boundary.attempt.fork(environment, task, tree, text, at))
            .collect();
        attempts.push(Ok(boundary.attempt));
        for (child, attempt) in (0..children).zip(attempts) {
            self.submit(Live {
                tree: boundary.tree,
                parent: boundary.step,
                child_index: child,
                key: boundary.key.with(u64::from(child)),
                path: boundary.path.clone(),
                prefix,
                length: boundary.length,
                manner: boundary.manner,
                attempt,
            });
        }
    }

    /// One user less of a prefix; the last one releases it.
    pub(super) fn leave(&mut self, prefix: PrefixId) {
        let users = self.users.get_mut(&prefix).expect("a live step uses its prefix");
        *users -= 1;
        if *users == 0 {
            self.users.remove(&prefix);
            self.policy.release(prefix);
        }
    }
}
