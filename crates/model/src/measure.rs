//! The products of a linear layer by themselves, and what the machine could do at most; for
//! benchmarks only.

use crate::{
    kernel::{
        Buffer, Limit, ProductScratch, along_columns, along_rows, product, product_grad_input,
        product_grad_weight,
    },
    parameters::{Kind, Slot},
    weights::{Precision, Split, Weights},
};

/// One weight matrix `[n, k]` in the engine's layout, and scratch for its products.
pub struct Linear {
    slot: Slot,
    weights: Weights,
    gradient: Buffer,
    words: Buffer<u32>,
    scratch: ProductScratch,
    n: usize,
    k: usize,
}

impl Linear {
    /// From row-major `[n, k]` values.
    #[must_use]
    pub fn new(row_major: &[f32], n: usize, k: usize, precision: Precision) -> Self {
        let kind = Kind::Matrix { rows: n, columns: k };
        let slot = Slot { name: "weight".to_owned(), kind, offset: 0, split_offset: 0 };
        let words = slot.split_range().len();
        let mut weights = match precision {
            Precision::F32 => Weights::F32(Buffer::zeros(slot.stored())),
            Precision::Bf16 => Weights::Split(Split {
                high: Buffer::zeros(words),
                low: Buffer::zeros(words),
                vectors: Buffer::default(),
            }),
        };
        weights.write(&slot, row_major);
        let gradient = Buffer::zeros(slot.stored());
        let (words, scratch) = (Buffer::default(), ProductScratch::default());
        Self { slot, weights, gradient, words, scratch, n, k }
    }

    fn paired(&self) -> bool {
        self.weights.precision() == Precision::Bf16
    }

    /// `y = x Wᵀ`, on one thread.
    pub fn forward(&mut self, x: &[f32], y: &mut [f32]) {
        let x = along_columns(self.paired(), x, self.k, &mut self.words);
        product(x, self.weights.matrix(&self.slot), y);
    }

    /// `dx += dy W`, on one thread.
    pub fn grad_input(&mut self, dy: &[f32], dx: &mut [f32]) {
        product_grad_input(dy, self.weights.matrix(&self.slot), dx, &mut self.scratch);
    }

    /// `dW += dyᵀ x`, on one thread.
    pub fn grad_weight(&mut self, dy: &[f32], x: &[f32]) {
        let x = along_rows(self.paired(), x, self.k, &mut self.words);
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
