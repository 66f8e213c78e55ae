//! L6: resource limits. They bite because of L1: root is not bound by a limit on processes.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::LayerError;

/// Limits of one process, and of what it starts. `None` leaves a limit as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rlimits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Seconds of processor time.
    pub cpu_seconds: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// Processes and threads of the user in this user namespace.
    pub processes: Option<u64>,
    /// Bytes of one file.
    pub file_bytes: Option<u64>,
}

/// Sets them, and no core dumps and no locked memory besides. Soft and hard alike, but for the
/// processor's time: its soft limit says so with a signal one second before the hard one kills.
///
/// # Errors
/// The system refuses one.
pub fn set(limits: &Rlimits) -> Result<(), LayerError> {
    let same = |value: Option<u64>| value.map(|value| (value, value));
    let all = [
        (Resource::As, same(limits.address_space)),
        (Resource::Cpu, limits.cpu_seconds.map(|seconds| (seconds, seconds + 1))),
        (Resource::Nofile, same(limits.files)),
        (Resource::Nproc, same(limits.processes)),
        (Resource::Fsize, same(limits.file_bytes)),
        (Resource::Core, Some((0, 0))),
        (Resource::Memlock, Some((0, 0))),
        (Resource::Msgqueue, Some((0, 0))),
        (Resource::Rtprio, Some((0, 0))),
    ];
    for (resource, values) in all {
        let Some((soft, hard)) = values else { continue };
        // What is stricter already stays so: only root may raise it.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) };
        setrlimit(resource, limit).map_err(|error| LayerError::new("limits", error))?;
    }
    Ok(())
}
