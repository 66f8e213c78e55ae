//! The batch of live rows.

use super::{Finished, Halt, Prefix, SampleRequest};
use crate::model::Model;

/// Decodes for one frozen version of the weights; start a new one when the weights move.
pub struct Decoder {}

impl Decoder {
    /// A decoder with its own threads; their number changes no bit of any result.
    #[must_use]
    pub fn new(_threads: usize) -> Self {
        Self {}
    }

    /// Runs known tokens (at least one) behind `parent`.
    pub fn extend(&mut self, model: &Model, parent: Option<&Prefix>, tokens: &[u32]) -> Prefix {
        let steps = [(parent.cloned(), tokens.to_vec())];
        self.extend_many(model, &steps).remove(0)
    }

    /// Runs many steps of known tokens together, in few large products.
    pub fn extend_many(
        &mut self,
        _model: &Model,
        steps: &[(Option<Prefix>, Vec<u32>)],
    ) -> Vec<Prefix> {
        steps.iter().map(|_| Prefix::stub()).collect()
    }

    /// Adds a live row that samples a child of `parent`.
    pub fn begin(&mut self, _id: u64, _parent: &Prefix, _request: SampleRequest) {}

    /// Rows that are being sampled.
    #[must_use]
    pub fn live(&self) -> usize {
        0
    }

    /// Samples one token for every live row. `draw` gives the uniform number in [0, 1) for
    /// (row, position in the step); `decide` sees the tokens so far. Rows that ended are
    /// returned in the order they began.
    pub fn advance(
        &mut self,
        _model: &Model,
        _draw: &(dyn Fn(u64, u32) -> f64 + Sync),
        _decide: &(dyn Fn(u64, &[u32]) -> Halt + Sync),
    ) -> Vec<Finished> {
        Vec::new()
    }
}
