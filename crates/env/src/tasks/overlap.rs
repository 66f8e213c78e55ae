//! Tasks that a training set and an evaluation set share.

use std::collections::BTreeMap;

use super::Loaded;
use crate::EnvError;

/// What to do with shared tasks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Overlap {
    /// Refuse the evaluation set.
    #[default]
    Refuse,
    /// Accept it, and count.
    Allow,
}

/// The number of evaluation tasks that also train, by content and not by id; an error where that is
/// refused and there are some.
pub fn overlap(train: &Loaded, eval: &Loaded, rule: Overlap) -> Result<usize, EnvError> {
    let trained: BTreeMap<_, _> =
        train.tasks.iter().zip(&train.line).rev().map(|(task, line)| (task.hash(), line)).collect();
    let shared: Vec<(usize, usize)> = eval
        .tasks
        .iter()
        .zip(&eval.line)
        .filter_map(|(task, line)| Some((*line, **trained.get(&task.hash())?)))
        .collect();
    match (rule, shared.first()) {
        (Overlap::Refuse, Some((eval, train))) => super::fault(format!(
            "{} eval tasks also appear in training (first: eval:{eval} = train:{train}); \
             set `environment.files.allow_overlap = true` to accept",
            shared.len()
        )),
        _ => Ok(shared.len()),
    }
}
