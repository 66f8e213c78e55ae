//! Environments and their judges: worlds that answer a policy's actions and in the end give a
//! [`Verdict`](stepwell_tree::Verdict).
//!
//! Four environments: [`sql`], questions over SQLite databases with queries while reasoning,
//! [`calculator`], word problems with calculations while reasoning, [`math_answer`], reasoning in
//! free text that is judged by its final answer, and [`external`], a program of the user's that
//! answers and judges. Beside them, what every environment needs:
//! [`tasks`] reads task files, [`import`] turns known data sets into them, [`demonstrations`] reads
//! worked attempts, [`pairs`] pairs of answers, and [`laws`] states what any environment must obey.
//! This crate has never heard of tensors (INV-9).

pub mod calculator;
mod calls;
pub mod chat;
pub mod demonstrations;
mod error;
pub mod exact;
pub mod external;
pub mod import;
pub mod laws;
pub mod limits;
pub mod math_answer;
pub mod pairs;
pub mod prompt;
pub mod python;
mod shares;
mod split;
pub mod sql;
pub mod tasks;

pub use error::EnvError;
pub use split::Split;
