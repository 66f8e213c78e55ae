//! The three sets of tasks of a generated world.

use serde::{Deserialize, Serialize};

/// Which set a task belongs to. What splits of a world do not share, its own page says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Trained on.
    Train,
    /// Never trained on; looked at while settings are chosen.
    Development,
    /// Never trained on; looked at once, at the end.
    HeldOut,
}

impl Split {
    /// All splits, in the order of their numbers.
    pub const ALL: [Split; 3] = [Split::Train, Split::Development, Split::HeldOut];

    /// Where its members' numbers begin, far enough apart that splits never share one.
    pub(crate) fn offset(self) -> u64 {
        1_000_000 * self as u64
    }

    /// How names of its members begin.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Development => "development",
            Split::HeldOut => "held_out",
        }
    }
}
