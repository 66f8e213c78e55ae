//! What a run tells while it goes on. The engine prints nothing; whoever runs it may listen.

use std::collections::BTreeMap;
use std::path::Path;

use crate::evaluation::Evaluation;

/// Numbers by name; names are listed in docs/METRICS.md.
pub type Metrics = BTreeMap<String, f64>;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A stage begins, or goes on at `done` after a resume.
    StageStarted {
        /// Index in the recipe, from 0.
        stage: usize,
        /// `sft`, `rl`, `preference`, `rejection`, `estimator`, `offline` or `evaluate`.
        kind: &'static str,
        /// Steps finished before.
        done: usize,
        /// Steps in all.
        steps: usize,
    },
    /// Sampling goes on: this many policy steps are live.
    Sampling {
        /// Steps being sampled.
        live: usize,
    },
    /// An optimizer update is over and committed.
    Step {
        /// Index of the stage.
        stage: usize,
        /// Steps finished.
        done: usize,
        /// What was measured.
        metrics: &'a Metrics,
    },
    /// Held-out tasks were answered.
    Evaluated {
        /// Index of the stage.
        stage: usize,
        /// Steps finished when it happened.
        done: usize,
        /// What came out, with sample answers.
        evaluation: &'a Evaluation,
    },
    /// A checkpoint is on disk.
    Checkpointed {
        /// Its folder.
        path: &'a Path,
    },
    /// A guard is alarmed; the run goes on. What it saw, and what to look at.
    Alarm(String),
    /// Something a person should read.
    Note(String),
}

/// Listens to a run.
pub trait Observer {
    /// Called in order, on the thread that runs the loop.
    fn event(&mut self, event: Event<'_>);

    /// True where the run should finish its step, write a checkpoint and stop.
    fn stop_requested(&self) -> bool;
}

/// Listens to nothing and never stops.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _: Event<'_>) {}

    fn stop_requested(&self) -> bool {
        false
    }
}
