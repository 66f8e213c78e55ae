//! Layers left out on purpose, so that a test sees what each of them holds.
//!
//! Only a build with the feature `test-holes` can leave one out, which this crate's own tests
//! enable, and only by a call of `open`: no file, no variable and no recipe leads there.

#[cfg(feature = "test-holes")]
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// The layers of a jail, outermost first.
pub const LAYERS: [&str; 11] = [
    IDENTITY,
    ENVIRONMENT,
    NAMESPACES,
    SESSION,
    ROOT,
    LIMITS,
    CGROUP,
    DESCRIPTORS,
    LANDLOCK,
    CAPABILITIES,
    SECCOMP,
];
pub(crate) const IDENTITY: &str = "identity";
pub(crate) const ENVIRONMENT: &str = "environment";
/// All namespaces but those of users and mounts, without which there is no bubblewrap.
pub(crate) const NAMESPACES: &str = "namespaces";
pub(crate) const SESSION: &str = "session";
pub(crate) const ROOT: &str = "root";
pub(crate) const LIMITS: &str = "limits";
pub(crate) const CGROUP: &str = "cgroup";
pub(crate) const DESCRIPTORS: &str = "descriptors";
pub(crate) const LANDLOCK: &str = "landlock";
pub(crate) const CAPABILITIES: &str = "capabilities";
pub(crate) const SECCOMP: &str = "seccomp";

/// The layers that a jail does without.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Holes(Vec<String>);

impl Holes {
    pub(crate) fn has(&self, layer: &str) -> bool {
        cfg!(feature = "test-holes") && self.0.iter().any(|open| open == layer)
    }

    /// The folder of the host that can be written where the root is not private.
    pub(crate) fn folder(&self) -> Option<&str> {
        let words = self.0.iter().find_map(|open| open.strip_prefix("folder "));
        words.filter(|_| self.has(ROOT))
    }
}

#[cfg(feature = "test-holes")]
static OPEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Leaves layers out of every jail that this process starts from now on; `folder PATH` names what
/// a jail without [`ROOT`] can reach.
#[cfg(feature = "test-holes")]
pub fn open(layers: Vec<String>) {
    *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = layers;
}

/// What [`open`] said.
pub(crate) fn current() -> Holes {
    #[cfg(feature = "test-holes")]
    return Holes(OPEN.lock().unwrap_or_else(PoisonError::into_inner).clone());
    #[cfg(not(feature = "test-holes"))]
    Holes::default()
}
