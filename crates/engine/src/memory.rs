//! What a stage keeps from update to update beside weights and optimizer. It is part of every
//! checkpoint (INV-13) and starts empty with every stage.

use serde::{Deserialize, Serialize};
use stepwell_methods::curriculum::Estimates;
use stepwell_methods::schedule;

use crate::alarm::Watch;

/// State kept across updates.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Memory {
    /// What the stage's schedule keeps.
    pub(crate) schedule: schedule::State,
    /// How often tasks were solved, where the stage's curriculum asks.
    #[serde(skip_serializing_if = "Estimates::is_empty")]
    pub(crate) estimates: Estimates,
    /// What shaped rewards paid, and what it was worth.
    #[serde(skip_serializing_if = "Watch::is_empty")]
    pub(crate) watch: Watch,
}

impl Memory {
    /// True where nothing was kept.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Memory::default()
    }
}
