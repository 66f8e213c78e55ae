//! A round of rejection sampling: attempts, second tries with a hint, and what is kept of them.

use std::collections::{BTreeMap, BTreeSet};

use stepwell_methods::selection::rejection::select;
use stepwell_tree::{Credit, Environment, Purpose, Sampling, StepId, StepTree, Task, leaves};

use super::attempts::{Hinted, demonstrated, marked, speaks_of_hint};
use super::forest::{Growing, refuse_unscored};
use crate::error::EngineError;
use crate::observe::{Event, Metrics};
use crate::order::batch;
use crate::recipe::{Dedupe, Rejection};
use crate::rollout::{Grown, Plan, grow_forest};
use crate::session::Session;

/// Sets the draws of second tries apart from those of the first.
const HINT: u64 = u64::MAX;

/// What a round kept.
pub(super) struct Kept {
    pub(super) round: usize,
    /// Attempts as demonstrations.
    pub(super) trees: Vec<StepTree>,
    pub(super) credits: Vec<Credit>,
}

/// A round's tasks, by their place among the training tasks, each once.
fn tasks(session: &Session<'_>, config: &Rejection, round: usize) -> Vec<usize> {
    let all = session.problem.train.len();
    let count = config.tasks.unwrap_or(all).min(all);
    // Rounds draw one after another, whatever their number of steps.
    let key = session.key(Purpose::TaskOrder);
    once(batch(key, all, count, round))
}

/// The first of each: a round that ends one epoch and begins the next may draw a task twice, and
/// its attempts would be the same.
fn once(mut tasks: Vec<usize>) -> Vec<usize> {
    let mut seen = BTreeSet::new();
    tasks.retain(|task| seen.insert(*task));
    tasks
}

/// A round's attempts, grown or read back, none with too many unjudged in all.
pub(super) fn attempts(
    session: &mut Session<'_>,
    config: &Rejection,
    round: usize,
) -> Result<Vec<Grown>, EngineError> {
    let forest = match session.recorded_forest()? {
        Some(forest) => forest,
        None => grow(session, config, round),
    };
    refuse_unscored(session, &growing(config), &forest)?;
    Ok(forest)
}

/// Attempts at the round's tasks, then second tries, with a hint, at those that kept none.
fn grow(session: &mut Session<'_>, config: &Rejection, round: usize) -> Vec<Grown> {
    let tasks = tasks(session, config, round);
    let mut forest = sample(session, config, &tasks, false);
    if config.hints {
        let open = unsolved(session, config, &tasks, &forest);
        forest.extend(sample(session, config, &open, true));
    }
    forest
}

/// Tasks of which nothing was kept at the first try and that have a hint.
fn unsolved(
    session: &Session<'_>,
    config: &Rejection,
    tasks: &[usize],
    forest: &[Grown],
) -> Vec<usize> {
    let problem = session.problem;
    let open = |(task, grown): &(&usize, &Grown)| {
        problem.environment.hint(&problem.train[**task]).is_some()
            && chosen(session, config, grown, &problem.train[**task], false).0.is_empty()
    };
    tasks.iter().zip(forest).filter(open).map(|(task, _)| *task).collect()
}

/// Grows a tree for each of these training tasks, some at a time.
fn sample(
    session: &mut Session<'_>,
    config: &Rejection,
    order: &[usize],
    second: bool,
) -> Vec<Grown> {
    let key = session.key(Purpose::Sample).with(session.place.done as u64);
    let plan = Plan {
        grow: &config.grow,
        sampling: Sampling {
            temperature: config.temperature as f32,
            top_k: config.top_k,
            top_p: config.top_p as f32,
        },
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        key: if second { key.with(HINT) } else { key },
    };
    let problem = session.problem;
    let plain = problem.environment.as_ref();
    let hinted = Hinted(plain);
    let environment: &dyn Environment = if second { &hinted } else { plain };
    let mut forest = Vec::new();
    for some in order.chunks(config.tasks_at_once) {
        let members: Vec<&Task> = some.iter().map(|&i| &problem.train[i]).collect();
        let observer = &mut *session.observer;
        let mut policy = session.learner.policy();
        forest.extend(grow_forest(&mut policy, environment, &members, &plan, |live| {
            observer.event(Event::Sampling { live });
        }));
    }
    forest
}

fn growing(config: &Rejection) -> Growing<'_> {
    Growing {
        grow: &config.grow,
        tasks: config.tasks_at_once,
        temperature: config.temperature,
        max_tokens: config.max_tokens,
        path_tokens: config.path_tokens,
        unscored_max: config.unscored_max,
    }
}

/// The attempts of a tree that are kept, how many were the same as another, and how many spoke of
/// their hint.
fn chosen(
    session: &Session<'_>,
    config: &Rejection,
    grown: &Grown,
    task: &Task,
    second: bool,
) -> (Vec<StepId>, usize, usize) {
    let Grown { tree, text } = grown;
    let problem = session.problem;
    let mut reward =
        config.reward.reward(std::slice::from_ref(tree)).leaf.pop().expect("rewards of one tree");
    let mut answer = vec![None; tree.len()];
    let hint = second.then(|| problem.environment.hint(task)).flatten();
    let mut spoke = 0;
    for leaf in leaves(tree) {
        let i = leaf.index();
        let good = reward[i].is_some_and(|r| r >= config.threshold);
        if good && hint.as_ref().is_some_and(|hint| speaks_of_hint(tree, text, leaf, hint)) {
            (reward[i], spoke) = (None, spoke + 1);
        }
        if config.dedupe == Dedupe::Answer {
            answer[i] = problem.environment.answer(task, &text[i]);
        }
    }
    let key = session.key(Purpose::Control).with_task(&tree.task);
    let kept = select(tree, &reward, &answer, &config.selection(), key);
    (kept.leaf, kept.duplicates, spoke)
}

/// What a round's trees leave to train on, what the record shows of them, and counts.
pub(super) fn keep(
    session: &Session<'_>,
    config: &Rejection,
    round: usize,
    forest: &[Grown],
) -> (Kept, Vec<Credit>, Metrics) {
    let first = tasks(session, config, round).len();
    let by_hash: BTreeMap<_, _> =
        session.problem.train.iter().map(|task| (task.hash(), task)).collect();
    let mut kept = Kept { round, trees: Vec::new(), credits: Vec::new() };
    let (mut credits, mut counts) = (Vec::new(), BTreeMap::new());
    let mut count =
        |name: &str, by: usize| *counts.entry(name.to_owned()).or_insert(0.0) += by as f64;
    for (t, grown) in forest.iter().enumerate() {
        let task = by_hash[&grown.tree.task];
        let second = t >= first;
        let (leaf, duplicates, spoke) = chosen(session, config, grown, task, second);
        let opening = session.problem.environment.opening(task);
        let prompt = session.learner.codec().encode_opening(&opening);
        for end in &leaf {
            let (tree, credit) = demonstrated(&grown.tree, *end, &prompt);
            kept.trees.push(tree);
            kept.credits.push(credit);
        }
        credits.push(marked(&grown.tree, &leaf));
        count("kept", leaf.len());
        count("kept_tasks", usize::from(!leaf.is_empty()));
        count("duplicates", duplicates);
        if config.hints {
            count("hinted_tasks", usize::from(second));
            count("hinted_kept", if second { leaf.len() } else { 0 });
            count("hint_spoken_of", spoke);
        }
    }
    (kept, credits, counts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Key;

    #[test]
    fn a_round_across_two_epochs_holds_each_task_once() {
        let key = Key::new(1, Purpose::TaskOrder);
        let rounds: Vec<Vec<usize>> = (0..40).map(|round| batch(key, 5, 4, round)).collect();
        assert!(rounds.iter().any(|round| once(round.clone()).len() < 4), "none repeats a task");
        for round in rounds {
            let own = once(round.clone());
            let tasks: BTreeSet<usize> = round.iter().copied().collect();
            assert_eq!((own.len(), own.iter().copied().collect()), (tasks.len(), tasks));
            assert_eq!(own[0], round[0]);
        }
    }
}
