//! The products of a linear layer by themselves, for benchmarks only.

use crate::{
    kernel::{
        Buffer, GradientScratch, PANEL, Panels, product, product_grad_input, product_grad_weight,
    },
    parameters::{Kind, Slot},
};

/// One weight matrix `[n, k]` in the engine's layout, and scratch for its gradients.
pub struct Linear {
    weight: Buffer,
    gradient: Buffer,
    scratch: GradientScratch,
    n: usize,
    k: usize,
}

impl Linear {
    /// From row-major `[n, k]` values.
    #[must_use]
    pub fn new(row_major: &[f32], n: usize, k: usize) -> Self {
        let kind = Kind::Matrix { rows: n, columns: k };
        let slot = Slot { name: "weight".to_owned(), kind, offset: 0 };
        let mut weight = Buffer::zeros(n.div_ceil(PANEL) * PANEL * k);
        slot.write(&mut weight, row_major);
        let gradient = Buffer::zeros(weight.len());
        Self { weight, gradient, scratch: GradientScratch::default(), n, k }
    }

    fn panels(&self) -> Panels<'_> {
        Panels { data: &self.weight, rows: self.n, columns: self.k }
    }

    /// `y = x Wᵀ`, on one thread.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        product(x, self.panels(), y);
    }

    /// `dx += dy W`, on one thread.
    pub fn grad_input(&mut self, dy: &[f32], dx: &mut [f32]) {
        let weight = Panels { data: &self.weight, rows: self.n, columns: self.k };
        product_grad_input(dy, weight, dx, &mut self.scratch);
    }

    /// `dW += dyᵀ x`, on one thread.
    pub fn grad_weight(&mut self, dy: &[f32], x: &[f32]) {
        let (dy, x) = ((dy, self.n), (x, self.k));
        product_grad_weight(dy, x, 0, &mut self.gradient, &mut self.scratch);
    }
}
