//! What an adapter adds to projections, and its gradients: no state, only products.

use crate::{
    kernel::{
        Buffer, Numbers, Panels, ProductScratch, columns, product, product_columns_add,
        product_grad_input,
    },
    team::Team,
};

/// The two matrices on one projection.
#[derive(Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// `[rank, in]`
    pub(crate) a: Panels<'a>,
    /// `[out, rank]`
    pub(crate) b: Panels<'a>,
    /// `alpha / rank`
    pub(crate) scale: f32,
}

/// Inner rows of projections that share their input, `[rows][rank]` each.
#[derive(Default)]
pub(crate) struct DeltaScratch {
    inner: [Buffer; 3],
}

/// Rows whose inner products are one unit of work.
const ROWS: usize = 48;

/// `y += scale (x Aᵀ) Bᵀ` for each pair and output, on rows `x` of `[rows][in]`.
///
/// Every output is one chain that continues from what the frozen product left, so a row's bits do
/// not depend on its company, and a pair whose `B` is zero changes none.
pub(crate) fn add_deltas<const OUTPUTS: usize>(
    team: &Team,
    x: &[f32],
    outputs: [(Option<Pair<'_>>, &mut [f32]); OUTPUTS],
    scratch: &mut DeltaScratch,
) {
    const { assert!(OUTPUTS <= 3, "one buffer per output") };
    if outputs.iter().all(|(pair, _)| pair.is_none()) {
        return;
    }
    for ((pair, _), inner) in outputs.iter().zip(&mut scratch.inner) {
        let Some(pair) = pair else { continue };
        let (rank, width) = (pair.a.rows, pair.a.columns);
        inner.resize(x.len() / width * rank);
        let tasks = x.chunks(ROWS * width).zip(inner.chunks_mut(ROWS * rank));
        team.run(tasks, |(x, inner)| pair.inner(x, inner));
    }
    let panels = |pair: &Option<Pair>| pair.map_or(0, |pair| pair.b.panels());
    let all: usize = outputs.iter().map(|(pair, _)| panels(pair)).sum();
    let each = all.div_ceil(4 * team.threads()).next_multiple_of(4);
    let parts = outputs
        .into_iter()
        .zip(&scratch.inner)
        .filter_map(|((pair, y), inner)| pair.map(|pair| (pair.b, y, inner)))
        .flat_map(|(b, y, inner)| columns(y, b.rows, each).map(move |part| (inner, b, part)));
    team.run(parts, |(inner, b, part)| product_columns_add(Numbers::F32(inner), b, part));
}

impl Pair<'_> {
    /// `inner = scale (x Aᵀ)`, `[rows][rank]`: with it, `dB += dyᵀ inner`.
    ///
    /// The backward computes it again: it costs `rank / out` of the projection and need not be
    /// kept.
    pub(crate) fn inner(&self, x: &[f32], inner: &mut [f32]) {
        product(Numbers::F32(x), self.a, inner);
        self.scaled(inner);
    }

    fn scaled(&self, rows: &mut [f32]) {
        rows.iter_mut().for_each(|value| *value *= self.scale);
    }

    /// Adds the pair's share to the gradient by the input, `dx += scale (dy B) A`, and leaves
    /// `d_inner = scale (dy B)`, `[rows][rank]`: with it, `dA += d_innerᵀ x`.
    pub(crate) fn grad_input(
        &self,
        dy: &[f32],
        dx: &mut [f32],
        d_inner: &mut [f32],
        scratch: &mut ProductScratch,
    ) {
        d_inner.fill(0.0);
        product_grad_input(dy, self.b, d_inner, scratch);
        self.scaled(d_inner);
        product_grad_input(d_inner, self.a, dx, scratch);
    }
}
