//! Every parser of bytes that others wrote, each as one function of bytes ([`TARGETS`]), and what
//! makes other bytes of known ones ([`mutate`]).
//!
//! Who wrote the bytes: what reads them: the targets that try it.
//!
//! - The author of a run: `engine::recipe`, `env::prompt`: `recipe`, `override`, `prompt`.
//! - The author of data: `env::{tasks, demonstrations, pairs, import}`: `tasks`, `demonstrations`,
//!   `pairs`, `import`.
//! - The author of a model: `model::{io, tokenizer, template}`: `safetensors`, `shard_index`,
//!   `config`, `tokenizer`, `tokenizer_config`, `chat_template`, `gguf`.
//! - The author of an adapter: `model::io`: `adapter_config`, `adapter_weights`.
//! - A policy: `env::{sql, calculator, python, math_answer}`: `sql_step`, `calculator_step`,
//!   `python_step`, `math_answer`.
//! - Anybody whose text a template surrounds: `model::template`: `content`.
//! - A program in an interpreter, in its name: `sandbox::python`, `env::python`: `python_reply`.
//! - A query that took over the process that runs it: `env::sql::child`: `sql_reply`.
//! - The author of a program: `env::external`: `external_reply`.
//! - Whoever hands over a run: `store`, `engine::checkpoint`, `train`: `manifest`, `record_trees`,
//!   `checkpoint_state`, `checkpoint_heads`, `tensors`.
//!
//! A checkpoint's weights and adapter are read by `model::io` from the same bytes as any model's.
//! SQLite reads the record and the user's databases: `store/tests/damage.rs` and
//! `env/tests/sql_child` change theirs.
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
