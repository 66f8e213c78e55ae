//! Grow trees, judge, credit, train.

use stepwell_methods::objective::adaptive_clip::ENTROPY;
use stepwell_train::{Settings, UpdateReport, VALUE};
use stepwell_tree::{Credit, Purpose, StepTree};

use super::adamw;
use super::critic;
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
        let forest = forest(session, &growing)?;
        let seconds = watch.lap("sample");
        let (trees, credits) = credited(session, config, &forest)?;
        let mut metrics = growth(&forest, &credits);
        session.commit_grown(&forest, &credits, &metrics, watch.parts())?;
        let report = train(session, config, trees, &credits, &mut metrics)?;
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

/// The trees with the columns that credit and loss read, and one number per step.
fn credited(
    session: &mut Session<'_>,
    config: &Rl,
    forest: &[Grown],
) -> Result<(Vec<StepTree>, Vec<Credit>), EngineError> {
    let mut trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    fill_reference(session, config, &mut trees)?;
    critic::fill(session, config, &mut trees)?;
    let rewards = config.reward.reward(&trees);
    let credits = config.credit.credit(&trees, &rewards);
    critic::targets(config, &mut trees, &rewards);
    Ok((trees, credits))
}

fn fill_reference(
    session: &mut Session<'_>,
    config: &Rl,
    trees: &mut [StepTree],
) -> Result<(), EngineError> {
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    let Session { learner, reference: Some(reference), .. } = session else { return Ok(()) };
    Ok(learner.fill_reference(trees, reference, config.temperature as f32, tokens_max)?)
}

fn train(
    session: &mut Session<'_>,
    config: &Rl,
    mut trees: Vec<StepTree>,
    credits: &[Credit],
    metrics: &mut Metrics,
) -> Result<UpdateReport, EngineError> {
    let (stage, update) = (session.place.stage, session.place.done);
    let temperature = config.temperature as f32;
    let tokens_max = microbatch(config.microbatch_tokens, session.learner.model().config());
    if config.objective.needs().token_columns.contains(&ENTROPY) {
        session.learner.fill_entropy(&mut trees, temperature, tokens_max)?;
    }
    config.objective.prepare(&mut trees, credits);
    let on_policy = trees
        .iter()
        .all(|tree| tree.policy_version().is_none_or(|v| v == session.learner.version()));
    let settings = Settings {
        objective: config.objective.clone(),
        value: session.learner.has_head(VALUE).then(|| config.critic.loss()),
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
    let failed = |source| EngineError::Train { stage, update, source };
    let report = session.learner.update(&trees, credits, &settings, key).map_err(failed)?;
    critic::learn(session, config, (&trees, credits), key, metrics).map_err(failed)?;
    Ok(report)
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
    critic::tell(report.value_loss, &report.value, metrics);
    let own = report.diagnostics.metrics().into_iter().filter(|(name, _)| *name != "tokens");
    metrics.extend(own.map(|(name, value)| (name.to_owned(), value)));
}
