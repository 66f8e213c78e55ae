//! What a process takes from itself, each layer in a file. All of them are inherited and none can
//! be given back.

pub mod files;
pub mod identity;
pub mod limits;
pub mod syscalls;

use thiserror::Error;

/// A layer that this kernel or this process does not offer.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{layer} unavailable: {cause}")]
pub struct LayerError {
    /// Its name: `bubblewrap`, `identity`, `namespaces`, `limits`, `landlock`, `seccomp`.
    pub layer: &'static str,
    /// The system's words.
    pub cause: String,
}

impl LayerError {
    /// The layer of a name, as another process told it.
    pub(crate) fn named(name: &str, cause: String) -> LayerError {
        let known = ["landlock", "seccomp", "limits", "identity", "namespaces", "bubblewrap"];
        let layer = known.into_iter().find(|known| *known == name).unwrap_or("sandbox");
        LayerError { layer, cause }
    }

    pub(crate) fn new(layer: &'static str, cause: impl ToString) -> LayerError {
        LayerError { layer, cause: cause.to_string() }
    }
}
