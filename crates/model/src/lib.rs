//! One family of decoder-only transformers, forward and backward, on the CPU and on one GPU.
//!
//! On the CPU there is one forward: the sampler and the trainer call the same functions, and every
//! output of every product is one chain of fused multiply-adds in a fixed order. So the
//! log-probability that was sampled is the one that is trained, bit for bit, for any batch, any
//! number of threads and any vector unit. The GPU (`cuda`) computes the same to rounding.

mod adamw;
mod adapter;
mod attention;
mod config;
#[cfg(feature = "cuda")]
pub mod cuda;
mod decode;
mod error;
pub mod foreign;
mod gradients;
mod head;
mod initial;
pub mod io;
mod kernel;
mod layer;
pub mod limits;
#[doc(hidden)]
pub mod measure;
mod model;
mod parameters;
mod rotary;
mod scores;
mod team;
pub mod template;
#[cfg(test)]
mod testing;
pub mod tokenizer;
mod train;
mod weights;

pub use adamw::{AdamW, AdamWSettings};
pub use adapter::{Adapter, LoraSettings, Target};
pub use config::{Config, Family, RopeScaling};
pub use decode::{Decoder, Finished, Guide, Halt, Prefix, SampleRequest, Sampling, StopCause};
pub use error::ModelError;
pub use gradients::Gradients;
pub use head::{FrozenHead, Head, HeadShape, NamedTensors};
pub use model::{Model, ParameterView};
pub use train::{
    ActivationPlan, OfRow, OtherModel, Packed, RowSeeds, Scored, StateSeeds, TokenScores, Workspace,
};
pub use weights::Precision;

/// The vector unit that the kernels use on this machine; it changes speed and no bit.
#[must_use]
pub fn vector_unit() -> &'static str {
    kernel::vector_unit()
}
