//! What an adapter adds to one projection, and its gradients: no state, only products.

use crate::kernel::{Buffer, GradientScratch, Panels, add, product, product_grad_input, scale};

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

/// Scratch of one thread.
#[derive(Default)]
pub(crate) struct DeltaScratch {
    /// `[rows][rank]`
    inner: Buffer,
    /// `[rows][out]`
    delta: Buffer,
}

impl Pair<'_> {
    /// `y += scale (x Aᵀ) Bᵀ` for rows `x` of `[rows][in]` and `y` of `[rows][out]`.
    ///
    /// Both products are single chains per output, so a row's bits do not depend on its company.
    pub(crate) fn forward(&self, x: &[f32], y: &mut [f32], scratch: &mut DeltaScratch) {
        let rows = x.len() / self.a.columns;
        scratch.inner.reserve(rows * self.a.rows);
        scratch.delta.reserve(y.len());
        let inner = &mut scratch.inner[..rows * self.a.rows];
        let delta = &mut scratch.delta[..y.len()];
        self.inner(x, inner);
        product(inner, self.b, delta);
        add(y, delta);
    }

    /// `inner = scale (x Aᵀ)`, `[rows][rank]`.
    fn inner(&self, x: &[f32], inner: &mut [f32]) {
        product(x, self.a, inner);
        scale(inner, self.scale);
    }

    /// The row-wise part of the backward. With `dy` `[rows][out]` it adds the pair's share to `dx`
    /// `[rows][in]` and leaves in `inner` and `d_inner` (`[rows][rank]` each) what the gradients
    /// of the matrices are made of: `dB += dyᵀ inner` and `dA += d_innerᵀ x`.
    ///
    /// `inner` is computed again and was not kept: it costs `rank / out` of the projection.
    pub(crate) fn backward_rows(
        &self,
        (x, dy): (&[f32], &[f32]),
        dx: &mut [f32],
        (inner, d_inner): (&mut [f32], &mut [f32]),
        scratch: &mut GradientScratch,
    ) {
        self.inner(x, inner);
        d_inner.fill(0.0);
        product_grad_input(dy, self.b, d_inner, scratch);
        scale(d_inner, self.scale);
        product_grad_input(d_inner, self.a, dx, scratch);
    }
}
