//! Demonstrations as a training step takes them.

use stepwell_methods::Objective;
use stepwell_methods::objective::cross_entropy;
use stepwell_model::AdamWSettings;
use stepwell_train::{Distillation, Settings};
use stepwell_tree::{Credit, Key, Purpose, StepTree};

use crate::error::EngineError;
use crate::order::{batch, demonstration_tree};
use crate::problem::Told;
use crate::recipe::{Demonstrations, Supervision};
use crate::session::Session;

/// Where a stage's demonstrations come from.
pub(super) struct Shown {
    /// All of them, where there is a list; else the world's script writes fresh ones.
    known: Option<Told>,
    batch: usize,
    mask_observations: bool,
}

impl Shown {
    /// Reads what the keys name.
    pub(super) fn of(session: &Session<'_>, keys: &Supervision) -> Result<Shown, EngineError> {
        let (problem, codec) = (session.problem, session.learner.codec());
        let known = match keys.demonstrations {
            Some(Demonstrations::GoldSteps) => {
                let tree = |d| demonstration_tree(codec, d, keys.mask_observations);
                Some(problem.gold().iter().map(tree).collect())
            }
            _ if keys.data.is_some() => Some(problem.conversations(keys, codec)?),
            _ => None,
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
        if let Some(all) = &self.known {
            let chosen = batch(order, all.len(), self.batch, step);
            return chosen.into_iter().map(|i| all[i].clone()).unzip();
        }
        let key = session.key(Purpose::Demonstration).with(step as u64);
        let codec = session.learner.codec();
        let fresh = |i| session.problem.demonstration(key.with(i));
        let tree = |i| demonstration_tree(codec, &fresh(i), self.mask_observations);
        (0..self.batch as u64).map(tree).unzip()
    }
}

/// A step of cross-entropy on demonstrations, or of a teacher's distributions at their tokens.
pub(super) fn cross_entropy_step(
    adamw: AdamWSettings,
    gradient_clip: f64,
    tokens_max: usize,
    distillation: Option<Distillation>,
) -> Settings {
    Settings {
        objective: Objective::CrossEntropy(cross_entropy::Config::default()),
        value: None,
        distillation,
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
