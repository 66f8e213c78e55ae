//! The papers: pure functions over the tree, one file per method.
//!
//! A method is one file of one of these kinds; [`registry`] lists them all, one enum and one match
//! per kind. Read in the order a datum meets them: [`schedule`] says what an update is made of,
//! [`curriculum`] which tasks it has, [`grow`] where to sample next. [`reward`] turns verdicts into
//! training rewards, [`filter`] says which trees may train, [`credit`] gives every policy step its
//! number, [`objective`] turns numbers and log-probabilities into a loss and its gradient.
//! [`preference`] does so for pairs of answers, and finds them among siblings; [`selection`]
//! says which attempts become demonstrations; [`estimator`] is for heads that say one number at the
//! end of a step, [`offline`] for heads that say what a token is worth, and [`row`] for whole
//! distributions.
//!
//! Nothing here does IO, reads a clock, draws entropy or starts a thread (INV-1). Nothing returns a
//! `Result`: what a recipe may hold is checked when the recipe is read (`problem`), and a broken
//! precondition is a bug that panics.

pub mod credit;
pub mod curriculum;
pub mod estimator;
pub mod filter;
pub mod grow;
pub mod objective;
pub mod offline;
pub mod preference;
pub mod registry;
pub mod reward;
pub mod row;
pub mod schedule;
pub mod selection;

#[cfg(test)]
mod laws;

pub use credit::Rewards;
pub use grow::{
    COMPANION, Decision, GrowView, Open, Run, Scores, SearchView, decisions, is_companion,
};
pub use objective::{Aggregation, Batch, Diagnostics, Loss, Row, RowLoss, Streams, token_weights};
pub use registry::{
    CreditConfig, Curriculum, EstimatorConfig, Filter, Grow, Needs, Objective, OfflineValue,
    PreferenceLoss, RewardConfig, RowObjective, Schedule,
};
