//! Files that are whole or absent: written under `tmp-`, synced, renamed, their folder synced.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::error::{Result, StoreError};

/// What unfinished work is called; removed when a run is opened for writing.
pub(crate) const TEMPORARY: &str = "tmp-";

/// Writes a file whole.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().expect("the path names a file").to_string_lossy();
    let temporary = path.with_file_name(format!("{TEMPORARY}{name}"));
    let failed = |e| StoreError::io("write", &temporary, e);
    let mut file = File::create(&temporary).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    rename(&temporary, path)
}

/// Renames, and makes the new name last.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| StoreError::io("rename", from, e))?;
    sync_folder(to.parent().expect("the path has a folder"))
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    // A file in the working directory has the empty path as its folder.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(|e| StoreError::io("sync", folder, e))
}

/// Removes what unfinished work left in a folder.
pub(crate) fn remove_temporaries(folder: &Path) -> Result<()> {
    let failed = |e| StoreError::io("clean", folder, e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        // `file_type` does not follow links, so nothing outside the folder is touched.
        let removed = match entry.file_type().map_err(failed)?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
        removed.map_err(|e| StoreError::io("remove", &entry.path(), e))?;
    }
    Ok(())
}
