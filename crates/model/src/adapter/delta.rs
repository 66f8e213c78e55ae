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

    /// `inner = scale (x Aᵀ)`, `[rows][rank]`: with it, `dB += dyᵀ inner`.
    ///
    /// The backward computes it again: it costs `rank / out` of the projection and need not be
    /// kept.
    pub(crate) fn inner(&self, x: &[f32], inner: &mut [f32]) {
        product(x, self.a, inner);
        scale(inner, self.scale);
    }

    /// Adds the pair's share to the gradient by the input, `dx += scale (dy B) A`, and leaves
    /// `d_inner = scale (dy B)`, `[rows][rank]`: with it, `dA += d_innerᵀ x`.
    pub(crate) fn grad_input(
        &self,
        dy: &[f32],
        dx: &mut [f32],
        d_inner: &mut [f32],
        scratch: &mut GradientScratch,
    ) {
        d_inner.fill(0.0);
        product_grad_input(dy, self.b, d_inner, scratch);
        scale(d_inner, self.scale);
        product_grad_input(d_inner, self.a, dx, scratch);
    }
}
