//! Searches, asked when nothing is live: all trees go in lockstep, so that what one sees depends on
//! rounds and not on arrival.

use std::collections::BTreeMap;

use stepwell_methods::{Decision, Open, Scores, SearchView};
use stepwell_tree::{Key, PrefixId, StepId, StepTree, UnscoredReason, Verdict};

use super::episode::Attempt;
use super::{Boundary, Grown, Live, Manner, Rollout, in_order};
use crate::scorer::{Prefix, Scorer};

/// A place where steps can be opened, the prompt or an observation, with what that takes.
pub(super) struct Kept {
    key: Key,
    path: Vec<Decision>,
    prefix: PrefixId,
    length: usize,
    world: World,
}

enum World {
    /// Below the prompt: a fresh episode for every step.
    Fresh,
    /// A copy of the episode, or why there is none.
    Held(Result<Attempt, UnscoredReason>),
    /// Nothing could be copied: the path is played again, in an episode started with this key.
    Again(Key),
}

impl Rollout<'_> {
    pub(super) fn keep_root(&mut self, tree: usize, key: Key, prefix: PrefixId, length: usize) {
        self.users.insert(prefix, 1);
        let kept = Kept { key, path: Vec::new(), prefix, length, world: World::Fresh };
        self.kept.insert((tree, StepId::ROOT), kept);
    }

    /// Keeps an observation's place. Its episode is copied here, before it moves on.
    pub(super) fn keep(&mut self, boundary: &Boundary, prefix: PrefixId) {
        *self.users.get_mut(&prefix).expect("a boundary has a prefix") += 1;
        let world = match boundary.attempt.copy() {
            Some(copied) => World::Held(copied),
            None => World::Again(boundary.attempt.key()),
        };
        let (key, path, length) = (boundary.key, boundary.path.clone(), boundary.length);
        let kept = Kept { key, path, prefix, length, world };
        self.kept.insert((boundary.tree, boundary.step), kept);
    }

    /// Opens steps below a kept place, after those that it has.
    fn expand(&mut self, t: usize, at: StepId, open: &Open) {
        let kept = self.kept.get(&(t, at)).expect("a search opens steps where they can be opened");
        let (tree, text) = (&self.trees[t], &self.texts[t]);
        let (environment, task) = (self.environment, self.tasks[t]);
        let first = tree.parent[1..].iter().filter(|parent| **parent == at).count() as u32;
        let mut lives = Vec::new();
        for child_index in first..first + open.children {
            let key = kept.key.with(u64::from(child_index));
            let attempt = match &kept.world {
                World::Fresh => Attempt::start(environment, task, key),
                World::Held(Ok(attempt)) => attempt.fork(environment, task, tree, text, at),
                World::Held(Err(reason)) => Err(reason.clone()),
                World::Again(start) => Attempt::again(environment, task, *start, tree, text, at),
            };
            let (path, prefix, length) = (kept.path.clone(), kept.prefix, kept.length);
            let manner = Manner { sampling: self.plan.sampling, run: open.run, single: false };
            let parent = at;
            lives.push(Live {
                tree: t,
                parent,
                child_index,
                key,
                path,
                prefix,
                length,
                manner,
                attempt,
            });
        }
        *self.users.get_mut(&kept.prefix).expect("a kept place has a prefix") += open.children;
        lives.into_iter().for_each(|live| self.submit(live));
    }

    /// Lets go of a tree's places; what is open in it stays without a verdict.
    fn close(&mut self, t: usize) {
        let range = (t, StepId::ROOT)..(t + 1, StepId::ROOT);
        let places: Vec<(usize, StepId)> = self.kept.range(range).map(|(at, _)| *at).collect();
        for place in places {
            let kept = self.kept.remove(&place).expect("it was listed");
            self.leave(kept.prefix);
        }
        let tree = &mut self.trees[t];
        for leaf in stepwell_tree::leaves(tree) {
            if tree.verdict[leaf.index()] == Verdict::Pending {
                tree.judge(leaf, Verdict::Unscored(UnscoredReason::Abandoned));
            }
        }
    }
}

/// The rounds of a forest's searches.
pub(super) struct Rounds<'r, 's> {
    scorer: Option<&'r mut (dyn Scorer + 's)>,
    round: u32,
    ended: Vec<bool>,
    /// What the scorer said of a tree's steps, by the ids that they have while it grows.
    score: Vec<BTreeMap<StepId, Option<f64>>>,
}

impl<'r, 's> Rounds<'r, 's> {
    pub(super) fn new(trees: usize, scorer: Option<&'r mut (dyn Scorer + 's)>) -> Rounds<'r, 's> {
        Rounds { scorer, round: 0, ended: vec![false; trees], score: vec![BTreeMap::new(); trees] }
    }

    /// Asks every tree that has not ended. False where all have.
    pub(super) fn next(&mut self, rollout: &mut Rollout<'_>) -> bool {
        let going: Vec<usize> = (0..self.ended.len()).filter(|&t| !self.ended[t]).collect();
        let seen: Vec<(usize, Grown, Vec<StepId>)> = going
            .into_iter()
            .map(|t| {
                let (tree, text) = (&rollout.trees[t], &rollout.texts[t]);
                (t, in_order(tree, text), tree.depth_first())
            })
            .collect();
        self.ask_scorer(rollout, &seen);
        for (t, grown, order) in &seen {
            let value = self.values(*t, &grown.tree, order);
            let view = SearchView { tree: &grown.tree, value: &value, round: self.round };
            let key = rollout.plan.key.with_task(&grown.tree.task);
            let opens = rollout.plan.grow.search(&view, key.with(u64::from(self.round)));
            if opens.is_empty() {
                self.ended[*t] = true;
                rollout.close(*t);
            }
            for open in &opens {
                rollout.expand(*t, order[open.at.index()], open);
            }
        }
        self.round += 1;
        self.ended.iter().any(|ended| !ended)
    }

    /// Scores what is new, of all trees in one batch.
    fn ask_scorer(&mut self, rollout: &Rollout<'_>, seen: &[(usize, Grown, Vec<StepId>)]) {
        let scores = rollout.plan.grow.scores();
        let Some(scorer) = self.scorer.as_deref_mut() else {
            assert!(scores != Scores::Everywhere, "the method reads scores: give it a scorer");
            return;
        };
        let (mut asked, mut places) = (Vec::new(), Vec::new());
        for (t, Grown { tree, text }, order) in seen {
            for (i, own) in order.iter().enumerate() {
                let judged = tree.verdict[i].reward().is_some();
                let boundary = !tree.origin[i].is_policy();
                let wanted = match scores {
                    Scores::Nowhere => false,
                    Scores::Leaves => judged,
                    Scores::Everywhere => judged || boundary,
                };
                if wanted && !self.score[*t].contains_key(own) {
                    let (task, step) = (rollout.tasks[*t], StepId(i as u32));
                    asked.push(Prefix { task, tree, text, step });
                    places.push((*t, *own));
                }
            }
        }
        if asked.is_empty() {
            return;
        }
        let scores = scorer.score(&asked);
        assert_eq!(scores.len(), asked.len(), "one score for each prefix");
        for ((t, own), score) in places.into_iter().zip(scores) {
            self.score[t].insert(own, score.filter(|score| score.is_finite()));
        }
    }

    /// `[N]` what a search reads of each step: scores, or verdicts where nothing scores.
    fn values(&self, t: usize, tree: &StepTree, order: &[StepId]) -> Vec<Option<f64>> {
        match &self.scorer {
            Some(_) => order.iter().map(|own| self.score[t].get(own).copied().flatten()).collect(),
            None => tree.verdict.iter().map(Verdict::reward).collect(),
        }
    }
}
