//! The only arithmetic of the engine, its threads, and the only place for `unsafe`.
//!
//! Every output of a product is one chain of fused multiply-adds, `k` ascending; of pairs, pair by
//! pair. Everything else
//! is plain Rust over slices, compiled once per vector unit: fused multiply-add, addition,
//! division and square root are exact operations of IEEE 754, so each unit gives the same bits.
#![expect(unsafe_code, reason = "vector intrinsics, aligned memory, shared outputs, lent jobs")]

mod bf16;
mod buffer;
mod crew;
mod elementwise;
mod lanes;
mod level;
mod math;
mod peak;
mod product;
#[cfg(test)]
mod product_tests;
mod rectangle;
mod tile;
#[cfg(target_arch = "x86_64")]
mod tile_x86;
mod transpose;
#[cfg(target_arch = "x86_64")]
mod transpose_x86;

#[cfg(test)]
pub(crate) use bf16::round;
pub(crate) use bf16::{join, pair_columns, pair_rows, pairs, split, unpair};
pub(crate) use buffer::{Buffer, LANES};
pub(crate) use crew::Crew;
pub(crate) use elementwise::*;
pub(crate) use lanes::{LaneRows, write_lanes};
pub(crate) use level::vector_unit;
pub(crate) use math::*;
pub(crate) use peak::Limit;
pub(crate) use product::*;
pub(crate) use rectangle::Rectangle;
pub(crate) use tile::{PANEL, Tile};
pub(crate) use transpose::add;
