//! An environment that misbehaves on cue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stepwell_tree::{
    Environment, Episode, ForkError, Key, Opening, Stop, Task, Turn, UnscoredReason, Verdict,
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fork {
    Clones,
    Unsupported,
    Fails,
}

/// What an attempt is worth, from its task's question and the words of its steps.
pub(crate) type Judge = fn(&str, &[String]) -> Verdict;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) fork: Fork,
    /// Steps of an attempt.
    pub(crate) turns: usize,
    /// Every start of an episode shows in its observations.
    pub(crate) diverges: bool,
    pub(crate) judge: Judge,
    pub(crate) started: Arc<AtomicUsize>,
}

impl World {
    pub(crate) fn new(turns: usize, judge: Judge) -> World {
        let started = Arc::default();
        World { fork: Fork::Clones, turns, diverges: false, judge, started }
    }
}

pub(crate) fn task(question: &str) -> Task {
    Task { id: question.to_owned(), question: question.to_owned(), fields: BTreeMap::new() }
}

pub(crate) fn failed() -> UnscoredReason {
    UnscoredReason::EnvironmentFailed("on cue".to_owned())
}

#[derive(Clone)]
struct Attempt {
    world: World,
    question: String,
    number: usize,
    key: Key,
    said: Vec<String>,
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        assert!(self.said.len() < self.world.turns, "an episode goes on after its end");
        self.said.push(text.to_owned());
        if self.said.len() == self.world.turns || stop == Stop::Context {
            return Turn::End((self.world.judge)(&self.question, &self.said));
        }
        let started = if self.world.diverges { self.number } else { 0 };
        let draw = self.key.bits() % 1000;
        Turn::Observation(format!("[{started} {draw} {}]", self.said.join(" ")))
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        match self.world.fork {
            Fork::Clones => Ok(Box::new(self.clone())),
            Fork::Unsupported => Err(ForkError::Unsupported),
            Fork::Fails => Err(ForkError::Failed(failed())),
        }
    }
}

impl Environment for World {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn opening(&self, task: &Task) -> Opening {
        Opening { system: String::new(), user: task.question.clone() }
    }

    fn stop_strings(&self) -> Vec<String> {
        Vec::new()
    }

    fn reward_range(&self) -> (f64, f64) {
        (-1.0, 1.0)
    }

    fn parts(&self) -> Vec<String> {
        Vec::new()
    }

    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        if task.question.contains("broken") {
            return Err(failed());
        }
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let (world, question) = (self.clone(), task.question.clone());
        Ok(Box::new(Attempt { world, question, number, key, said: Vec::new() }))
    }

    fn answer(&self, _: &Task, text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}
