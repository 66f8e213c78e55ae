//! The papers: pure functions over the tree, one file per method.
//!
//! A method is one file of one of these kinds; [`registry`] lists them all, one enum and one match
//! per kind. Read in the order a datum meets them: [`grow`] says where to sample next, [`reward`]
//! turns verdicts into training rewards, [`credit`] gives every policy step its number,
//! [`objective`] turns numbers and log-probabilities into a loss and its gradient. [`preference`]
//! does so for pairs of answers, and finds them among siblings; [`estimator`] for heads that say
//! one number at the end of a step, [`offline`] for heads that say what a token is worth, and
//! [`row`] for whole distributions.
//!
//! Nothing here does IO, reads a clock, draws entropy or starts a thread (INV-1). Nothing returns a
//! `Result`: what a recipe may hold is checked when the recipe is read (`problem`), and a broken
//! precondition is a bug that panics.

pub mod credit;
pub mod estimator;
pub mod grow;
pub mod objective;
pub mod offline;
pub mod preference;
pub mod registry;
pub mod reward;
pub mod row;

#[cfg(test)]
mod laws;

pub use credit::Rewards;
pub use grow::{Decision, GrowView, decisions};
pub use objective::{Aggregation, Batch, Diagnostics, Loss, Row, RowLoss, Streams, token_weights};
pub use registry::{
    CreditConfig, EstimatorConfig, Grow, Needs, Objective, OfflineValue, PreferenceLoss,
    RewardConfig, RowObjective,
};
