//! What stages that grow trees share.

use std::collections::BTreeMap;

use stepwell_methods::{Grow, is_companion};
use stepwell_tree::{
    Credit, Purpose, STRICT, Sampling, StepId, Task, UnscoredReason, Verdict, leaves,
};

use super::companions::beside;
use crate::alarm::STRICT_PART;
use crate::error::EngineError;
use crate::observe::{Event, Metrics};
use crate::order::batch;
use crate::rollout::{Grown, Plan, grow_forest};
use crate::session::Session;

/// How a stage grows an update's trees.
pub(super) struct Growing<'c> {
    pub(super) grow: &'c Grow,
    pub(super) tasks: usize,
    pub(super) temperature: f64,
    pub(super) max_tokens: usize,
    pub(super) path_tokens: Option<usize>,
    pub(super) unscored_max: f64,
}

/// This update's trees, grown or read back, none with too many attempts unjudged.
pub(super) fn forest(
    session: &mut Session<'_>,
    growing: &Growing<'_>,
) -> Result<Vec<Grown>, EngineError> {
    let forest = match session.recorded_forest()? {
        Some(forest) => forest,
        None => {
            let order = drawn(session, growing.tasks);
            grow(session, growing, &order)
        }
    };
    refuse_unscored(session, growing, &forest)?;
    Ok(forest)
}

/// This update's tasks, by their place among the training tasks: keyed epochs.
pub(super) fn drawn(session: &Session<'_>, tasks: usize) -> Vec<usize> {
    let key = session.key(Purpose::TaskOrder);
    batch(key, session.problem.train.len(), tasks, session.place.done)
}

/// Grows a tree for each of these training tasks. A tree depends on its task and the update, not
/// on what grows beside it.
pub(super) fn grow(
    session: &mut Session<'_>,
    growing: &Growing<'_>,
    order: &[usize],
) -> Vec<Grown> {
    let update = session.place.done;
    let tasks = &session.problem.train;
    let members: Vec<&Task> = order.iter().map(|&i| &tasks[i]).collect();
    let plan = Plan {
        grow: growing.grow,
        sampling: Sampling { temperature: growing.temperature as f32, ..Sampling::FULL },
        max_tokens: growing.max_tokens,
        path_tokens: growing.path_tokens,
        key: session.key(Purpose::Sample).with(update as u64),
    };
    let observer = &mut *session.observer;
    let mut policy = session.learner.policy();
    let environment = session.problem.environment.as_ref();
    grow_forest(&mut policy, environment, &members, &plan, |live| {
        observer.event(Event::Sampling { live });
    })
}

/// Stops where too many attempts have no verdict: training on the survivors would mislead.
pub(super) fn refuse_unscored(
    session: &Session<'_>,
    growing: &Growing<'_>,
    forest: &[Grown],
) -> Result<(), EngineError> {
    // How often, and what was said the first time.
    let mut reasons: BTreeMap<&'static str, (usize, &str)> = BTreeMap::new();
    let mut attempts = 0;
    for Grown { tree, .. } in forest {
        for leaf in leaves(tree) {
            attempts += 1;
            if let Verdict::Unscored(reason) = &tree.verdict[leaf.index()] {
                reasons.entry(reason.label()).or_insert((0, said(reason))).0 += 1;
            }
        }
    }
    let unscored: usize = reasons.values().map(|(count, _)| count).sum();
    if stepwell_mutant::planted(34) || unscored as f64 <= growing.unscored_max * attempts as f64 {
        return Ok(());
    }
    let named = reasons.iter().map(|(name, (count, first))| match first {
        &"" => format!("{name}: {count}"),
        first => format!("{name}: {count}, first: {first}"),
    });
    let named: Vec<String> = named.collect();
    Err(EngineError::Unscored {
        stage: session.place.stage,
        update: session.place.done,
        unscored,
        attempts,
        reasons: named.join(", "),
        limit: growing.unscored_max,
    })
}

/// A reason in its own words, where it has some.
fn said(reason: &UnscoredReason) -> &str {
    match reason {
        UnscoredReason::GoldFailed(why)
        | UnscoredReason::EnvironmentFailed(why)
        | UnscoredReason::ReplayDiverged(why) => why,
        UnscoredReason::Interrupted | UnscoredReason::Abandoned => "",
    }
}

/// The metric: how much more attempts earned than a stricter judge gives them, which nothing trains
/// on ([`STRICT`]). It grows where a policy learns to please the judge.
pub(crate) const STRICT_GAP: &str = "strict_gap";

/// What the trees look like before training.
pub(crate) fn growth(forest: &[Grown], credits: &[Credit]) -> Metrics {
    let mut sum: BTreeMap<String, f64> = BTreeMap::new();
    let mut add = |name: &str, value: f64| *sum.entry(name.to_owned()).or_default() += value;
    // Not every task has what a stricter judge reads.
    let (mut scored, mut strictly) = (0.0, 0.0);
    for (Grown { tree, .. }, credit) in forest.iter().zip(credits) {
        let sampled = (0..tree.len()).filter(|&i| tree.origin[i].is_policy());
        add("sampled_tokens", sampled.clone().map(|i| tree.span[i].len() as f64).sum());
        let alone = |i: &usize| !is_companion(tree, StepId(*i as u32));
        let without = sampled.filter(alone).filter(|&i| credit.step[i].is_none()).count();
        add("steps_without_credit", without as f64);
        add("unique_tokens", tree.unique_tokens() as f64);
        add("flat_tokens", tree.flat_tokens() as f64);
        let (companions, ends): (Vec<StepId>, Vec<StepId>) =
            leaves(tree).into_iter().partition(|leaf| is_companion(tree, *leaf));
        beside(tree, &companions, &mut add);
        for leaf in ends {
            add("leaves", 1.0);
            match &tree.verdict[leaf.index()] {
                Verdict::Scored { reward, parts } => {
                    scored += 1.0;
                    add("reward", *reward);
                    for (name, part) in parts {
                        add(&format!("part/{name}"), *part);
                    }
                    if let Some(strict) = parts.get(STRICT) {
                        add(STRICT_GAP, reward - strict);
                        strictly += 1.0;
                    }
                }
                Verdict::Unscored(reason) => add(&format!("unscored/{}", reason.label()), 1.0),
                Verdict::Pending => {}
            }
        }
    }
    for (name, value) in &mut sum {
        if [STRICT_PART, STRICT_GAP].contains(&name.as_str()) {
            *value /= strictly;
        } else if name == "reward" || name.starts_with("part/") {
            *value /= f64::max(scored, 1.0);
        }
    }
    if let Some(judged) = sum.remove("companion_judged") {
        *sum.entry("companion_reward".to_owned()).or_default() /= judged.max(1.0);
    }
    sum
}

/// Tokens that the policy wrote in a second.
pub(super) fn rate(metrics: &Metrics, seconds: f64) -> f64 {
    metrics["sampled_tokens"] / seconds.max(1e-9)
}
