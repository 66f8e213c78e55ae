//! Demonstrations as a training step takes them.

use std::borrow::Cow;

use stepwell_methods::Objective;
use stepwell_methods::objective::cross_entropy;
use stepwell_model::AdamWSettings;
use stepwell_train::Settings;
use stepwell_tree::{Credit, Demonstration, Key, Purpose, StepTree};

use crate::error::EngineError;
use crate::order::{batch, demonstration_tree};
use crate::problem::Problem;
use crate::recipe::{Demonstrations, Supervision};
use crate::session::Session;

/// Where a stage's demonstrations come from.
pub(super) struct Shown<'p> {
    /// All of them, where there is a list; else the world's script writes fresh ones.
    known: Option<Cow<'p, [Demonstration]>>,
    batch: usize,
    mask_observations: bool,
}

impl<'p> Shown<'p> {
    /// Reads what the keys name.
    pub(super) fn of(problem: &'p Problem, keys: &Supervision) -> Result<Shown<'p>, EngineError> {
        let read = keys.data.as_ref().map(|path| problem.conversations(path)).transpose()?;
        let known = match (keys.demonstrations, read) {
            (Some(Demonstrations::GoldSteps), _) => Some(Cow::Borrowed(problem.gold())),
            (_, read) => read.map(Cow::Owned),
        };
        Ok(Shown { known, batch: keys.batch, mask_observations: keys.mask_observations })
    }

    /// A step's demonstrations as trees, each with the credit that marks what trains: of those
    /// that are known in epochs under `order`, or fresh from the script.
    pub(super) fn trees(
        &self,
        session: &Session<'_>,
        order: Key,
        step: usize,
    ) -> (Vec<StepTree>, Vec<Credit>) {
        let demonstrations: Vec<Demonstration> = match &self.known {
            Some(all) => {
                let chosen = batch(order, all.len(), self.batch, step);
                chosen.into_iter().map(|i| all[i].clone()).collect()
            }
            None => {
                let key = session.key(Purpose::Demonstration).with(step as u64);
                let fresh = |i| session.problem.demonstration(key.with(i));
                (0..self.batch as u64).map(fresh).collect()
            }
        };
        let codec = session.learner.codec();
        let tree = |d| demonstration_tree(codec, d, self.mask_observations);
        demonstrations.iter().map(tree).unzip()
    }
}

/// A step of cross-entropy on demonstrations.
pub(super) fn cross_entropy_step(
    adamw: AdamWSettings,
    gradient_clip: f64,
    tokens_max: usize,
) -> Settings {
    Settings {
        objective: Objective::CrossEntropy(cross_entropy::Config::default()),
        value: None,
        max_tokens: 1,
        temperature: 1.0,
        adamw,
        gradient_clip,
        epochs: 1,
        minibatches: 1,
        tokens_max,
        on_policy: false,
    }
}
