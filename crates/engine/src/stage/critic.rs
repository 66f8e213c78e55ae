//! Values of states beside the policy: the head or the learner that gives them, the columns that
//! credit and loss read, and how they learn.

use stepwell_methods::Rewards;
use stepwell_methods::objective::value_loss::ValueDiagnostics;
use stepwell_train::{CriticSettings, HeadSettings, TrainError, VALUE, VALUE_TARGET};
use stepwell_tree::{Credit, Key, StepTree};

use super::adamw;
use crate::companion::CRITIC;
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::recipe::{Optimizer, Rl, Trunk};
use crate::session::Session;

/// At a stage's very start, makes what will give values where `credit` reads them.
pub(crate) fn prepare(session: &mut Session<'_>, config: &Rl) -> Result<(), EngineError> {
    if !config.credit.reads_values() {
        return Ok(());
    }
    let (seed, hidden) = (session.recipe.seed, config.critic.hidden);
    match config.critic.trunk {
        Trunk::Shared if !session.learner.has_head(VALUE) => {
            session.learner.attach_head(VALUE, hidden, 1, seed);
        }
        Trunk::Own if !session.companions.contains_key(CRITIC) => {
            let mut own = session.learner.twin()?;
            own.attach_head(VALUE, hidden, 1, seed);
            session.companions.insert(CRITIC.to_owned(), own);
        }
        Trunk::Shared | Trunk::Own => {}
    }
    Ok(())
}

/// Fills the column of values, before credit reads it.
pub(super) fn fill(
    session: &mut Session<'_>,
    config: &Rl,
    trees: &mut [StepTree],
) -> Result<(), EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    if !config.credit.reads_values() {
        return Ok(());
    }
    let learner = match config.critic.trunk {
        Trunk::Shared => &mut session.learner,
        Trunk::Own => session.companions.get_mut(CRITIC).expect("made when the stage began"),
    };
    let filled = learner.fill_values(trees, tokens_max);
    filled.map_err(|source| EngineError::Train { stage, update, source })
}

/// Fills the column of what values should have been, after credit has been given.
pub(super) fn targets(config: &Rl, trees: &mut [StepTree], rewards: &Rewards) {
    let Some(targets) = config.credit.value_targets(trees, rewards) else { return };
    for (tree, target) in trees.iter_mut().zip(targets) {
        let target = target.into_iter().map(|x| x as f32).collect();
        tree.token_column.insert(VALUE_TARGET.to_owned(), target);
    }
}

/// One update of a critic on a trunk of its own, with the trees and the deal of the policy's.
pub(super) fn learn(
    session: &mut Session<'_>,
    config: &Rl,
    (trees, credits): (&[StepTree], &[Credit]),
    key: Key,
    metrics: &mut Metrics,
) -> Result<(), TrainError> {
    let update = session.place.done;
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    let Some(critic) = session.companions.get_mut(CRITIC) else { return Ok(()) };
    let rate = config.critic.learning_rate.unwrap_or(config.optimizer.learning_rate);
    let optimizer = Optimizer { learning_rate: rate, ..config.optimizer.clone() };
    let settings = CriticSettings {
        loss: config.critic.loss(),
        aggregation: config.objective.aggregation(),
        max_tokens: config.max_tokens,
        head: HeadSettings {
            adamw: adamw(&optimizer, config.steps, update),
            gradient_clip: optimizer.gradient_clip,
            tokens_max,
            frozen_trunk: false,
        },
        epochs: config.epochs,
        minibatches: config.minibatches,
    };
    let report = critic.learn_values(trees, credits, &settings, key)?;
    metrics.insert("critic_gradient_norm".to_owned(), report.gradient_norm);
    tell(report.loss, &report.diagnostics, metrics);
    Ok(())
}

/// What is said of a critic, on whichever trunk it is.
pub(super) fn tell(loss: f64, diagnostics: &ValueDiagnostics, metrics: &mut Metrics) {
    if diagnostics.rows == 0 {
        return;
    }
    metrics.insert("value_loss".to_owned(), loss);
    metrics.extend(diagnostics.metrics().into_iter().map(|(name, x)| (name.to_owned(), x)));
}
