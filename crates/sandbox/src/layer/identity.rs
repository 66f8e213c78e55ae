//! L1: an unprivileged user, no extra groups.
//!
//! Limits on processes and the host's kernel settings do not stop a process that the host knows
//! as root, whatever its namespaces say.

use rustix::process::{Gid, Uid, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::LayerError;

/// The uid and gid of nobody.
pub const NOBODY: u32 = 65534;

/// Where the process is root, it becomes nobody; an ordinary user stays who it is.
///
/// For a process with one thread: the calls are per thread.
///
/// # Errors
/// The system refuses, or the process is root afterwards.
pub fn drop_root() -> Result<(), LayerError> {
    let failed = |error: rustix::io::Errno| LayerError::new("identity", error);
    if getuid().is_root() {
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_groups(&[]).map_err(failed)?;
        set_thread_res_gid(gid, gid, gid).map_err(failed)?;
        set_thread_res_uid(uid, uid, uid).map_err(failed)?;
    }
    if getuid().is_root() || rustix::process::geteuid().is_root() {
        return Err(LayerError::new("identity", "the process is still root"));
    }
    Ok(())
}
