//! An update's trees with further tasks in place of those that a filter drops.
//!
//! Further tasks come from a keyed order of their own: the update and the draw name them, so that
//! what earlier updates drew plays no part, and a stopped run that grows the update again draws the
//! same. A further task is in an update at most once and is none of the update's own, so the key of
//! its tree, which is the update's and the task's, is its own; how many trees grow at a time
//! changes nothing. (Of its own tasks an update that is larger than their number, or that ends an
//! epoch, may hold some again, and their trees are the same.)

use std::collections::BTreeSet;

use stepwell_methods::Curriculum;
use stepwell_methods::curriculum::Now;
use stepwell_tree::{Purpose, StepTree, Task, TaskHash};

use super::forest::{Growing, drawn, grow, refuse_unscored};
use super::sift::sift;
use crate::error::EngineError;
use crate::observe::Metrics;
use crate::recipe::Rl;
use crate::rollout::Grown;
use crate::session::Session;

/// Sets the order of further tasks apart from that of an update's own.
const FURTHER: u64 = u64::MAX;
/// Sets the order of a curriculum apart from both.
const CURRICULUM: u64 = u64::MAX - 1;

/// The tasks of an update by their place among the training tasks.
pub(super) struct Tasks {
    /// Its own.
    own: Vec<usize>,
    /// Those that may be drawn beyond them, each once and none of its own.
    further: Vec<usize>,
    /// What the curriculum says of them, for the record.
    pub(super) metrics: Metrics,
}

/// The tasks of this update: in epochs, or as the curriculum orders them.
pub(super) fn tasks(session: &Session<'_>, config: &Rl) -> Tasks {
    let key = session.key(Purpose::TaskOrder);
    let update = session.place.done as u64;
    let now = Now { update, updates: config.steps as u64, version: session.learner.version().0 };
    let all: Vec<TaskHash> = match config.curriculum {
        Curriculum::Epochs(_) => Vec::new(),
        _ => session.problem.train.iter().map(Task::hash).collect(),
    };
    let estimates = &session.memory.estimates;
    let key_of_update = key.with(CURRICULUM).with(update);
    let Some(order) = config.curriculum.order(&all, estimates, &now, key_of_update) else {
        let own = drawn(session, config.tasks);
        let seen: BTreeSet<usize> = own.iter().copied().collect();
        let count = if config.refill == 0 { 0 } else { session.problem.train.len() };
        let mut further = key.with(FURTHER).with(update).permutation(count);
        further.retain(|task| !seen.contains(task));
        further.truncate(config.refill);
        return Tasks { own, further, metrics: Metrics::new() };
    };
    let mut own = order.task;
    let mut further = own.split_off(config.tasks.min(own.len()));
    further.truncate(config.refill);
    let metrics = [
        ("curriculum/known", estimates.len() as f64),
        ("curriculum/wanted", order.wanted as f64),
        ("curriculum/unwanted_drawn", own.len().saturating_sub(order.wanted) as f64),
    ];
    let metrics = metrics.map(|(name, value)| (name.to_owned(), value)).into();
    Tasks { own, further, metrics }
}

/// This update's trees, grown or read back: its own, then the further ones in the order of their
/// draw, until `tasks` of them are kept, the recipe's cap is used, or the tokens are.
pub(super) fn forest(
    session: &mut Session<'_>,
    growing: &Growing<'_>,
    config: &Rl,
    tasks: Tasks,
) -> Result<Vec<Grown>, EngineError> {
    if let Some(forest) = session.recorded_forest()? {
        refuse_unscored(session, growing, &forest)?;
        return Ok(forest);
    }
    let mut further = tasks.further.into_iter();
    let mut forest = grow(session, growing, &tasks.own);
    loop {
        refuse_unscored(session, growing, &forest)?;
        if config.refill == 0 || config.filter.is_empty() {
            return Ok(forest);
        }
        let missing = tasks.own.len().saturating_sub(kept(config, &forest));
        if missing == 0 || spent(session, config, &forest) {
            return Ok(forest);
        }
        let next: Vec<usize> = further.by_ref().take(missing).collect();
        if next.is_empty() {
            return Ok(forest);
        }
        forest.extend(grow(session, growing, &next));
    }
}

/// Trees that filters keep.
fn kept(config: &Rl, forest: &[Grown]) -> usize {
    if config.filter.is_empty() {
        return forest.len();
    }
    let trees: Vec<StepTree> = forest.iter().map(|grown| grown.tree.clone()).collect();
    sift(&config.filter, &trees, &config.reward.reward(&trees)).kept()
}

/// True where the trees, if they are trained on, use up the stage's tokens.
fn spent(session: &Session<'_>, config: &Rl, forest: &[Grown]) -> bool {
    let Some(budget) = config.token_budget else { return false };
    let sampled = |Grown { tree, .. }: &Grown| -> u64 {
        let policy = (0..tree.len()).filter(|&i| tree.origin[i].is_policy());
        policy.map(|i| tree.span[i].len() as u64).sum()
    };
    session.place.sampled_tokens + forest.iter().map(sampled).sum::<u64>() >= budget
}
