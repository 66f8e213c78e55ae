//! Makes the local model a policy and a learner.
//!
//! [`Learner`] owns weights, optimizer and codec. [`Learner::policy`] lends the weights to a
//! [`LocalPolicy`] that samples; keys and values live inside that loan, so none can outlive the
//! weights that made them (INV-8). [`Learner::update`] turns a forest with credit into one
//! transactional optimizer step: whatever is not finite is named, and nothing moves.
//! [`Learner::update_beside`] adds a second loss to every step; [`Learner::prefer`] trains on pairs
//! of answers, [`Learner::learn_offline`] heads and policy on a log. [`Learner::led`] lends the
//! weights to a policy that such heads lead.

mod batch;
mod codec;
mod distill;
mod error;
mod fed;
mod gap;
mod guard;
mod heads;
mod judge;
mod learner;
mod machine;
mod mix;
mod offline;
#[cfg(test)]
mod offline_tests;
mod policy;
mod prefer;
mod reference;
mod schedule;
mod trust_region;
mod update;
mod values;

pub use batch::{MicroBatch, REFERENCE, micro_batches};
pub use codec::Codec;
pub use distill::Distillation;
pub use error::TrainError;
pub use heads::{HeadReport, HeadSettings, HeadState, SCORE, VALUE};
pub use judge::Judge;
pub use learner::{Learner, LearnerState};
pub use machine::{Device, DeviceError};
pub use mix::{Beside, Measured};
pub use offline::{OfflineReport, OfflineSettings};
pub use policy::LocalPolicy;
pub use prefer::{PreferenceReport, PreferenceSettings, StepPair};
pub use reference::Reference;
pub use schedule::{LearningRate, Shape};
pub use trust_region::{TrustRegion, TrustReport};
pub use update::{Settings, UpdateReport};
pub use values::{CriticReport, CriticSettings, VALUE_TARGET};
