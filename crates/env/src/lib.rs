//! Environments and their judges: worlds that answer a policy's actions and in the end give a
//! [`Verdict`](stepwell_tree::Verdict).
//!
//! One environment so far, [`sql`]: questions over SQLite databases, with queries allowed while
//! reasoning. Beside it, what every environment needs: [`tasks`] reads task files, [`import`] turns
//! known data sets into them, [`demonstrations`] reads worked attempts, and [`laws`] states what
//! any environment must obey. This crate has never heard of tensors (INV-9).

pub mod demonstrations;
mod error;
pub mod import;
pub mod laws;
pub mod sql;
pub mod tasks;

pub use error::EnvError;
