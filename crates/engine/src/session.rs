//! A run that is going on: what stages share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use stepwell_store::{Digest, Evaluation as StoredEvaluation, Record, RunFolder};
use stepwell_train::{Learner, Reference};
use stepwell_tree::{Credit, Key, Purpose, StepTree};

use crate::checkpoint::{self, Occasion};
use crate::companion::Companions;
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::guard::{self, Broken};
use crate::memory::Memory;
use crate::observe::{Event, Metrics, Observer};
use crate::problem::Problem;
use crate::recipe::Recipe;
use crate::rollout::Grown;
use crate::stage::Bench;

/// Where a run is: everything before this place is done and in the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Place {
    /// Index of the stage.
    pub stage: usize,
    /// Steps of the stage that are done.
    pub done: usize,
    /// Tokens the policy has sampled for training in this stage.
    pub sampled_tokens: u64,
}

/// Names an evaluation on the development split while a stage trains.
pub(crate) const DEVELOPMENT: &str = "development";

/// Whether a stage came to its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Flow {
    Done,
    Stopped,
}

/// A run in progress.
pub(crate) struct Session<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) problem: &'a Problem,
    pub(crate) folder: &'a RunFolder,
    pub(crate) record: Record,
    pub(crate) learner: Learner,
    /// The weights as the stage found them, where its objective compares with them.
    pub(crate) reference: Option<Reference>,
    /// The model that a stage learns from, while it runs.
    pub(crate) teacher: Option<Arc<Reference>>,
    /// The model that labels a stage's pairs, while it runs.
    pub(crate) judge: Option<Bench>,
    /// Learners beside the policy.
    pub(crate) companions: Companions,
    pub(crate) place: Place,
    /// What the stage keeps from update to update.
    pub(crate) memory: Memory,
    pub(crate) observer: &'a mut dyn Observer,
}

/// Where the parts of an update spend their time, in seconds; kept outside every digest.
pub(crate) struct Stopwatch {
    since: Instant,
    parts: BTreeMap<String, f64>,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Stopwatch { since: Instant::now(), parts: BTreeMap::new() }
    }

    /// Ends a part.
    pub(crate) fn lap(&mut self, part: &str) -> f64 {
        let seconds = self.since.elapsed().as_secs_f64();
        *self.parts.entry(part.to_owned()).or_default() += seconds;
        self.since = Instant::now();
        seconds
    }

    pub(crate) fn parts(&self) -> &BTreeMap<String, f64> {
        &self.parts
    }
}

impl Session<'_> {
    /// The root of this stage's draws for one purpose.
    pub(crate) fn key(&self, purpose: Purpose) -> Key {
        Key::new(self.recipe.seed, purpose).with(self.place.stage as u64)
    }

    /// Commits trees and their credit, before anything trains on them (INV-15).
    pub(crate) fn commit_grown(
        &mut self,
        forest: &[Grown],
        credits: &[Credit],
        metrics: &Metrics,
        timing: &Metrics,
    ) -> Result<(), EngineError> {
        let trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
        self.credit_is_right(guard::credits(&trees, credits))?;
        let texts: Vec<Vec<Option<String>>> =
            forest.iter().map(|grown| grown.text.iter().cloned().map(Some).collect()).collect();
        self.record.commit_grown(&stepwell_store::Grown {
            stage: self.place.stage as u32,
            update: self.place.done as u64,
            trees: &trees,
            texts: &texts,
            credits,
            metrics: Some(metrics),
            timing: Some(timing),
        })?;
        Ok(())
    }

    /// Stops where a check of credit found something.
    pub(crate) fn credit_is_right(&self, found: Result<(), Broken>) -> Result<(), EngineError> {
        let (stage, update) = (self.place.stage, self.place.done);
        found.map_err(|what| EngineError::Credit { stage, update, what })
    }

    /// Before an update, a checkpoint or a stage reads them: the user's files are those that the
    /// run began with, and all weights those that the last update left.
    pub(crate) fn require_whole(&self) -> Result<(), EngineError> {
        self.problem.require_unchanged()?;
        self.require_weights()
    }

    /// All weights are those that the last update left.
    pub(crate) fn require_weights(&self) -> Result<(), EngineError> {
        let (stage, update) = (self.place.stage, self.place.done);
        let failed = |source| EngineError::Train { stage, update, source };
        self.learner.require_unmoved().map_err(failed)?;
        self.companions.values().try_for_each(|own| own.require_unmoved().map_err(failed))
    }

    /// From here on weights that change on their own are noticed; those that are no numbers are at
    /// once, before anything says that they are there.
    pub(crate) fn seal(&mut self, update: usize) -> Result<(), EngineError> {
        let stage = self.place.stage;
        let failed = |source| EngineError::Train { stage, update, source };
        self.learner.seal().map_err(failed)?;
        self.companions.values_mut().try_for_each(|own| own.seal().map_err(failed))
    }

    /// The trees of this update where a run that was stopped had grown and committed them.
    pub(crate) fn recorded_forest(&self) -> Result<Option<Vec<Grown>>, EngineError> {
        self.recorded(self.place.done)
    }

    /// The trees that an update of this stage committed; `None` where it grew none, or has not yet.
    pub(crate) fn recorded(&self, update: usize) -> Result<Option<Vec<Grown>>, EngineError> {
        self.recorded_of(self.place.stage, update)
    }

    /// The trees that an update of a stage committed; `None` where it grew none.
    pub(crate) fn recorded_of(
        &self,
        stage: usize,
        update: usize,
    ) -> Result<Option<Vec<Grown>>, EngineError> {
        let (stage, update) = (stage as u32, update as u64);
        let Some(stored) = self.record.read().grown(stage, update)? else { return Ok(None) };
        let grown = stored.into_iter().map(|stored| Grown {
            tree: stored.tree,
            text: stored.text.into_iter().map(Option::unwrap_or_default).collect(),
        });
        Ok(Some(grown.collect()))
    }

    /// Commits an update that is done. Call it after the place has moved on.
    pub(crate) fn commit_updated(
        &mut self,
        metrics: &Metrics,
        timing: &Metrics,
    ) -> Result<(), EngineError> {
        self.seal(self.place.done - 1)?;
        self.record.commit_updated(&stepwell_store::Updated {
            stage: self.place.stage as u32,
            update: self.place.done as u64 - 1,
            version: self.learner.version(),
            weights: self.learner.fingerprint().map(|sum| Digest::of(&sum.to_le_bytes())),
            metrics,
            timing: Some(timing),
        })?;
        Ok(())
    }

    /// Commits what was measured on held-out tasks and tells the observer.
    pub(crate) fn commit_evaluation(
        &mut self,
        name: &str,
        evaluation: &Evaluation,
        seconds: f64,
    ) -> Result<(), EngineError> {
        let samples: Vec<stepwell_store::Sample> = evaluation
            .samples
            .iter()
            .map(|sample| stepwell_store::Sample {
                task: sample.task_hash,
                answer: sample.answer.clone(),
                verdict: sample.verdict.clone(),
            })
            .collect();
        self.record.commit_evaluation(&StoredEvaluation {
            stage: self.place.stage as u32,
            update: self.place.done as u64,
            name,
            metrics: &evaluation.metrics,
            samples: &samples,
            trees: &[],
            texts: &[],
            timing: Some(&Metrics::from([("evaluate".to_owned(), seconds)])),
        })?;
        let (stage, done) = (self.place.stage, self.place.done);
        self.observer.event(Event::Evaluated { stage, done, evaluation });
        Ok(())
    }

    /// Writes a checkpoint of this place.
    pub(crate) fn checkpoint(&mut self, why: Occasion) -> Result<(), EngineError> {
        self.require_weights()?;
        let path = checkpoint::write(self, why)?;
        self.observer.event(Event::Checkpointed { path: &path });
        Ok(())
    }

    /// After a step: a checkpoint where one is due or a stop was asked for.
    pub(crate) fn after_step(&mut self, every: usize, steps: usize) -> Result<Flow, EngineError> {
        let due = every > 0 && self.place.done.is_multiple_of(every);
        let stop = self.observer.stop_requested();
        if due && self.place.done < steps {
            self.checkpoint(Occasion::Planned)?;
        } else if stop {
            self.checkpoint(Occasion::Stop)?;
        }
        Ok(if stop { Flow::Stopped } else { Flow::Done })
    }
}
