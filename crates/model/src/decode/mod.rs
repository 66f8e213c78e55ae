//! Decoding: keys and values belong to steps, all live rows advance together.

mod block;
mod decoder;
mod guide;
mod path_attention;
mod prefix;
mod request;
mod row;
mod sample;

pub use decoder::Decoder;
pub use guide::Guide;
pub use prefix::Prefix;
#[cfg(feature = "cuda")]
pub(crate) use request::{Decide, Draw};
pub use request::{Finished, Halt, SampleRequest, Sampling, StopCause};
#[cfg(feature = "cuda")]
pub(crate) use sample::draw as draw_token;
