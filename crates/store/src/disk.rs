//! What the file system under a run folder is, and how much it has left.

use std::path::Path;

use crate::error::{Result, StoreError};

/// File systems whose locks or shared memory do not reach across machines.
const NETWORK: [(u64, &str); 9] = [
    (0x6969, "nfs"),
    (0x517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x00c3_6400, "ceph"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "afs"),
    (0x7375_7245, "coda"),
    (0x0bd0_0bd0, "lustre"),
];

fn network_name(kind: u64) -> Option<&'static str> {
    NETWORK.iter().find(|(magic, _)| *magic == kind).map(|(_, name)| *name)
}

/// Refuses a folder on a network file system.
pub(crate) fn require_local(folder: &Path) -> Result<()> {
    let stat = rustix::fs::statfs(folder)
        .map_err(|e| StoreError::io("look at the file system of", folder, e.into()))?;
    // The kernel's field is signed on some machines; the magic is its low 32 bits.
    match network_name(stat.f_type as u64 & 0xffff_ffff) {
        Some(name) => Err(StoreError::NetworkFileSystem { name }),
        None => Ok(()),
    }
}

/// Refuses to begin what cannot end: `needed` bytes must be free.
pub(crate) fn require_space(folder: &Path, needed: u64, what: &str) -> Result<()> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|e| StoreError::io("look at the file system of", folder, e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= needed {
        return Ok(());
    }
    let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
    Err(StoreError::NoSpace {
        what: "run folder".to_owned(),
        detail: format!(
            " (needs about {} for {what}, {} free)",
            gigabytes(needed),
            gigabytes(free)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_named_and_local_ones_pass() {
        assert_eq!(network_name(0x6969), Some("nfs"));
        assert_eq!(network_name(0xef53), None); // ext4
        assert_eq!(network_name(0x0102_1994), None); // tmpfs
        let error = StoreError::NetworkFileSystem { name: "nfs" }.to_string();
        assert!(error.starts_with("run folder is on nfs: the record needs local locks"), "{error}");
    }

    #[test]
    fn missing_space_is_told_in_numbers() {
        let folder = tempfile::tempdir().unwrap();
        require_space(folder.path(), 1, "one checkpoint").unwrap();
        let error =
            require_space(folder.path(), u64::MAX, "one checkpoint").unwrap_err().to_string();
        let expected = "cannot write run folder: no space left (needs about 18446744073.7 GB for \
                        one checkpoint, ";
        assert!(error.starts_with(expected), "{error}");
    }
}
