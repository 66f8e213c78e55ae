//! Files that are whole or absent: written under `tmp-`, synced, renamed, their folder synced.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::error::{Result, StoreError};

/// What unfinished work is called; removed when a run is opened for writing.
pub(crate) const TEMPORARY: &str = "tmp-";

/// Writes a file whole, to last: in a run folder, or wherever the user wants one.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else {
        let error = io::Error::other("the path names no file");
        return Err(StoreError::io("write", path, error));
    };
    let temporary = path.with_file_name(format!("{TEMPORARY}{name}"));
    let failed = |e| StoreError::io("write", &temporary, e);
    let mut file = File::create(&temporary).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    sync(&file, &temporary).map_err(failed)?;
    rename(&temporary, path)
}

/// Makes what was written last. The only way to the disk's own memory.
pub(crate) fn sync(file: &File, path: &Path) -> io::Result<()> {
    if stepwell_mutant::planted(18) {
        return Ok(());
    }
    file.sync_all()?;
    note("sync", path);
    Ok(())
}

// What happened to which name, in order; tests read it.
#[cfg(test)]
thread_local! {
    static NOTES: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}

#[cfg(test)]
fn note(what: &str, path: &Path) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    NOTES.with_borrow_mut(|notes| notes.push(format!("{what} {}", name.unwrap_or_default())));
}

#[cfg(not(test))]
fn note(_: &str, _: &Path) {}

/// Renames, and makes the new name last.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    note("rename", from);
    fs::rename(from, to).map_err(|e| StoreError::io("rename", from, e))?;
    sync_folder(to.parent().expect("the path has a folder"))
}

/// Makes the names in a folder last.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    // A file in the working directory has the empty path as its folder.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder)
        .and_then(|opened| sync(&opened, folder))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Checkpoint, Content, RunFolder};

    /// What must be on the disk before a name says that it is: in this order a crash at any moment
    /// leaves a whole checkpoint or none.
    #[test]
    fn p11_everything_is_synced_before_the_name_that_stands_for_it() {
        let place = tempfile::tempdir().unwrap();
        let run = RunFolder::create(&place.path().join("run"), "").unwrap();
        let head = run.record().unwrap().head();
        NOTES.with_borrow_mut(Vec::clear);
        let mut files = [("a.bin", Content::Bytes(b"a")), ("b.bin", Content::Bytes(b"b"))];
        Checkpoint::write(&run, 7, &mut files, &serde_json::json!({}), head).unwrap();
        let expected = [
            "sync a.bin",
            "sync b.bin",
            "sync state.json",
            "sync manifest.json",
            "sync tmp-000007",
            "rename tmp-000007",
            "sync checkpoints",
        ];
        assert_eq!(NOTES.with_borrow(Vec::clone), expected);
        NOTES.with_borrow_mut(Vec::clear);
        write_file(&place.path().join("file"), b"bytes").unwrap();
        let folder = place.path().file_name().unwrap().to_string_lossy();
        let expected = ["sync tmp-file", "rename tmp-file", &format!("sync {folder}")];
        assert_eq!(NOTES.with_borrow(Vec::clone), expected);
    }
}
