//! Grow trees, judge, credit, train; and, where the plan says so, demonstrations beside or instead.

use stepwell_methods::schedule::{At, Plan, Seen};
use stepwell_methods::{RewardConfig, Rewards};
use stepwell_train::Reference;
use stepwell_tree::{Credit, Purpose, StepTree};

use super::columns;
use super::companions::without_companions;
use super::critic;
use super::forest::{Growing, growth, rate};
use super::mixture::{Shares, train};
use super::refill::{forest, tasks};
use super::sift::{Sifted, sift};
use super::step::end_step;
use super::supervision::Shown;
use crate::alarm::{ALARM, training_reward, watched};
use crate::error::EngineError;
use crate::guard;
use crate::observe::{Event, Metrics};
use crate::recipe::Rl;
use crate::rollout::Grown;
use crate::session::{Flow, Session, Stopwatch};

/// An update's trees with their credit, committed, and what they look like.
struct Ready {
    trees: Vec<StepTree>,
    credits: Vec<Credit>,
    metrics: Metrics,
    /// What the policy wrote in a second.
    rate: Option<f64>,
}

/// Runs the stage from where the session stands.
pub(crate) fn rl(session: &mut Session<'_>, config: &Rl) -> Result<Flow, EngineError> {
    let shown = Shown::of(session, &config.supervision)?;
    while session.place.done < config.steps && !spent(session, config) {
        session.require_whole()?;
        let mut watch = Stopwatch::start();
        let (at, plan) = plan(session, config);
        if plan.freeze && session.reference.is_some() {
            session.reference = Some(Reference::of(session.learner.model()));
        }
        let Ready { trees, credits, mut metrics, rate } = match plan.reinforcement > 0.0 {
            true => grown(session, config, &mut watch)?,
            false => nothing(),
        };
        let shares = Shares { at, plan, shown: &shown };
        let (seen, trained) = train(session, config, trees, &credits, &shares)?;
        watch.lap("train");
        metrics.extend(trained);
        config.plan.observe(&at, &plan, &mut session.memory.schedule, &seen);
        told(session, config, &plan, &seen, &mut metrics);
        listen(session, &mut metrics);
        session.place.sampled_tokens +=
            metrics.get("sampled_tokens").copied().unwrap_or_default() as u64;
        if end_step(session, metrics, rate, &watch)? == Flow::Stopped {
            return Ok(Flow::Stopped);
        }
    }
    Ok(Flow::Done)
}

/// True where the stage has used its tokens.
fn spent(session: &Session<'_>, config: &Rl) -> bool {
    config.token_budget.is_some_and(|budget| session.place.sampled_tokens >= budget)
}

/// What this update is made of.
fn plan(session: &Session<'_>, config: &Rl) -> (At, Plan) {
    let at = At { update: session.place.done as u64, updates: config.steps as u64 };
    let key = session.key(Purpose::Schedule).with(at.update);
    (at, config.plan.plan(&at, &session.memory.schedule, key))
}

/// An update without trees.
fn nothing() -> Ready {
    Ready { trees: Vec::new(), credits: Vec::new(), metrics: Metrics::new(), rate: None }
}

/// This update's trees, what may train of them and their credit, committed before anything trains.
fn grown(
    session: &mut Session<'_>,
    config: &Rl,
    watch: &mut Stopwatch,
) -> Result<Ready, EngineError> {
    let growing = Growing {
        grow: &config.grow,
        tasks: config.tasks,
        temperature: config.temperature,
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        unscored_max: config.unscored_max,
    };
    let tasks = tasks(session, config);
    let drawn = tasks.metrics.clone();
    let forest = forest(session, &growing, config, tasks)?;
    let seconds = watch.lap("sample");
    let mut trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    columns::fill(session, config, &mut trees)?;
    let rewards = config.reward.reward(&trees);
    let (stage, update) = (session.place.stage, session.place.done);
    guard::rewards(&trees, &rewards).map_err(|what| EngineError::Reward { stage, update, what })?;
    let (sifted, mut credits) = credited(config, &trees, &rewards);
    if stepwell_mutant::planted(35) {
        credits.iter_mut().for_each(|credit| credit.step.rotate_left(1));
    }
    critic::targets(config, &mut trees, &rewards);
    let sums = guard::sums(&config.credit, &config.filter, &trees, &credits);
    session.credit_is_right(sums)?;
    let mut metrics = looks(config, &forest, &rewards, &credits);
    metrics.extend(sifted.metrics(&config.filter, &trees, config.tasks));
    metrics.extend(drawn);
    if !stepwell_mutant::planted(15) {
        session.commit_grown(&forest, &credits, &metrics, watch.parts())?;
    }
    config.curriculum.observe(&trees, &mut session.memory.estimates);
    let rate = Some(rate(&metrics, seconds));
    let (trees, credits) = without_companions(&trees, &credits);
    Ok(Ready { trees, credits, metrics, rate })
}

/// What filters say of an update, and its credit, from trees that hold every column these read.
fn credited(config: &Rl, trees: &[StepTree], rewards: &Rewards) -> (Sifted, Vec<Credit>) {
    let sifted = sift(&config.filter, trees, rewards);
    let credits = sifted.credit(&config.credit, trees, rewards);
    (sifted, credits)
}

/// What is recorded of an update's trees beside what filters say.
fn looks(config: &Rl, forest: &[Grown], rewards: &Rewards, credits: &[Credit]) -> Metrics {
    let mut metrics = growth(forest, credits);
    if config.reward != RewardConfig::Outcome {
        let paid = training_reward(forest.iter().map(|grown| &grown.tree), rewards);
        metrics.extend(paid.map(|paid| ("training_reward".to_owned(), paid)));
    }
    metrics
}

/// The credit of an update and what is recorded of its trees, from the trees alone.
pub(crate) fn recredit(config: &Rl, forest: &[Grown]) -> (Vec<Credit>, Metrics) {
    let trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    let rewards = config.reward.reward(&trees);
    let (_, credits) = credited(config, &trees, &rewards);
    let metrics = looks(config, forest, &rewards, &credits);
    (credits, metrics)
}

/// Tells where a reward rises and what it stands for falls.
fn listen(session: &mut Session<'_>, metrics: &mut Metrics) {
    let Some(seen) = watched(metrics) else { return };
    let guards = &session.recipe.guards;
    let Some(heard) = session.memory.watch.hear(seen, guards) else { return };
    metrics.insert(ALARM.to_owned(), f64::from(u8::from(heard.alarm)));
    if heard.new {
        let (stage, update, window) = (session.place.stage, session.place.done, guards.window);
        session.observer.event(Event::Alarm(format!(
            "stage {stage}, update {update}: over {window} updates the training reward has risen by \
             {:.1} standard errors and the {} has fallen by {:.1}; the policy may be learning to \
             please `reward`: look at trees with `inspect`, and compare a run with `reward = {{ \
             type = \"outcome\" }}`",
            heard.reward,
            if seen.strict { "stricter judge's verdict" } else { "outcome" },
            -heard.outcome
        )));
    }
}

/// The plan and what it follows from, in the record; nothing where every update is the same.
fn told(session: &Session<'_>, config: &Rl, plan: &Plan, seen: &Seen, metrics: &mut Metrics) {
    if config.plan.is_plain() {
        return;
    }
    let state = &session.memory.schedule;
    let mut put = |name: &str, value: f64| metrics.insert(name.to_owned(), value);
    put("plan/demonstrations", plan.demonstrations);
    put("plan/reinforcement", plan.reinforcement);
    put("plan/share", plan.share);
    put("demonstrated", state.demonstrated as f64);
    put("since_demonstrations", state.since_demonstrations as f64);
    if let Some(norm) = seen.norm {
        put("demonstration_norm", norm);
    }
    if let Some(norm) = seen.norm_after {
        put("demonstration_norm_after", norm);
    }
    if let Some(divergence) = seen.divergence {
        put("kl_attempt", divergence);
        put("kl_coefficient", seen.kl);
    }
}
