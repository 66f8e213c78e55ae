//! Files that leave a jail: as bytes, beneath a descriptor of its workspace that the engine took
//! before the program ran, and after every process of it is dead.
//!
//! The host never follows a path that the guest could have shaped: no links, nothing beside or
//! above the workspace, no other file system, plain files only.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
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
    /// The machine could not read it, whatever its name leads to.
    #[error("`{path}` cannot be read: {cause}")]
    Failed {
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
    let failed = |error: Errno| match error {
        // Not of the name: no program can bring these about for a process outside its jail.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO | Errno::INTR => {
            ArtifactError::Failed { path: path.to_owned(), cause: error.to_string() }
        }
        _ => unreachable(error.to_string()),
    };
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
    file.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(|error| {
        ArtifactError::Failed { path: path.to_owned(), cause: error.to_string() }
    })?;
    if bytes.len() > bytes_max {
        return Err(ArtifactError::Long { path: path.to_owned(), max: bytes_max });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    /// Names change hands between a file, a link to a secret, a link to its folder and a pipe, all
    /// the time, while the host reads: it never gets the secret and never waits. A reader that
    /// follows names gets it, in the same race.
    #[test]
    fn a_race_of_names_yields_no_secret() {
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("file");
        std::fs::write(&secret, "secret").unwrap();
        let inside = tempfile::tempdir().unwrap();
        let at = |name: &str| inside.path().join(name);
        std::fs::create_dir(at("plain")).unwrap();
        std::fs::write(at("plain/file"), "plain").unwrap();
        let folder = std::fs::File::open(inside.path()).unwrap().into();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let end = Over(&over);
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for target in [outside.path().to_owned(), at("plain")] {
                        let _ = symlink(target, at("new"));
                        std::fs::rename(at("new"), at("folder")).unwrap();
                    }
                    symlink(&secret, at("new")).unwrap();
                    std::fs::rename(at("new"), at("answer")).unwrap();
                    std::fs::hard_link(at("plain/file"), at("new")).unwrap();
                    std::fs::rename(at("new"), at("answer")).unwrap();
                    mkfifo(&at("new"));
                    std::fs::rename(at("new"), at("answer")).unwrap();
                    std::fs::hard_link(at("plain/file"), at("new")).unwrap();
                    std::fs::rename(at("new"), at("answer")).unwrap();
                }
            });
            let until = Instant::now() + Duration::from_secs(1);
            let (mut plain, mut caught) = (0, 0);
            while Instant::now() < until {
                let begun = Instant::now();
                for path in ["answer", "folder/file", "plain/file"] {
                    let found = read(&folder, path, 100);
                    assert_ne!(found.as_deref(), Ok(&b"secret"[..]), "{path}");
                    plain += usize::from(path == "answer" && found.is_ok());
                }
                assert!(begun.elapsed() < Duration::from_millis(500), "it waited");
                let naive = std::fs::read(at("folder/file"));
                caught += usize::from(naive.is_ok_and(|bytes| bytes == b"secret"));
            }
            drop(end);
            assert!(plain > 100 && caught > 0, "{plain} plain, {caught} caught by the naive one");
        });
    }

    /// Says so when it is dropped, in a panic too.
    struct Over<'a>(&'a AtomicBool);

    impl Drop for Over<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn mkfifo(path: &Path) {
        use rustix::fs::{CWD, mknodat};
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    }
}
