//! The nouns of stepwell: what every other crate agrees on.
//!
//! A [`Task`] is answered by growing a [`StepTree`]: the policy writes a step, the environment
//! answers, and where it pays the tree forks. Leaves receive a [`Verdict`]; a credit method turns
//! verdicts into one [`Credit`] per step; [`Layout`] places the trees of an update once, in
//! depth-first order, for the model to compute.
//!
//! This crate does no IO, reads no clock, draws no entropy and starts no thread (INV-1).

mod credit;
mod environment;
mod forest;
mod invariant;
mod key;
mod layout;
mod path;
mod policy;
mod sentinel;
mod step;
mod task;
mod text;
mod tree;
mod verdict;

pub use credit::Credit;
pub use environment::{
    Demonstration, Environment, Episode, ForkError, Opening, STRICT, Segment, Turn,
};
pub use forest::{recursive_mean, sampled_length};
pub use invariant::Violation;
pub use key::{Key, Purpose};
pub use layout::Layout;
pub use path::{children, leaves, path_to};
pub use policy::{Completion, Policy, PrefixId, SampleRequest, Sampling};
pub use sentinel::NOT_SAMPLED;
pub use step::{Origin, PolicyVersion, Span, StepId, Stop};
pub use task::{Task, TaskHash};
pub use text::{draw, parse};
pub use tree::{NewStep, StepTree};
pub use verdict::{UnscoredReason, Verdict};
