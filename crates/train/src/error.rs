//! Why an update did not happen.

use crate::{DeviceError, MicroBatch};

/// Why an update did not happen. The weights are untouched.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TrainError {
    /// A number is NaN or infinite.
    #[error("{what} is not finite: got {value}; {place}; no weight was changed")]
    NotFinite {
        /// What kind of number.
        what: &'static str,
        /// The number.
        value: f64,
        /// Tree, step and token, or the parameter.
        place: String,
    },
    /// A step of the optimizer left what is no number.
    #[error(
        "a weight is not finite: got NaN; parameter `{name}`, after version {version}; nothing of \
         this update was committed, and `resume` goes on from the newest checkpoint"
    )]
    Spoilt {
        /// The first parameter that holds one.
        name: String,
        /// The version that the step made.
        version: u64,
    },
    /// The trainer does not see the log-probs that were sampled.
    #[error(
        "trainer and sampler disagree on log-probs: mean |difference| {mean:.3e}, expected at most \
         {most:.0e}; {place}; no weight was changed; the cache, the temperature or the layout is \
         wrong"
    )]
    Gap {
        /// Mean absolute difference over the trained tokens.
        mean: f64,
        /// The largest that the device allows; on the CPU the gap is 0 (P3).
        most: f64,
        /// The first token that differs and the one that differs most, with both numbers.
        place: String,
    },
    /// Trees that are to train on policy were sampled by other weights.
    #[error(
        "{place} was sampled by policy version {got}, the weights are version {expected}; no weight \
         was changed; this is a bug of ours: report it with the run's folder"
    )]
    Version {
        /// The version that sampled.
        got: u64,
        /// The learner's.
        expected: u64,
        /// Tree and step.
        place: String,
    },
    /// What is packed for training is not what credit says (INV-3).
    #[error(
        "{place}: {what}; no weight was changed; this is a bug of ours: report it with the run's \
         folder"
    )]
    Mask {
        /// What is wrong with it.
        what: String,
        /// Tree, step and token.
        place: String,
    },
    /// The weights are not what the last update or checkpoint left.
    #[error(
        "the weights of version {version} have changed since they were written: sum {got}, expected: \
         {expected}{}; the memory of this machine or a bug is at fault; the newest \
         checkpoint is older than the change: `resume` goes on from it",
        .non_finite.as_ref().map_or_else(String::new, |name| format!("; `{name}` is not finite"))
    )]
    Weights {
        /// The version.
        version: u64,
        /// Their sum now; `none` where one is no number.
        got: String,
        /// Their sum when they were sealed.
        expected: String,
        /// The first parameter that is not finite, where one is.
        non_finite: Option<String>,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// Names the first number that is not finite, and where it stands.
pub(crate) fn finite(
    what: &'static str,
    numbers: &[f32],
    batch: &MicroBatch,
) -> Result<(), TrainError> {
    let Some(at) = numbers.iter().position(|x| !x.is_finite()) else { return Ok(()) };
    Err(TrainError::NotFinite { what, value: f64::from(numbers[at]), place: batch.named(at) })
}

/// Names a sum over a micro-batch that is not finite.
pub(crate) fn finite_sum(
    what: &'static str,
    value: f64,
    batch: &MicroBatch,
) -> Result<(), TrainError> {
    if value.is_finite() {
        return Ok(());
    }
    let (first, last) = (batch.tree.first(), batch.tree.last());
    let place = first.zip(last).map_or_else(String::new, |(a, b)| format!("trees {a} to {b}"));
    Err(TrainError::NotFinite { what, value, place })
}
