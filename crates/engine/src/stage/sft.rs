//! Cross-entropy on demonstrations, a teacher's distributions at their tokens, or both.

use stepwell_train::UpdateReport;
use stepwell_tree::{Credit, Purpose, StepTree};

use super::adamw;
use super::step::end_step;
use super::supervision::{Shown, cross_entropy_step};
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::recipe::{Sft, Supervision};
use crate::session::{Flow, Session, Stopwatch};

/// Runs the stage from where the session stands.
pub(crate) fn sft(session: &mut Session<'_>, config: &Sft) -> Result<Flow, EngineError> {
    let shown = Shown::of(session, &Supervision::of(config))?;
    while session.place.done < config.steps {
        session.require_whole()?;
        let mut watch = Stopwatch::start();
        let order = session.key(Purpose::TaskOrder);
        let (trees, credits) = shown.trees(session, order, session.place.done);
        let report = update(session, config, &trees, &credits)?;
        watch.lap("train");
        let mut metrics = metrics(&report);
        if config.distill.share.is_some() {
            metrics.insert("distillation".to_owned(), report.distillation);
        }
        if end_step(session, metrics, None, &watch)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    Ok(Flow::Done)
}

fn update(
    session: &mut Session<'_>,
    config: &Sft,
    trees: &[StepTree],
    credits: &[Credit],
) -> Result<UpdateReport, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    let rate = adamw(&config.optimizer, config.steps, update);
    let distillation = config.distill.of_train(session.teacher.as_ref());
    let clip = config.optimizer.gradient_clip;
    let settings = cross_entropy_step(rate, clip, tokens_max, distillation);
    let key = session.key(Purpose::TaskOrder).with(update as u64);
    session.learner.update(trees, credits, &settings, key).map_err(|source| EngineError::Train {
        stage,
        update,
        source,
    })
}

/// What an optimizer step of cross-entropy says of itself.
pub(super) fn metrics(report: &UpdateReport) -> Metrics {
    Metrics::from([
        ("loss".to_owned(), report.loss),
        ("gradient_norm".to_owned(), report.gradient_norm),
        ("trained_tokens".to_owned(), report.trained_tokens as f64),
        ("computed_tokens".to_owned(), report.computed_tokens as f64),
    ])
}
