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
    identity::drop_root()?;
    limits::set(&Rlimits {
        address_space: Some(address_space),
        processes: Some(0),
        file_bytes: Some(0),
        ..Rlimits::default()
    })?;
    files::restrict(&Rules::default())?;
    syscalls::restrict(Caller::Compute)
}
