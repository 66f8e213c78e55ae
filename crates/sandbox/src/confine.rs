//! A confined child: this binary, which opens what it needs and then takes every other right from
//! itself (DECISIONS 22). No bubblewrap, no privilege.
//!
//! ```text
//! parent ──▶ /proc/self/exe __child ROLE ──▶ opens files ──▶ confine ──▶ reads strangers' bytes
//! ```

use crate::layer::LayerError;
use crate::layer::files::{self, Rules};
use crate::layer::identity;
use crate::layer::limits::{self, Rlimits};
use crate::layer::syscalls::{self, Caller};

/// Takes from this process all but what is open: no files, no network, no processes, no signals to
/// others; an ordinary user; a bounded memory. For a process with one thread.
///
/// # Errors
/// The first layer that this machine does not offer.
pub fn confine(address_space: u64) -> Result<(), LayerError> {
    layers(address_space).into_iter().try_for_each(|layer| layer())
}

/// As [`confine`], but goes on without the layers that this machine does not offer.
///
/// Gives them, in order.
pub fn confine_weakly(address_space: u64) -> Vec<LayerError> {
    layers(address_space).into_iter().filter_map(|layer| layer().err()).collect()
}

type Layer = Box<dyn Fn() -> Result<(), LayerError>>;

/// In the order in which they are taken: each next one forbids what the one before needed.
fn layers(address_space: u64) -> [Layer; 4] {
    let rlimits = Rlimits {
        address_space: Some(address_space),
        processes: Some(0),
        file_bytes: Some(0),
        ..Rlimits::default()
    };
    [
        Box::new(identity::drop_root),
        Box::new(move || limits::set(&rlimits)),
        Box::new(|| files::restrict(&Rules::default())),
        Box::new(|| syscalls::restrict(Caller::Compute)),
    ]
}
