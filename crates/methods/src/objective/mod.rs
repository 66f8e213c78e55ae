//! From credit and log-probabilities to a loss and its gradient.
//!
//! An objective is `objective(&Batch, &Config) -> Loss`: a sum over tokens of
//! `weight[i] × loss(token i)`. [`token_weights`] makes the weights once for the whole update
//! (DECISIONS 15), so that an update split in micro-batches is a sum of their losses, gradients and
//! diagnostics, and splitting changes nothing. It returns the gradient with respect to what it
//! read and stops there: the same objective drives our backward and anyone else's.

pub mod adaptive_clip;
mod aggregation;
pub mod cispo;
pub mod clipped;
pub mod cross_entropy;
mod diagnostics;
pub mod gmpo;
pub mod gspo;
mod kl;
pub mod policy_gradient;
mod sequence;
mod streams;
pub mod surrogate;
pub mod una;
pub mod value_loss;

pub use aggregation::{Aggregation, token_weights};
pub use diagnostics::Diagnostics;
pub use kl::{Estimator, Kl};
pub use sequence::{Level, Part, RowSequence, Sequence, Unit, sequences};
pub use streams::{Row, RowLoss, Streams};

use std::collections::BTreeMap;

/// The trained tokens of one update, or of one micro-batch of it; R rows in any order. A row of
/// weight 0 is not read and gets gradient 0, bit for bit.
///
/// ```
/// use stepwell_methods::Batch;
/// let (logprob, weight) = ([-1.0, -0.5], [0.5, 0.5]);
/// let batch = Batch { logprob: &logprob, weight: &weight, ..Batch::default() };
/// assert_eq!(batch.len(), 2);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Batch<'a> {
    /// `[R]` log-probability of each token under the weights being trained.
    pub logprob: &'a [f32],
    /// `[R]` entropy of the distribution the token was drawn from, under the weights being trained;
    /// may be empty where the objective has no entropy bonus.
    pub entropy: &'a [f32],
    /// `[R]` log-probability at the time of sampling; may be empty for `cross_entropy`.
    pub behaviour: &'a [f32],
    /// `[R]` log-probability under the frozen reference, where the objective declares it.
    pub reference: Option<&'a [f32]>,
    /// `[R]` credit of the step that owns the token, or its refinement per token; may be empty for
    /// `cross_entropy`.
    pub credit: &'a [f32],
    /// `[R]` factor of each token's loss, from [`token_weights`].
    pub weight: &'a [f64],
    /// Stretches of rows that share a ratio, from [`sequences`], where the objective declares
    /// them: every row of weight other than 0 is in one with all of its share. Empty for most.
    pub sequence: &'a [RowSequence],
    /// Further columns an objective declares: values, scores, Q. Empty for most.
    pub streams: Streams<'a>,
}

impl Batch<'_> {
    /// Number of rows, R.
    pub fn len(&self) -> usize {
        self.logprob.len()
    }

    /// True where there is nothing to train.
    pub fn is_empty(&self) -> bool {
        self.logprob.is_empty()
    }

    /// A column that must be there: as long as the batch.
    fn assert_column(&self, name: &str, column: &[f32]) {
        assert_eq!(column.len(), self.len(), "column `{name}` of a batch against its log-probs");
    }
}

/// A loss and its gradient with respect to everything the objective read.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Loss {
    /// The weighted sum over this batch; the sum over an update's batches is the update's loss.
    pub value: f64,
    /// `[R]` derivative with respect to `Batch::logprob`.
    pub d_logprob: Vec<f32>,
    /// `[R]` derivative with respect to `Batch::entropy`.
    pub d_entropy: Vec<f32>,
    /// `[R]` each: derivatives with respect to columns of `Batch::streams`, by the same name.
    pub d_streams: BTreeMap<&'static str, Vec<f32>>,
    /// What reports show.
    pub diagnostics: Diagnostics,
}

impl Loss {
    /// A loss of 0 over `rows` rows.
    pub fn zero(rows: usize) -> Self {
        Loss { d_logprob: vec![0.0; rows], d_entropy: vec![0.0; rows], ..Loss::default() }
    }
}
