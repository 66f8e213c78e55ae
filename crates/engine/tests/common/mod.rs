//! Worlds and policies that do what a test says, a tiny learner, tiny recipes.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses what it needs of this module"
)]

pub(crate) mod policy;
pub(crate) mod probe;
pub(crate) mod runs;
pub(crate) mod small;
pub(crate) mod told;
pub(crate) mod world;
