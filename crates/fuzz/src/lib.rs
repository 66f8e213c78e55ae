//! Every parser of bytes that others wrote, each as one function of bytes ([`TARGETS`]), and what
//! makes other bytes of known ones ([`mutate`]).
//!
//! `cargo test -p stepwell-fuzz` runs each target on its corpus (`corpus/<target>`) and then on
//! mutations of it, in a process of its own, under bounds of time and memory; a failure is printed,
//! written beside the corpus, and tried first from then on. `STEPWELL_FUZZ_SECONDS` says how long
//! each target is tried, `STEPWELL_FUZZ_SEED` with which draws, `STEPWELL_LONG=1` an hour for all.
//!
//! No coverage is measured: what a target *says*, with names and numbers taken out, stands in for
//! it, and an input that makes a parser say something new is kept and changed further. For a fuzzer
//! that measures coverage, each target is the function it wants.

pub mod mutate;
mod targets;

pub use targets::TARGETS;
pub use targets::model::{adapter as small_adapter, files as small_files};

/// One parser.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also the name of its folder below `corpus`.
    pub name: &'static str,
    /// Reads the bytes, uses what came out as the program would, and gives what was said. It must
    /// return for every input, without a panic, in bounded time and memory.
    pub run: fn(&[u8]) -> String,
    /// Words that its inputs are made of.
    pub words: &'static [&'static str],
    /// Most bytes of an input that is tried.
    pub bytes_max: usize,
}
