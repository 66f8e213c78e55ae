//! What every update is asked before it moves anything: does the packed batch train what credit
//! says and nothing else (INV-3), did these weights sample it, and are they still the weights that
//! the last update left?
//!
//! The mask is derived a second time, from trees alone: a fault of the layout cannot hide itself.

use std::collections::BTreeSet;

use stepwell_tree::{Credit, Origin, StepId, StepTree};

use crate::machine::Seal;
use crate::{Learner, MicroBatch, TrainError};

impl Learner {
    /// Takes the weights' sum, so that [`Learner::require_unmoved`] knows them again; until then,
    /// and after every step, nothing is known of them. Weights on a GPU are not read for it. A sum
    /// that is known already is not taken anew but compared: nothing has stepped since.
    ///
    /// # Errors
    /// Names the first parameter that holds what is no number; weights that moved on their own.
    pub fn seal(&mut self) -> Result<(), TrainError> {
        if self.seal.is_some() {
            self.require_unmoved()?;
        } else {
            self.seal = match self.machine.seal() {
                Seal::Sum(sum) => Some(sum),
                Seal::Unread => None,
                Seal::Broken => {
                    let name = self.model().non_finite().unwrap_or_default();
                    return Err(TrainError::Spoilt { name, version: self.version().0 });
                }
            };
        }
        if stepwell_mutant::planted(33)
            && let Ok(mut weights) = self.machine.trained()
        {
            weights[0] = f32::from_bits(weights[0].to_bits() ^ 1);
            let _ = self.machine.set_trained(&weights);
        }
        Ok(())
    }

    /// What told these weights from others when they were sealed, on every machine and in every
    /// precision; `None` where they have moved since, or are on a GPU.
    pub fn fingerprint(&self) -> Option<u64> {
        self.seal
    }

    /// Refuses weights that are not what the last update, or a checkpoint, left.
    ///
    /// # Errors
    /// Names both sums.
    pub fn require_unmoved(&self) -> Result<(), TrainError> {
        let Some(expected) = self.seal else { return Ok(()) };
        let got = match self.machine.seal() {
            Seal::Sum(got) if got == expected => return Ok(()),
            Seal::Sum(got) => format!("{got:016x}"),
            Seal::Broken | Seal::Unread => "none".to_owned(),
        };
        let version = self.version().0;
        let expected = format!("{expected:016x}");
        Err(TrainError::Weights { version, got, expected, non_finite: self.model().non_finite() })
    }

    /// Refuses trees that other weights than these have sampled.
    pub(crate) fn require_own(
        &self,
        forest: &[StepTree],
        credit: &[Credit],
    ) -> Result<(), TrainError> {
        let expected = self.version();
        for (t, (tree, credit)) in forest.iter().zip(credit).enumerate() {
            for (step, origin) in tree.origin.iter().enumerate() {
                let Origin::Policy(got) = *origin else { continue };
                if credit.step[step].is_some() && got != expected {
                    let place = place(tree, t, step, None);
                    return Err(TrainError::Version { got: got.0, expected: expected.0, place });
                }
            }
        }
        Ok(())
    }
}

/// Where something is wrong: tree of the update, task, step and token, for people.
pub(crate) fn place(tree: &StepTree, t: usize, step: usize, token: Option<usize>) -> String {
    let token = token.map_or_else(String::new, |at| format!(", token {at}"));
    format!("tree {t} (task {}), step {step}{token}", tree.task)
}

/// Refuses batches that train another token than those of steps with credit, or one of those not
/// exactly once, or one that is not read at its predecessor on the path. On policy only what the
/// policy wrote may train; else what the data marks, which is never a prompt (DECISIONS 7).
pub(crate) fn trained_once<'b>(
    (forest, credit): (&[StepTree], &[Credit]),
    on_policy: bool,
    batches: impl Iterator<Item = &'b MicroBatch>,
) -> Result<(), TrainError> {
    let mut seen = BTreeSet::new();
    for batch in batches {
        let mut rows = 0;
        for (&(t, step), range) in &batch.step_rows {
            rows += range.len();
            let tree = &forest[t];
            let wrong = |what: String| {
                Err(TrainError::Mask { what, place: place(tree, t, step.index(), None) })
            };
            let origin = tree.origin[step.index()];
            if origin == Origin::Prompt || on_policy && !origin.is_policy() {
                return wrong(format!("a step of origin {origin:?} trains"));
            }
            if credit[t].step[step.index()].is_none() {
                return wrong("a step without credit trains".to_owned());
            }
            if !seen.insert((t, step)) {
                return wrong("a step trains twice".to_owned());
            }
            step_is_right(tree, t, step, batch, range.clone())?;
        }
        if rows != batch.trained() {
            let what = format!("{} tokens train, {rows} of them in a step", batch.trained());
            return Err(TrainError::Mask { what, place: "a micro-batch".to_owned() });
        }
    }
    let with_credit = |(t, credit): (usize, &Credit)| {
        let steps = credit.step.iter().enumerate().filter(|(_, own)| own.is_some());
        steps.map(|(step, _)| (t, StepId(step as u32))).collect::<Vec<_>>()
    };
    let mut wanted = credit.iter().enumerate().flat_map(with_credit);
    match wanted.find(|own| !seen.contains(own)) {
        None => Ok(()),
        Some((t, step)) => Err(TrainError::Mask {
            what: "a step with credit does not train".to_owned(),
            place: place(&forest[t], t, step.index(), None),
        }),
    }
}

/// The rows of one step, compared with its path.
fn step_is_right(
    tree: &StepTree,
    t: usize,
    step: StepId,
    batch: &MicroBatch,
    rows: std::ops::Range<usize>,
) -> Result<(), TrainError> {
    let (length, last) = before(tree, step);
    // The first token of a path follows nothing and is not predicted.
    let skipped = usize::from(length == 0 && !tree.tokens(step).is_empty());
    let own = tree.span[step.index()].range();
    if rows.len() + skipped != own.len() {
        let what = format!("{} tokens train of {}", rows.len(), own.len() - skipped);
        return Err(TrainError::Mask { what, place: place(tree, t, step.index(), None) });
    }
    for (k, at) in rows.enumerate() {
        let (k, arena) = (k + skipped, own.start + k + skipped);
        let predicted_by = if k == 0 { last } else { Some(tree.token[arena - 1]) };
        let row = batch.row[at] as usize;
        let read = (batch.layout.token[row], batch.layout.position[row] as usize);
        let wrong = if batch.place[at] != (t, arena) || batch.target[at] != tree.token[arena] {
            "another token stands in its place"
        } else if batch.behaviour[at].to_bits() != tree.logprob[arena].to_bits() {
            "it has another token's sampled log-prob"
        } else if Some(read.0) != predicted_by || read.1 + 1 != length + k {
            "it is not predicted by the token before it on its path"
        } else {
            continue;
        };
        let place = place(tree, t, step.index(), Some(k));
        return Err(TrainError::Mask { what: wrong.to_owned(), place });
    }
    Ok(())
}

/// How many tokens stand before a step on its path, and the last of them.
fn before(tree: &StepTree, step: StepId) -> (usize, Option<u32>) {
    let (mut length, mut last, mut at) = (0, None, step);
    while at != StepId::ROOT {
        at = tree.parent[at.index()];
        let own = tree.tokens(at);
        length += own.len();
        last = last.or(own.last().copied());
    }
    (length, last)
}
