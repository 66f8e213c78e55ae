//! The backward of projections with or without an adapter: one place that knows what trains.

use crate::{
    adapter::Target,
    kernel::{Buffer, GradientScratch, product_grad_input},
    model::Model,
    train::{
        activations::{CHUNK, chunks_mut},
        weights::WeightTask,
    },
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
#[derive(Default)]
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
    pub(super) fn chunks(&mut self, model: &Model, rows: usize) -> Vec<InnerChunk<'_>> {
        let mut out = Vec::new();
        out.resize_with(rows.div_ceil(CHUNK), InnerChunk::default);
        let rank = model.adapter().map_or(1, |adapter| adapter.settings().rank);
        for (target, (inner, d_inner)) in self.inner.iter_mut().zip(&mut self.d_inner).enumerate() {
            let own = chunks_mut(inner, rank).zip(chunks_mut(d_inner, rank));
            for (chunk, (inner, d_inner)) in out.iter_mut().zip(own) {
                chunk.inner[target] = inner;
                chunk.d_inner[target] = d_inner;
            }
        }
        out
    }
}

impl InnerChunk<'_> {
    /// `dx += dy W`, and the pair's share.
    pub(super) fn grad_input(
        &mut self,
        (model, layer, target): (&Model, usize, Target),
        dy: &[f32],
        dx: &mut [f32],
        scratch: &mut GradientScratch,
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

/// A projection whose gradient by its output and whose input are known: `dy` `[N][n]`,
/// `x` `[N][k]`.
pub(super) struct Part<'a> {
    pub(super) target: Target,
    pub(super) dy: &'a [f32],
    pub(super) n: usize,
    pub(super) x: &'a [f32],
    pub(super) k: usize,
}

/// The gradients of what trains in these projections: their matrices, or their pairs.
pub(super) fn weight_tasks<'a>(
    (model, layer): (&Model, usize),
    parts: impl IntoIterator<Item = Part<'a>>,
    low: &'a Inner,
    mut slots: Vec<&'a mut [f32]>,
) -> Vec<WeightTask<'a>> {
    let mut tasks = Vec::new();
    for Part { target, dy, n, x, k } in parts {
        let Some(adapter) = model.adapter() else {
            let dw = std::mem::take(&mut slots[model.layout.layers[layer].of(target)]);
            tasks.push(WeightTask { dy, n, x, k, first: 0, dw });
            continue;
        };
        let Some([a, b]) = adapter.slots_of(layer, target) else { continue };
        let rank = adapter.settings().rank;
        let (inner, d_inner) = (&low.inner[target as usize], &low.d_inner[target as usize]);
        let dw = std::mem::take(&mut slots[a]);
        tasks.push(WeightTask { dy: d_inner, n: rank, x, k, first: 0, dw });
        let dw = std::mem::take(&mut slots[b]);
        tasks.push(WeightTask { dy, n, x: inner, k: rank, first: 0, dw });
    }
    tasks
}
