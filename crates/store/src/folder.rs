//! The run folder: everything a run leaves behind, in one place with one writer.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::atomic::{self, TEMPORARY};
use crate::cell::Cell;
use crate::chain;
use crate::commit::{CommitInfo, CommitKey, Head, Kind};
use crate::digest::Digest;
use crate::disk;
use crate::encode::integer;
use crate::error::{Result, StoreError};
use crate::files::{self, RunFiles};
use crate::lock::{self, RunLock};
use crate::reader::RunReader;
use crate::record::Record;
use crate::schema;
use crate::table::{RUN, Row, insert};

const RECORD: &str = "run.sqlite";
pub(crate) const RECIPE: &str = "recipe.toml";
const LOCK: &str = "lock";
const METRICS: &str = "metrics.jsonl";
const CHECKPOINTS: &str = "checkpoints";
const EXPORT: &str = "export";

/// A run folder that this process may write, and read as any [`RunFiles`]. The lock is held until
/// it, its records and their clones are dropped.
#[derive(Clone, Debug)]
pub struct RunFolder {
    files: RunFiles,
    lock: Arc<RunLock>,
}

impl Deref for RunFolder {
    type Target = RunFiles;

    fn deref(&self) -> &RunFiles {
        &self.files
    }
}

impl RunFolder {
    /// Makes a new run of a resolved recipe in a folder that is empty or does not exist.
    pub fn create(path: &Path, recipe: &str) -> Result<RunFolder> {
        RunFolder::create_marked(path, recipe, None)
    }

    /// The same, with what is to be known of a run whose sandbox is weak. It is part of the record
    /// and its digests.
    pub fn create_marked(path: &Path, recipe: &str, weak: Option<&str>) -> Result<RunFolder> {
        make_folder(path)?;
        disk::require_local(path)?;
        require_empty(path).map_err(|error| in_use(path).unwrap_or(error))?;
        let lock = RunLock::take(&path.join(LOCK))?;
        require_empty(path)?; // another process may have been faster
        for folder in [CHECKPOINTS, EXPORT] {
            let folder = path.join(folder);
            fs::create_dir_all(&folder).map_err(|e| StoreError::io("create", &folder, e))?;
        }
        atomic::remove_temporaries(path)?;
        create_record(path, recipe, weak)?;
        atomic::write_file(&path.join(RECIPE), recipe.as_bytes())?;
        let files = RunFiles::of(path, recipe.to_owned());
        Ok(RunFolder { files, lock: Arc::new(lock) })
    }

    /// Opens a run to go on with it.
    pub fn open_for_writing(path: &Path) -> Result<RunFolder> {
        record_path(path)?;
        disk::require_local(path)?;
        let lock = RunLock::take(&path.join(LOCK))?;
        atomic::remove_temporaries(path)?;
        let folder = path.join(CHECKPOINTS);
        fs::create_dir_all(&folder).map_err(|e| StoreError::io("create", &folder, e))?;
        atomic::remove_temporaries(&folder)?;
        let recipe = RunReader::open(path)?.recipe()?;
        if !files::has_recipe(path, &recipe)? {
            atomic::write_file(&path.join(RECIPE), recipe.as_bytes())?;
        }
        Ok(RunFolder { files: RunFiles::of(path, recipe), lock: Arc::new(lock) })
    }

    /// Opens the record for writing. One at a time: a second one would lose its place in the chain.
    pub fn record(&self) -> Result<Record> {
        let path = record_path(self.path())?;
        Record::open(path, self.path().join(METRICS), Arc::clone(&self.lock))
    }

    /// Where exports go.
    pub fn export(&self) -> PathBuf {
        self.path().join(EXPORT)
    }

    /// Refuses to begin what cannot end: `bytes` must be free on the disk. `what` names them:
    /// `one checkpoint`.
    pub fn require_space(&self, bytes: u64, what: &str) -> Result<()> {
        disk::require_space(self.path(), bytes, what)
    }
}

/// The record of a run; a folder is a run if and only if it has one.
pub(crate) fn record_path(folder: &Path) -> Result<PathBuf> {
    let path = folder.join(RECORD);
    match path.is_file() {
        true => Ok(path),
        false => Err(StoreError::NoRun { path: folder.to_owned() }),
    }
}

pub(crate) fn checkpoints_path(folder: &Path) -> PathBuf {
    folder.join(CHECKPOINTS)
}

pub(crate) fn lock_path(folder: &Path) -> PathBuf {
    folder.join(LOCK)
}

/// Makes a folder and what is missing above it, to last.
fn make_folder(path: &Path) -> Result<()> {
    let named = |own: &&Path| !own.as_os_str().is_empty();
    let missing: Vec<&Path> =
        path.ancestors().filter(named).take_while(|own| !own.exists()).collect();
    fs::create_dir_all(path).map_err(|e| StoreError::io("create", path, e))?;
    let parents = missing.iter().filter_map(|made| made.parent());
    parents.into_iter().try_for_each(atomic::sync_folder)
}

/// A folder that a killed `create` left behind counts as empty.
fn require_empty(path: &Path) -> Result<()> {
    let failed = |e| StoreError::io("list", path, e);
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        found.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    found.sort();
    if found.iter().any(|name| name == RECORD) {
        return Err(StoreError::AlreadyARun { path: path.to_owned() });
    }
    let ours = [LOCK, CHECKPOINTS, EXPORT];
    let foreign = |name: &&String| !name.starts_with(TEMPORARY) && !ours.contains(&name.as_str());
    match found.iter().find(foreign) {
        None => Ok(()),
        Some(name) => Err(StoreError::NotARun { path: path.to_owned(), found: name.clone() }),
    }
}

/// A run that somebody writes is in use, whatever else is wrong with the wish to make one there.
fn in_use(path: &Path) -> Option<StoreError> {
    lock::holder_of(&lock_path(path)).map(|holder| StoreError::InUse { holder })
}

/// Commit 0: the recipe, who wrote it, and what its sandbox lacks.
fn create_record(folder: &Path, recipe: &str, weak: Option<&str>) -> Result<()> {
    let temporary = folder.join(format!("{TEMPORARY}{RECORD}"));
    let facts = [("recipe", recipe), ("written_by", crate::VERSION)];
    let facts = facts.into_iter().chain(weak.map(|weak| ("sandbox", weak)));
    let rows: Vec<Row> = facts
        .map(|(name, value)| Row::new(&RUN, vec![integer(0), Cell::text(name), Cell::text(value)]))
        .collect();
    let key = CommitKey { kind: Kind::Created, stage: 0, update: 0, name: String::new() };
    let digest = chain::digest(Digest::ZERO, 0, &key, &rows);
    let info = CommitInfo { head: Head { number: 0, digest }, key };
    schema::create_file(&temporary, |connection| {
        insert(connection, &rows)?;
        chain::append(connection, &info, Digest::ZERO)
    })?;
    atomic::rename(&temporary, &folder.join(RECORD))
}
