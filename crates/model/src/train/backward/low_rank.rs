//! The backward of projections with or without an adapter: one place that knows what trains.

use std::slice::ChunksMut;

use crate::{
    adapter::Target,
    gradients::Gradients,
    kernel::{Buffer, Numbers, PANEL, ProductScratch, product_grad_input},
    model::Model,
    train::{activations::chunks_mut, weights::WeightTask},
};

/// What the gradients of one layer's pairs are made of, per target `[N][rank]`; empty where there
/// is no pair.
#[derive(Default)]
pub(super) struct Inner {
    /// `scale (x Aᵀ)`, computed again and not kept.
    inner: [Buffer; Target::ALL.len()],
    /// `scale (dy B)`
    d_inner: [Buffer; Target::ALL.len()],
}

/// One chunk's rows of [`Inner`].
pub(super) struct InnerChunk<'a> {
    inner: [&'a mut [f32]; Target::ALL.len()],
    d_inner: [&'a mut [f32]; Target::ALL.len()],
}

impl Inner {
    /// Room for `rows` rows of every pair of the model.
    pub(super) fn resize(&mut self, model: &Model, rows: usize) {
        for target in Target::ALL {
            let rank = model.pair(0, target).map_or(0, |pair| pair.a.rows);
            self.inner[target as usize].resize(rows * rank);
            self.d_inner[target as usize].resize(rows * rank);
        }
    }

    /// Cut in chunks of rows.
    pub(super) fn chunks(&mut self, model: &Model) -> InnerChunks<'_> {
        let rank = model.adapter().map_or(1, |adapter| adapter.settings().rank);
        InnerChunks {
            inner: self.inner.each_mut().map(|rows| chunks_mut(rows, rank)),
            d_inner: self.d_inner.each_mut().map(|rows| chunks_mut(rows, rank)),
        }
    }
}

/// What is left of the chunks.
pub(super) struct InnerChunks<'a> {
    inner: [ChunksMut<'a, f32>; Target::ALL.len()],
    d_inner: [ChunksMut<'a, f32>; Target::ALL.len()],
}

impl<'a> InnerChunks<'a> {
    /// The next one; of nothing where there is no pair.
    pub(super) fn next(&mut self) -> InnerChunk<'a> {
        InnerChunk {
            inner: self.inner.each_mut().map(|rows| rows.next().unwrap_or_default()),
            d_inner: self.d_inner.each_mut().map(|rows| rows.next().unwrap_or_default()),
        }
    }
}

impl InnerChunk<'_> {
    /// `dx += dy W`, and the pair's share.
    pub(super) fn grad_input(
        &mut self,
        (model, layer, target): (&Model, usize, Target),
        dy: &[f32],
        dx: &mut [f32],
        scratch: &mut ProductScratch,
    ) {
        let slot = model.layout.layers[layer].of(target);
        product_grad_input(dy, model.matrix(slot), dx, scratch);
        if let Some(pair) = model.pair(layer, target) {
            pair.grad_input(dy, dx, self.d_inner[target as usize], scratch);
        }
    }

    /// The pair's inner rows, from the projection's input.
    pub(super) fn inner(&mut self, (model, layer, target): (&Model, usize, Target), x: &[f32]) {
        if let Some(pair) = model.pair(layer, target) {
            pair.inner(x, self.inner[target as usize]);
        }
    }
}

/// A projection whose gradient by its output and whose input are known.
pub(super) struct Part<'a> {
    target: Target,
    /// `[N][n]`
    dy: (&'a [f32], usize),
    /// `[N][k]`, along its rows.
    x: (Numbers<'a>, usize),
}

impl<'a> Part<'a> {
    pub(super) fn new(target: Target, dy: (&'a [f32], usize), x: (Numbers<'a>, usize)) -> Self {
        Self { target, dy, x }
    }

    /// The products that fill `dw`: the matrix's gradient, or those of `A` and `B` one behind the
    /// other; empty where nothing trains here.
    fn tasks(self, model: &Model, low: &'a Inner, dw: &'a mut [f32]) -> [WeightTask<'a>; 2] {
        let Self { target, dy, x } = self;
        let Some(adapter) = model.adapter() else {
            return [WeightTask::new(dy, x, dw), WeightTask::new(dy, x, &mut [])];
        };
        let rank = adapter.settings().rank;
        let (inner, d_inner) = (&low.inner[target as usize], &low.d_inner[target as usize]);
        let stored = rank.div_ceil(PANEL) * PANEL * x.1;
        let (da, db) = dw.split_at_mut(stored.min(dw.len()));
        let inner = (Numbers::F32(inner), rank);
        [WeightTask::new((d_inner, rank), x, da), WeightTask::new(dy, inner, db)]
    }
}

/// The gradients of what trains in these projections.
pub(super) fn weight_tasks<'a, const PARTS: usize>(
    (model, layer): (&Model, usize),
    parts: [Part<'a>; PARTS],
    low: &'a Inner,
    gradients: &'a mut Gradients,
) -> impl Iterator<Item = WeightTask<'a>> + Send + use<'a, PARTS> {
    let ranges = parts.each_ref().map(|part| model.trained_range(layer, part.target));
    let mut stored = gradients.ranges_mut(ranges).into_iter();
    let tasks = parts.map(|part| part.tasks(model, low, stored.next().unwrap_or_default()));
    tasks.into_iter().flatten()
}
