//! From a recipe to a run: the only loop.
//!
//! [`run::start`] and [`run::resume`] read like the journey in ARCHITECTURE.md. What they call is
//! public, so that a loop of one's own can be written from the same parts: see
//! `examples/one_loop.rs`.

pub mod alarm;
pub mod audit;
mod bounded;
pub mod checkpoint;
mod companion;
pub mod conversation;
pub mod error;
pub mod estimate;
pub mod evaluation;
mod guard;
pub mod judge;
pub mod limits;
mod memory;
mod microbatch;
pub mod observe;
pub mod order;
pub mod play;
pub mod problem;
pub mod recipe;
pub mod retention;
pub mod rollout;
pub mod run;
pub mod scorer;
mod session;
mod stage;

pub use error::EngineError;
