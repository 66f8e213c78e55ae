//! Forward and backward over a packed forest.

mod activations;
mod attention;
mod attention_grad;
mod backward;
mod forest;
mod forward;
mod parts;
mod rows;
mod score;
mod state;
mod weights;
mod workspace;

pub use activations::ActivationPlan;
#[cfg(feature = "cuda")]
pub(crate) use forest::Forest;
pub use rows::{OfRow, OtherModel, RowSeeds};
pub use state::StateSeeds;
pub use workspace::Workspace;

/// A packed forest in depth-first order; a flat row is one segment.
///
/// Token `j` is visible to token `i` iff `j <= i && i < subtree_end[j]` (INV-4).
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    /// `[N]` vocabulary entries.
    pub token: &'a [u32],
    /// `[N]` distance from the root along the token's own path.
    pub position: &'a [u32],
    /// `[segments + 1]` first token of each segment, in order; the last entry is `N`.
    pub segment_begin: &'a [u32],
    /// `[N]` one past the last token of the subtree of the token's segment.
    pub subtree_end: &'a [u32],
}

/// Which log-probabilities are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// `[S]` the row whose hidden state predicts.
    pub row: &'a [u32],
    /// `[S]` the token predicted there.
    pub target: &'a [u32],
    /// Divides the logits. 0 means greedy sampling, which is scored at temperature 1.
    pub temperature: f32,
}

/// What a forward tells about the scored positions.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenScores {
    /// `[S]` log-probability of the target in the tempered distribution.
    pub logprob: Vec<f32>,
    /// `[S]` entropy of the tempered distribution in nats.
    pub entropy: Vec<f32>,
}
