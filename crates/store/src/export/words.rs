//! The words both exports use for enums of the tree.

use stepwell_tree::{Origin, Stop, TaskHash};

use crate::digest::Digest;
use crate::encode::STOPS;

pub(super) fn origin(origin: Origin) -> (&'static str, Option<u64>) {
    match origin {
        Origin::Prompt => ("prompt", None),
        Origin::Policy(version) => ("policy", Some(version.0)),
        Origin::Environment => ("environment", None),
        Origin::Demonstration => ("demonstration", None),
    }
}

pub(super) fn stop(stop: Stop) -> &'static str {
    STOPS.iter().find(|(_, other)| *other == stop).expect("every stop has its word").0
}

/// All 64 digits: exports are joined by them.
pub(super) fn task(task: TaskHash) -> String {
    Digest(task.0).hex()
}
