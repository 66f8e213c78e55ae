//! What an adapter adds to the backward of projections: no state, only products.

use super::{
    backward::Flow,
    error::Done,
    forward::Pass,
    memory::Pointer,
    product::{Form, Product},
    sums::Sums,
};
use crate::adapter::Target;

/// The adapter of one layer; nothing where there is none.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pass: &'a Pass<'a>,
    layer: usize,
    gradients: Pointer,
    d_inner: Pointer,
}

/// Rows and the distance from one to the next.
type Rows = (Pointer, usize);

impl<'a> Side<'a> {
    pub(super) fn new(pass: &'a Pass<'a>, layer: usize, sums: &Sums, flow: &Flow) -> Self {
        Self { pass, layer, gradients: sums.gradients, d_inner: pass.own.of(&flow.d_inner) }
    }

    /// `dx += scale (dy B) A`.
    pub(super) fn input(&self, target: Target, dy: Rows, dx: Rows) -> Done {
        let own = self.pass.own;
        let Some(pair) = self.pass.weights.pair(&own.device, self.layer, target) else {
            return Ok(());
        };
        let (outer, inner) = target.sides(&own.config);
        let first = Product {
            form: Form::GradInput,
            paired: false,
            rows: self.pass.rows,
            inner: pair.rank,
            outer,
            x: (self.d_inner, pair.rank),
            w: pair.b,
            y: dy,
            scale: pair.scale,
            keep: 0.0,
        };
        first.run(&own.device)?;
        let (y, w) = ((self.d_inner, pair.rank), pair.a);
        let second =
            Product { inner, outer: pair.rank, x: dx, w, y, scale: 1.0, keep: 1.0, ..first };
        second.run(&own.device)
    }

    /// `dA += d_innerᵀ x` and `dB += dyᵀ inner`, behind [`Side::input`] of the same target.
    pub(super) fn weight(&self, target: Target, x: Rows, dy: Rows) -> Done {
        let own = self.pass.own;
        let Some(pair) = self.pass.weights.pair(&own.device, self.layer, target) else {
            return Ok(());
        };
        let (outer, inner) = target.sides(&own.config);
        let [a, b] = pair.offset.map(|at| self.gradients.after::<f32>(at));
        let low = (own.of(&self.pass.scratch.inner), pair.rank);
        let forward = Product {
            form: Form::Forward,
            paired: false,
            rows: self.pass.rows,
            inner,
            outer: pair.rank,
            x,
            w: pair.a,
            y: low,
            scale: pair.scale,
            keep: 0.0,
        };
        forward.run(&own.device)?;
        let grad = Product { form: Form::GradWeight, scale: 1.0, keep: 1.0, ..forward };
        Product { w: a, y: (self.d_inner, pair.rank), ..grad }.run(&own.device)?;
        Product { inner: pair.rank, outer, x: low, w: b, y: dy, ..grad }.run(&own.device)
    }
}
