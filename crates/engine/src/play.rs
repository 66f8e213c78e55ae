//! A run's policy, step by step: candidates at a point, one of them taken, what the environment
//! answers. Nothing is written.

use std::path::Path;

use stepwell_store::RunFiles;
use stepwell_train::{Learner, LocalPolicy};
use stepwell_tree::{
    Environment, Episode, Key, Policy, PrefixId, Purpose, SampleRequest, Sampling, Stop, Task,
    Turn, UnscoredReason, Verdict,
};

use crate::error::EngineError;
use crate::judge::{own_recipe, policy};
use crate::problem::Problem;
use crate::recipe::Recipe;
use crate::rollout::{cut_short, judgement};

/// A policy of a run and the world it was trained in.
pub struct Player {
    recipe: Recipe,
    problem: Problem,
    learner: Learner,
    checkpoint: String,
}

/// Room for a step and a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Most tokens of one step.
    pub max_tokens: usize,
    /// Most tokens on a path; `None`: the policy's context.
    pub path_tokens: Option<usize>,
}

/// An attempt that goes on.
pub struct Attempt<'p> {
    policy: LocalPolicy<'p>,
    environment: &'p dyn Environment,
    room: Room,
    key: Key,
    draws: u64,
    here: Point,
    /// Points before, the newest last; those whose episode could not be copied are not kept.
    before: Vec<Point>,
}

/// Where an attempt stands.
struct Point {
    episode: Box<dyn Episode>,
    prefix: PrefixId,
    /// Tokens on the path.
    length: usize,
}

/// A step that was sampled and not taken yet.
#[derive(Clone, PartialEq, Debug)]
pub struct Candidate {
    /// The step decoded.
    pub text: String,
    /// Why it ended.
    pub stop: Stop,
    /// Log-probability of each token under the distribution it was drawn from, nats.
    pub logprob: Vec<f32>,
    prefix: PrefixId,
}

/// What follows a step.
#[derive(Clone, PartialEq, Debug)]
pub enum Reply {
    /// The attempt goes on after this.
    Observation(String),
    /// The attempt is over.
    End(Verdict),
}

impl Player {
    /// Opens a checkpoint of a run, the newest whole one where no number is given.
    ///
    /// # Errors
    /// Where the folder is no run, or has no such checkpoint.
    pub fn open(path: &Path, number: Option<u64>, threads: usize) -> Result<Player, EngineError> {
        let run = RunFiles::open(path)?;
        let recipe = own_recipe(&run)?;
        let problem = Problem::build(&recipe)?;
        let base = || problem.learner(&recipe, threads);
        let (checkpoint, learner) = policy(&run, number, &recipe, base, threads)?;
        Ok(Player { checkpoint, recipe, problem, learner })
    }

    /// The run's recipe.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Tasks and environment.
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The checkpoint's name.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// Begins an attempt at a task. `attempt` tells attempts at one task apart: the same seed, task
    /// and number draw the same steps.
    ///
    /// # Errors
    /// Where the world cannot be made, or the prompt leaves no room for a step.
    pub fn begin(
        &self,
        task: &Task,
        room: Room,
        seed: u64,
        attempt: u64,
    ) -> Result<Attempt<'_>, EngineError> {
        let environment = self.problem.environment.as_ref();
        let key = Key::new(seed, Purpose::Sample).with(u64::MAX - 1);
        let key = key.with_task(&task.hash()).with(attempt);
        let failed = |reason: UnscoredReason| {
            EngineError::Input(format!("task `{}` cannot be begun: {}", task.id, reason.label()))
        };
        let episode = environment.start(task, key).map_err(failed)?;
        let mut policy = self.learner.policy();
        policy.set_stop_strings(&environment.stop_strings());
        let prompt = policy.encode_opening(&environment.opening(task));
        let length = prompt.len();
        let prefix = policy.extend(&[(None, prompt)])[0];
        let here = Point { episode, prefix, length };
        let attempt =
            Attempt { policy, environment, room, key, draws: 0, here, before: Vec::new() };
        if attempt.left() == 0 {
            return Err(EngineError::Input(format!(
                "task `{}`: its prompt of {length} tokens fills the path; take another task",
                task.id
            )));
        }
        Ok(attempt)
    }
}

impl Attempt<'_> {
    /// Tokens that a path still has room for.
    pub fn left(&self) -> usize {
        let most = self.room.path_tokens.unwrap_or(usize::MAX).min(self.policy.context());
        most.saturating_sub(self.here.length)
    }

    /// Samples steps at this point, in the order of their draws. Every draw of an attempt is
    /// another one.
    pub fn candidates(&mut self, count: usize, sampling: Sampling) -> Vec<Candidate> {
        let first = self.draws;
        self.draws += count as u64;
        for id in first..self.draws {
            self.policy.submit(SampleRequest {
                id,
                parent: self.here.prefix,
                key: self.key.with(id),
                sampling,
                max_tokens: self.room.max_tokens.min(self.left()),
            });
        }
        let mut done = Vec::new();
        while done.len() < count {
            done.extend(self.policy.advance());
        }
        done.sort_by_key(|done| done.id);
        let candidate = |done: stepwell_tree::Completion| Candidate {
            text: done.text,
            stop: done.stop,
            logprob: done.logprob,
            prefix: done.prefix,
        };
        done.into_iter().map(candidate).collect()
    }

    /// Takes a step that was sampled at this point.
    pub fn take(&mut self, candidate: &Candidate) -> Reply {
        let tokens = candidate.logprob.len();
        self.step(&candidate.text, candidate.stop, candidate.prefix, tokens)
    }

    /// Takes a step in words of one's own. `None` where they do not fit.
    pub fn say(&mut self, text: &str) -> Option<Reply> {
        let token = self.policy.encode(text);
        if token.is_empty() || token.len() > self.left() {
            return None;
        }
        let tokens = token.len();
        let prefix = self.policy.extend(&[(Some(self.here.prefix), token)])[0];
        Some(self.step(text, Stop::StopString, prefix, tokens))
    }

    /// Goes back before the newest step. False where there is none, or its world could not be
    /// copied.
    pub fn back(&mut self) -> bool {
        let Some(point) = self.before.pop() else { return false };
        self.here = point;
        true
    }

    fn step(&mut self, text: &str, stop: Stop, prefix: PrefixId, tokens: usize) -> Reply {
        match self.here.episode.fork() {
            Ok(episode) => {
                let Point { prefix, length, .. } = self.here;
                self.before.push(Point { episode, prefix, length });
            }
            Err(_) => self.before.clear(),
        }
        let length = self.here.length + tokens;
        (self.here.prefix, self.here.length) = (prefix, length);
        let text = match self.here.episode.step(text, stop) {
            Turn::End(verdict) => return Reply::End(judgement(verdict)),
            Turn::Observation(text) => text,
        };
        let token = self.policy.encode(&text);
        if token.len() >= self.left() {
            // As in training: without room for an answer the attempt is judged as it stands.
            return Reply::End(cut_short(self.here.episode.as_mut(), self.environment));
        }
        self.here.length += token.len();
        self.here.prefix = self.policy.extend(&[(Some(prefix), token)])[0];
        Reply::Observation(text)
    }
}
