//! Grow trees, judge, credit, train.

use std::collections::BTreeMap;

use stepwell_train::{Settings, UpdateReport};
use stepwell_tree::{Credit, Purpose, Sampling, StepTree, Task, Verdict, leaves};

use super::adamw;
use super::evaluate::development;
use crate::error::EngineError;
use crate::observe::{Event, Metrics};
use crate::order::batch;
use crate::recipe::Rl;
use crate::rollout::{Grown, Plan, grow_forest};
use crate::session::{Flow, Session, Stopwatch};

/// Runs the stage from where the session stands.
pub(crate) fn rl(session: &mut Session<'_>, config: &Rl) -> Result<Flow, EngineError> {
    while session.place.done < config.steps && !spent(session, config) {
        session.problem.require_unchanged()?;
        let mut watch = Stopwatch::start();
        let mut forest = match session.recorded_forest()? {
            Some(forest) => forest,
            None => grow(session, config),
        };
        let seconds = watch.lap("sample");
        refuse_unscored(session, config, &forest)?;
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

/// Draws this update's tasks and grows a tree for each.
fn grow(session: &mut Session<'_>, config: &Rl) -> Vec<Grown> {
    let update = session.place.done;
    let tasks = &session.problem.train;
    let order = batch(session.key(Purpose::TaskOrder), tasks.len(), config.tasks, update);
    let members: Vec<&Task> = order.iter().map(|&i| &tasks[i]).collect();
    let plan = Plan {
        grow: &config.grow,
        sampling: Sampling { temperature: config.temperature as f32, ..Sampling::FULL },
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        key: session.key(Purpose::Sample).with(update as u64),
    };
    let observer = &mut *session.observer;
    let mut policy = session.learner.policy();
    let environment = session.problem.environment.as_ref();
    grow_forest(&mut policy, environment, &members, &plan, |live| {
        observer.event(Event::Sampling { live });
    })
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
    let mut trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    let temperature = config.temperature as f32;
    if let Some(reference) = &session.reference {
        let tokens_max = config.microbatch_tokens;
        session.learner.fill_reference(&mut trees, reference, temperature, tokens_max)?;
    }
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
        tokens_max: config.microbatch_tokens,
        on_policy,
    };
    let key = session.key(Purpose::TaskOrder).with(update as u64);
    session.learner.update(&trees, credits, &settings, key).map_err(|source| EngineError::Train {
        stage,
        update,
        source,
    })
}

/// Stops where too many attempts have no verdict: training on the survivors would mislead.
fn refuse_unscored(
    session: &Session<'_>,
    config: &Rl,
    forest: &[Grown],
) -> Result<(), EngineError> {
    let mut reasons: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut attempts = 0;
    for Grown { tree, .. } in forest {
        for leaf in leaves(tree) {
            attempts += 1;
            if let Verdict::Unscored(reason) = &tree.verdict[leaf.index()] {
                *reasons.entry(reason.label()).or_default() += 1;
            }
        }
    }
    let unscored: usize = reasons.values().sum();
    if unscored as f64 <= config.unscored_max * attempts as f64 {
        return Ok(());
    }
    let named: Vec<String> = reasons.iter().map(|(name, n)| format!("{name}: {n}")).collect();
    Err(EngineError::Unscored {
        stage: session.place.stage,
        update: session.place.done,
        unscored,
        attempts,
        reasons: named.join(", "),
        limit: config.unscored_max,
    })
}

/// What the trees look like before training.
fn growth(forest: &[Grown], credits: &[Credit]) -> Metrics {
    let mut sum: BTreeMap<String, f64> = BTreeMap::new();
    let mut add = |name: &str, value: f64| *sum.entry(name.to_owned()).or_default() += value;
    let mut scored = 0.0;
    for (Grown { tree, .. }, credit) in forest.iter().zip(credits) {
        let sampled = (0..tree.len()).filter(|&i| tree.origin[i].is_policy());
        add("sampled_tokens", sampled.clone().map(|i| tree.span[i].len() as f64).sum());
        let without = sampled.filter(|&i| credit.step[i].is_none()).count();
        add("steps_without_credit", without as f64);
        add("unique_tokens", tree.unique_tokens() as f64);
        add("flat_tokens", tree.flat_tokens() as f64);
        for leaf in leaves(tree) {
            add("leaves", 1.0);
            match &tree.verdict[leaf.index()] {
                Verdict::Scored { reward, parts } => {
                    scored += 1.0;
                    add("reward", *reward);
                    parts.iter().for_each(|(name, part)| add(&format!("part/{name}"), *part));
                }
                Verdict::Unscored(reason) => add(&format!("unscored/{}", reason.label()), 1.0),
                Verdict::Pending => {}
            }
        }
    }
    for (name, value) in &mut sum {
        if name == "reward" || name.starts_with("part/") {
            *value /= f64::max(scored, 1.0);
        }
    }
    sum
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

fn rate(metrics: &Metrics, seconds: f64) -> f64 {
    metrics["sampled_tokens"] / seconds.max(1e-9)
}
