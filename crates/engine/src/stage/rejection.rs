//! Rounds of sampling, keeping what is right, and cross-entropy on it.
//!
//! An update is an optimizer step; the first of a round grows the round's trees before it. What is
//! kept is a function of the committed trees, so that a stopped run reads it off the record again
//! and a checkpoint holds nothing of it.

use stepwell_train::UpdateReport;
use stepwell_tree::{Credit, Purpose, StepTree};

use super::adamw;
use super::forest::{growth, rate};
use super::kept::{Kept, attempts, keep};
use super::sft::metrics as training;
use super::step::end_step;
use super::supervision::cross_entropy_step;
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::order::batch;
use crate::recipe::Rejection;
use crate::session::{Flow, Session, Stopwatch};

/// Runs the stage from where the session stands.
pub(crate) fn rejection(
    session: &mut Session<'_>,
    config: &Rejection,
) -> Result<Flow, EngineError> {
    let steps = config.rounds * config.steps;
    let mut known: Option<Kept> = None;
    while session.place.done < steps {
        session.require_whole()?;
        let mut watch = Stopwatch::start();
        let (round, step) = (session.place.done / config.steps, session.place.done % config.steps);
        let (mut metrics, mut speed) = (Metrics::new(), None);
        if step == 0 {
            let (kept, told, seconds) = begin(session, config, round, &mut watch)?;
            speed = Some(rate(&told, seconds));
            (known, metrics) = (Some(kept), told);
        }
        let kept = match known.take() {
            Some(kept) if kept.round == round => kept,
            _ => reread(session, config, round)?,
        };
        let report = train(session, config, &kept)?;
        known = Some(kept);
        watch.lap("train");
        session.place.sampled_tokens +=
            metrics.get("sampled_tokens").copied().unwrap_or_default() as u64;
        metrics.extend(training(&report));
        metrics.insert("round".to_owned(), round as f64);
        if end_step(session, metrics, speed, &watch)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    Ok(Flow::Done)
}

/// A round's attempts, grown or read back, committed; then the weights that it trains from.
fn begin(
    session: &mut Session<'_>,
    config: &Rejection,
    round: usize,
    watch: &mut Stopwatch,
) -> Result<(Kept, Metrics, f64), EngineError> {
    let forest = attempts(session, config, round)?;
    let seconds = watch.lap("sample");
    let (kept, credits, told) = keep(session, config, round, &forest);
    let mut metrics = growth(&forest, &credits);
    metrics.remove("steps_without_credit");
    metrics.extend(told);
    session.commit_grown(&forest, &credits, &metrics, watch.parts())?;
    if round > 0 {
        restart(session, config)?;
    }
    Ok((kept, metrics, seconds))
}

/// Every round is a supervised stage of its own: a fresh optimizer, and with `restart` the weights
/// as the stage found them.
fn restart(session: &mut Session<'_>, config: &Rejection) -> Result<(), EngineError> {
    match &session.reference {
        Some(base) if config.restart => session.learner.return_to(base).map_err(EngineError::Input),
        _ => Ok(session.learner.reset_optimizer()?),
    }
}

/// What a round kept, read off the trees that it committed.
fn reread(session: &Session<'_>, config: &Rejection, round: usize) -> Result<Kept, EngineError> {
    let Some(forest) = session.recorded(round * config.steps)? else {
        let stage = session.place.stage;
        return Err(EngineError::Input(format!(
            "stage {stage}: the record holds no trees of round {round}, which began before this \
             checkpoint; resume from the folder that the run wrote"
        )));
    };
    Ok(keep(session, config, round, &forest).0)
}

/// One optimizer step on the attempts that are its turn; none where nothing was kept.
fn train(
    session: &mut Session<'_>,
    config: &Rejection,
    kept: &Kept,
) -> Result<UpdateReport, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    if kept.trees.is_empty() {
        return Ok(UpdateReport::default());
    }
    let step = update % config.steps;
    let order = session.key(Purpose::Demonstration).with(kept.round as u64);
    let turn = batch(order, kept.trees.len(), config.batch, step);
    let trees: Vec<StepTree> = turn.iter().map(|&i| kept.trees[i].clone()).collect();
    let credits: Vec<Credit> = turn.iter().map(|&i| kept.credits[i].clone()).collect();
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    let rate = adamw(&config.optimizer, config.steps, step);
    let settings = cross_entropy_step(rate, config.optimizer.gradient_clip, tokens_max, None);
    let key = session.key(Purpose::TaskOrder).with(update as u64);
    let trained = session.learner.update(&trees, &credits, &settings, key);
    trained.map_err(|source| EngineError::Train { stage, update, source })
}
