//! Q-learning from a log: trees that the policy writes before anything trains, or those that an
//! earlier stage has committed. The log is read off the record, so that a checkpoint holds the
//! place, the policy and the heads, frozen ones included, and nothing of the log.

use stepwell_methods::Rewards;
use stepwell_train::{HeadSettings, OfflineReport, OfflineSettings};
use stepwell_tree::{Credit, Purpose, StepTree};

use super::adamw;
use super::forest::{Growing, grow, growth, rate, refuse_unscored};
use super::step::end_step;
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::Metrics;
use crate::order::batch;
use crate::recipe::{Offline, OfflineTrunk};
use crate::rollout::Grown;
use crate::session::{Flow, Session, Stopwatch};

/// Trees with what their attempts earned.
struct Log {
    trees: Vec<StepTree>,
    rewards: Rewards,
}

/// What is told of a log that the stage wrote itself, and what the policy wrote in a second.
type Told = Option<(Metrics, f64)>;

/// Runs the stage from where the session stands.
pub(crate) fn offline(session: &mut Session<'_>, config: &Offline) -> Result<Flow, EngineError> {
    attach(session, config)?;
    let mut known: Option<Log> = None;
    while session.place.done < config.steps {
        session.require_whole()?;
        let mut watch = Stopwatch::start();
        let (mut metrics, mut speed) = (Metrics::new(), None);
        let log = match known.take() {
            Some(log) => log,
            None => {
                let (forest, told) = begin(session, config, &mut watch)?;
                speed = told.as_ref().map(|(_, rate)| *rate);
                metrics.extend(told.map(|(metrics, _)| metrics).unwrap_or_default());
                let trees: Vec<StepTree> = forest.into_iter().map(|grown| grown.tree).collect();
                Log { rewards: config.reward.reward(&trees), trees }
            }
        };
        let report = train(session, config, &log)?;
        known = Some(log);
        watch.lap("train");
        session.place.sampled_tokens +=
            metrics.get("sampled_tokens").copied().unwrap_or_default() as u64;
        metrics.extend(told(&report));
        if end_step(session, metrics, speed, &watch)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    Ok(Flow::Done)
}

/// Fresh heads where the stage begins; where it goes on, those of the checkpoint, all of them.
fn attach(session: &mut Session<'_>, config: &Offline) -> Result<(), EngineError> {
    let Some(missing) = session.learner.missing_head(&config.method) else { return Ok(()) };
    if session.place.done > 0 {
        return Err(EngineError::Input(format!(
            "stage {}: the checkpoint after step {} holds no head `{missing}`, which the stage has \
             trained; take the checkpoint away, and `resume` goes on from the one before",
            session.place.stage, session.place.done
        )));
    }
    let width = config.width(session.learner.model().config());
    session.learner.attach_offline(&config.method, Some(width), session.recipe.seed);
    Ok(())
}

/// The log; where this is the stage's first step and the log its own, grown or read back,
/// committed, with what is told of it.
fn begin(
    session: &mut Session<'_>,
    config: &Offline,
    watch: &mut Stopwatch,
) -> Result<(Vec<Grown>, Told), EngineError> {
    if let Some(stage) = config.log {
        return Ok((recorded(session, config, stage)?, None));
    }
    if session.place.done > 0 {
        return match session.recorded(0)? {
            Some(forest) => Ok((forest, None)),
            None => Err(no_log(session, session.place.stage)),
        };
    }
    let forest = match session.recorded_forest()? {
        Some(forest) => forest,
        None => written(session, config),
    };
    refuse_unscored(session, &growing(config), &forest)?;
    let seconds = watch.lap("sample");
    let credits: Vec<Credit> = forest.iter().map(|grown| Credit::none(grown.tree.len())).collect();
    let mut metrics = growth(&forest, &credits);
    metrics.remove("steps_without_credit");
    session.commit_grown(&forest, &credits, &metrics, watch.parts())?;
    let rate = rate(&metrics, seconds);
    Ok((forest, Some((metrics, rate))))
}

/// Attempts of the policy as it is, at each task once.
fn written(session: &mut Session<'_>, config: &Offline) -> Vec<Grown> {
    let all = session.problem.train.len();
    let count = config.tasks.unwrap_or(all).min(all);
    let order = batch(session.key(Purpose::TaskOrder), all, count, 0);
    let mut forest = Vec::new();
    for some in order.chunks(config.tasks_at_once) {
        forest.extend(grow(session, &growing(config), some));
    }
    forest
}

/// Every tree that an earlier stage has committed, in order.
fn recorded(
    session: &Session<'_>,
    config: &Offline,
    stage: usize,
) -> Result<Vec<Grown>, EngineError> {
    let steps = session.recipe.stage[stage].updates();
    let mut forest = Vec::new();
    for update in 0..steps {
        forest.extend(session.recorded_of(stage, update)?.unwrap_or_default());
    }
    if forest.is_empty() {
        return Err(no_log(session, stage));
    }
    refuse_unscored(session, &growing(config), &forest)?;
    Ok(forest)
}

fn no_log(session: &Session<'_>, stage: usize) -> EngineError {
    EngineError::Input(format!(
        "stage {}: the record holds no trees of stage {stage}, which are the log; resume from the \
         folder that the run wrote",
        session.place.stage
    ))
}

fn growing(config: &Offline) -> Growing<'_> {
    Growing {
        grow: &config.grow,
        tasks: config.tasks_at_once,
        temperature: config.temperature,
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        unscored_max: config.unscored_max,
    }
}

/// One optimizer step on the trees whose turn it is, and the frozen heads' move where one is due.
fn train(
    session: &mut Session<'_>,
    config: &Offline,
    log: &Log,
) -> Result<OfflineReport, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let key = session.key(Purpose::Demonstration);
    let turn = batch(key, log.trees.len(), config.batch, update);
    let trees: Vec<StepTree> = turn.iter().map(|&i| log.trees[i].clone()).collect();
    let leaf = turn.iter().map(|&i| log.rewards.leaf[i].clone()).collect();
    let own = |step: &Vec<Vec<f64>>| turn.iter().map(|&i| step[i].clone()).collect();
    let rewards = Rewards { leaf, step: log.rewards.step.as_ref().map(own) };
    let settings = OfflineSettings {
        method: config.method.clone(),
        bellman: config.bellman(),
        head: HeadSettings {
            adamw: adamw(&config.optimizer, config.steps, update),
            gradient_clip: config.optimizer.gradient_clip,
            tokens_max: microbatch(config.microbatch_tokens, session.learner.model().config()),
            frozen_trunk: config.trunk == OfflineTrunk::Frozen,
        },
    };
    let trained = session.learner.learn_offline(&trees, &rewards, &settings);
    let report = trained.map_err(|source| EngineError::Train { stage, update, source })?;
    if (update + 1).is_multiple_of(config.target_every) {
        session.learner.follow(&config.method, config.target_rate);
    }
    Ok(report)
}

/// What a step says of itself.
fn told(report: &OfflineReport) -> Metrics {
    let named = [
        ("loss", report.loss),
        ("gradient_norm", report.gradient_norm),
        ("trained_tokens", report.trained_tokens as f64),
        ("computed_tokens", report.computed_tokens as f64),
        ("offline/q", report.q),
        ("offline/value", report.value),
        ("offline/target", report.target),
        ("offline/conservatism", report.conservatism),
    ];
    named.map(|(name, x)| (name.to_owned(), x)).into()
}
