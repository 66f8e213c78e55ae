//! The products of a linear layer by themselves, and what the machine could do at most; for
//! benchmarks only.

use crate::{
    kernel::{
        Buffer, GradientScratch, Limit, PANEL, Panels, product, product_grad_input,
        product_grad_weight,
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

/// What this machine reaches at most; `None` where the processor lacks the unit.
#[derive(Clone, Copy, Debug)]
pub struct Peak {
    /// `f32` multiply-adds on 16 lanes, in operations per second.
    pub avx512: Option<f64>,
    /// `f32` multiply-adds on 8 lanes, in operations per second.
    pub avx2: Option<f64>,
    /// `bf16` products summed in `f32`, in operations per second.
    pub bf16: Option<f64>,
    /// `f32` as the target's baseline compiles it, in operations per second.
    pub portable: f64,
    /// Reading memory, in bytes per second.
    pub read: f64,
}

impl Peak {
    /// `f32` operations per second of the fastest unit.
    #[must_use]
    pub fn f32(&self) -> f64 {
        [self.avx512, self.avx2].into_iter().flatten().fold(self.portable, f64::max)
    }
}

/// Measures the peaks of `threads` threads together, at least 1; takes about two seconds.
#[must_use]
pub fn peak(threads: usize) -> Peak {
    let threads = threads.max(1);
    let rate = |limit: Limit| limit.rate(threads, 50);
    Peak {
        avx512: rate(Limit::Avx512),
        avx2: rate(Limit::Avx2),
        bf16: rate(Limit::Bf16),
        portable: rate(Limit::Portable).unwrap_or(0.0),
        read: Limit::Read.rate(threads, 30).unwrap_or(0.0),
    }
}
