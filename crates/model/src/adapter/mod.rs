//! LoRA (arXiv 2106.09685): a product of small inner dimension beside a frozen matrix.
//!
//! A targeted projection computes `y = x Wᵀ + scale (x Aᵀ) Bᵀ` with `A: [rank, in]`,
//! `B: [out, rank]` and `scale = alpha / rank`. Only `A` and `B` train. They are always `f32`,
//! whatever the base is stored in, and lie in an arena of their own, in the panels of
//! [`crate::parameters`]: the products of the base serve the adapter too, so one row, a batch and
//! a prefill give the same bits here as well (INV-6).

mod delta;
#[cfg(test)]
mod delta_tests;
mod lora;
mod settings;

pub(crate) use delta::{DeltaScratch, Pair, add_deltas};
pub use lora::Adapter;
pub use settings::{LoraSettings, Target};
