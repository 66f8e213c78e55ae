//! Files that leave a jail: as bytes, beneath a descriptor of its workspace that the engine took
//! before the program ran, and after every process of it is dead.
//!
//! The host never follows a path that the guest could have shaped: no links, nothing beside or
//! above the workspace, no other file system, plain files only.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use thiserror::Error;

use crate::jail::WORKSPACE;

/// Why a file did not leave a jail.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ArtifactError {
    /// Nothing of that name, or its name leads elsewhere.
    #[error("`{path}`: {cause}")]
    Unreachable {
        /// Its name.
        path: String,
        /// The system's words.
        cause: String,
    },
    /// A folder, a pipe, a socket or a device.
    #[error("`{0}` is not a plain file")]
    NotPlain(String),
    /// More bytes than it may have.
    #[error("`{path}` is longer than {max} bytes")]
    Long {
        /// Its name.
        path: String,
        /// The limit.
        max: usize,
    },
}

/// A descriptor of the workspace that a process inside a jail sees.
pub(crate) fn hold(inside: u32) -> std::io::Result<OwnedFd> {
    let root = format!("/proc/{inside}/root{WORKSPACE}");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = open(root, flags, Mode::empty())
        .map_err(|error| std::io::Error::other(format!("its workspace cannot be held: {error}")))?;
    Ok(folder)
}

/// The first child of a process, by the host's numbers.
pub(crate) fn first_child(process: u32) -> std::io::Result<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = std::fs::read_to_string(path)?;
    let first = children.split_whitespace().next().and_then(|number| number.parse().ok());
    first.ok_or_else(|| std::io::Error::other("the jail has no first process"))
}

/// Reads a plain file beneath a folder.
pub(crate) fn read(
    folder: &OwnedFd,
    path: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, ArtifactError> {
    let unreachable = |cause: String| ArtifactError::Unreachable { path: path.to_owned(), cause };
    let failed = |error: rustix::io::Errno| unreachable(error.to_string());
    if Path::new(path).is_absolute() {
        return Err(unreachable("must be relative to the workspace".to_owned()));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let within = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let descriptor = openat2(folder, path, flags, Mode::empty(), within).map_err(failed)?;
    let found = fstat(&descriptor).map_err(failed)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(ArtifactError::NotPlain(path.to_owned()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::from(descriptor);
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreachable(error.to_string()))?;
    if bytes.len() > bytes_max {
        return Err(ArtifactError::Long { path: path.to_owned(), max: bytes_max });
    }
    Ok(bytes)
}
