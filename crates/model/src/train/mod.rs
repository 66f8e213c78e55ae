//! Forward and backward over a packed forest.

use crate::{gradients::Gradients, model::Model, team::Team};

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

/// Activations of one packed forest and the threads that compute them; reusable.
pub struct Workspace {
    #[expect(dead_code, reason = "skeleton")]
    team: Team,
}

impl Workspace {
    /// A workspace with its own threads; their number changes no bit of any result.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { team: Team::new(threads) }
    }

    /// Scores the given positions and keeps the activations for [`Workspace::backward`].
    pub fn forward(&mut self, _model: &Model, _packed: &Packed, scored: &Scored) -> TokenScores {
        let zeros = vec![0.0; scored.row.len()];
        TokenScores { logprob: zeros.clone(), entropy: zeros }
    }

    /// Accumulates into `gradients`, given the loss's derivatives by log-probability and entropy
    /// of each scored position of the last forward (`[S]` each).
    pub fn backward(
        &mut self,
        _model: &Model,
        _packed: &Packed,
        _scored: &Scored,
        _d_logprob: &[f32],
        _d_entropy: &[f32],
        _gradients: &mut Gradients,
    ) {
    }
}
