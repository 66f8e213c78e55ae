//! Decoders of every device as one object: paths are numbers, whatever holds them.

use std::collections::BTreeMap;

use stepwell_model::{Finished, Halt, SampleRequest};

/// Gives the uniform number in [0, 1) for (row, position in the step).
pub(crate) type Draw<'a> = &'a (dyn Fn(u64, u32) -> f64 + Sync);
/// Sees a row's tokens so far.
pub(crate) type Decide<'a> = &'a (dyn Fn(u64, &[u32]) -> Halt + Sync);

/// Samples steps over paths that it keeps under numbers.
pub(crate) trait Sampler {
    /// Runs steps of known tokens behind paths; the numbers of the new ones.
    fn extend(&mut self, steps: &[(Option<u64>, Vec<u32>)]) -> Vec<u64>;

    /// Adds a live row that samples a child of a path.
    fn begin(&mut self, id: u64, parent: u64, request: SampleRequest);

    /// Samples one token for every live row; the rows that ended.
    fn advance(&mut self, draw: Draw<'_>, decide: Decide<'_>) -> Vec<Finished<u64>>;

    /// Lets go of a path.
    fn release(&mut self, path: u64);
}

/// What a decoder does, with its own kind of path.
pub(crate) trait Decodes {
    type Prefix: Clone;

    fn extend_many(&mut self, steps: &[(Option<Self::Prefix>, Vec<u32>)]) -> Vec<Self::Prefix>;

    fn begin(&mut self, id: u64, parent: &Self::Prefix, request: SampleRequest);

    fn advance(&mut self, draw: Draw<'_>, decide: Decide<'_>) -> Vec<Finished<Self::Prefix>>;
}

/// A decoder whose paths have numbers.
pub(crate) struct Numbered<D: Decodes> {
    decoder: D,
    prefix: BTreeMap<u64, D::Prefix>,
    made: u64,
}

impl<D: Decodes> Numbered<D> {
    pub(crate) fn new(decoder: D) -> Self {
        Numbered { decoder, prefix: BTreeMap::new(), made: 0 }
    }

    fn keep(&mut self, prefix: D::Prefix) -> u64 {
        self.made += 1;
        self.prefix.insert(self.made, prefix);
        self.made
    }
}

impl<D: Decodes> Sampler for Numbered<D> {
    fn extend(&mut self, steps: &[(Option<u64>, Vec<u32>)]) -> Vec<u64> {
        let held = |parent: &u64| self.prefix[parent].clone();
        let steps: Vec<(Option<D::Prefix>, Vec<u32>)> = steps
            .iter()
            .map(|(parent, tokens)| (parent.as_ref().map(held), tokens.clone()))
            .collect();
        let made = self.decoder.extend_many(&steps);
        made.into_iter().map(|prefix| self.keep(prefix)).collect()
    }

    fn begin(&mut self, id: u64, parent: u64, request: SampleRequest) {
        self.decoder.begin(id, &self.prefix[&parent], request);
    }

    fn advance(&mut self, draw: Draw<'_>, decide: Decide<'_>) -> Vec<Finished<u64>> {
        let finished = self.decoder.advance(draw, decide);
        let number = |step: Finished<D::Prefix>| {
            let Finished { id, tokens, logprobs, prefix, stop } = step;
            Finished { id, tokens, logprobs, prefix: self.keep(prefix), stop }
        };
        finished.into_iter().map(number).collect()
    }

    fn release(&mut self, path: u64) {
        self.prefix.remove(&path);
    }
}
