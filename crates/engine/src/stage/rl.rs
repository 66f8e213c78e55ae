//! Grow trees, judge, credit, train.

use stepwell_methods::objective::adaptive_clip::ENTROPY;
use stepwell_train::{Settings, UpdateReport};
use stepwell_tree::{Credit, Purpose, StepTree};

use super::adamw;
use super::companions::without_companions;
use super::evaluate::development;
use super::forest::{Growing, forest, growth, rate};
use crate::error::EngineError;
use crate::microbatch::microbatch;
use crate::observe::{Event, Metrics};
use crate::recipe::Rl;
use crate::rollout::Grown;
use crate::session::{Flow, Session, Stopwatch};

/// Runs the stage from where the session stands.
pub(crate) fn rl(session: &mut Session<'_>, config: &Rl) -> Result<Flow, EngineError> {
    while session.place.done < config.steps && !spent(session, config) {
        session.problem.require_unchanged()?;
        let mut watch = Stopwatch::start();
        let growing = Growing {
            grow: &config.grow,
            tasks: config.tasks,
            temperature: config.temperature,
            max_tokens: config.max_tokens,
            path_tokens: config.path_tokens,
            unscored_max: config.unscored_max,
        };
        let mut forest = forest(session, &growing)?;
        let seconds = watch.lap("sample");
        let credits = credit(config, &forest);
        let mut metrics = growth(&forest, &credits);
        session.commit_grown(&forest, &credits, &metrics, watch.parts())?;
        let report = train(session, config, &mut forest, &credits)?;
        watch.lap("train");
        session.place.sampled_tokens += metrics["sampled_tokens"] as u64;
        session.place.done += 1;
        training(&report, &mut metrics);
        session.commit_updated(&metrics, watch.parts())?;
        metrics.insert("sampled_tokens_per_second".to_owned(), rate(&metrics, seconds));
        let (stage, done) = (session.place.stage, session.place.done);
        session.observer.event(Event::Step { stage, done, metrics: &metrics });
        if config.evaluate_every > 0 && done.is_multiple_of(config.evaluate_every) {
            development(session, config.evaluate_questions, config.max_tokens)?;
        }
        if session.after_step(config.checkpoint_every, config.steps)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    Ok(Flow::Done)
}

/// True where the stage has used its tokens.
fn spent(session: &Session<'_>, config: &Rl) -> bool {
    config.token_budget.is_some_and(|budget| session.place.sampled_tokens >= budget)
}

/// Rewards, then one number per step.
fn credit(config: &Rl, forest: &[Grown]) -> Vec<Credit> {
    let trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    let rewards = config.reward.reward(&trees);
    config.credit.credit(&trees, &rewards)
}

fn train(
    session: &mut Session<'_>,
    config: &Rl,
    forest: &mut [Grown],
    credits: &[Credit],
) -> Result<UpdateReport, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let (mut trees, credits) = without_companions(forest, credits);
    let credits = &credits[..];
    let temperature = config.temperature as f32;
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    if let Some(reference) = &session.reference {
        session.learner.fill_reference(&mut trees, reference, temperature, tokens_max)?;
    }
    if config.objective.needs().token_columns.contains(&ENTROPY) {
        session.learner.fill_entropy(&mut trees, temperature, tokens_max)?;
    }
    config.objective.prepare(&mut trees, credits);
    let on_policy = trees
        .iter()
        .all(|tree| tree.policy_version().is_none_or(|v| v == session.learner.version()));
    let settings = Settings {
        objective: config.objective.clone(),
        max_tokens: config.max_tokens,
        temperature,
        adamw: adamw(&config.optimizer, config.steps, update),
        gradient_clip: config.optimizer.gradient_clip,
        epochs: config.epochs,
        minibatches: config.minibatches,
        tokens_max,
        on_policy,
    };
    let key = session.key(Purpose::TaskOrder).with(update as u64);
    session.learner.update(&trees, credits, &settings, key).map_err(|source| EngineError::Train {
        stage,
        update,
        source,
    })
}

fn training(report: &UpdateReport, metrics: &mut Metrics) {
    let named = [
        ("loss", report.loss),
        ("gradient_norm", report.gradient_norm),
        ("logprob_gap", report.gap),
        ("trained_tokens", report.trained_tokens as f64),
        ("computed_tokens", report.computed_tokens as f64),
    ];
    metrics.extend(named.map(|(name, value)| (name.to_owned(), value)));
    let own = report.diagnostics.metrics().into_iter().filter(|(name, _)| *name != "tokens");
    metrics.extend(own.map(|(name, value)| (name.to_owned(), value)));
}
