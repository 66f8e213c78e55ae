//! Checkpoints: folders that are whole or absent (P11), each naming the commit it builds on.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::atomic::{self, TEMPORARY};
use crate::commit::Head;
use crate::digest::Digest;
use crate::error::{Result, StoreError};
use crate::files::RunFiles;
use crate::folder::RunFolder;
use crate::manifest::{FileEntry, MANIFEST, Manifest};

const STATE: &str = "state.json";
pub const STATE_BYTES_MAX: u64 = 64 << 20;

/// A checkpoint whose files were compared with its manifest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    manifest: Manifest,
}

/// Where a file's bytes come from.
pub enum Content<'a> {
    /// They are in memory.
    Bytes(&'a [u8]),
    /// They are made while they are written.
    Writer(&'a mut dyn FnMut(&mut dyn Write) -> io::Result<()>),
}

/// A checkpoint that was passed over, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The name under `checkpoints/`.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Checkpoint {
    /// Writes a checkpoint. A valid one of this number must hold the same bytes; one that does not
    /// verify is replaced.
    pub fn write(
        run: &RunFolder,
        number: u64,
        files: &mut [(&str, Content<'_>)],
        state: &serde_json::Value,
        last_commit: Head,
    ) -> Result<Checkpoint> {
        check_names(number, files)?;
        let folder = run.checkpoints().join(folder_name(number));
        let temporary = run.checkpoints().join(format!("{TEMPORARY}{}", folder_name(number)));
        let failed = |e| StoreError::io("create", &temporary, e);
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(failed)?;
        }
        fs::create_dir(&temporary).map_err(failed)?;
        let mut entries = Vec::with_capacity(files.len() + 1);
        for (name, content) in files {
            entries.push(write_entry(&temporary, name, content)?);
        }
        let state = serde_json::to_vec_pretty(state).expect("a JSON value serialises");
        entries.push(write_entry(&temporary, STATE, &mut Content::Bytes(&state))?);
        let manifest = Manifest::new(number, recipe_digest(run), last_commit, entries);
        write_entry(&temporary, MANIFEST, &mut Content::Bytes(&manifest.bytes()))?;
        if !stepwell_mutant::planted(19) {
            atomic::sync_folder(&temporary)?;
        }
        if let Some(existing) = make_way(&folder, number, recipe_digest(run))? {
            fs::remove_dir_all(&temporary).map_err(failed)?;
            return same(existing, &manifest);
        }
        atomic::rename(&temporary, &folder)?;
        Ok(Checkpoint { folder, manifest })
    }

    /// The checkpoint of a number, its files compared with its manifest.
    pub fn of(run: &RunFiles, number: u64) -> Result<Checkpoint> {
        let folder = run.checkpoints().join(folder_name(number));
        Checkpoint::open(&folder, number, recipe_digest(run)).map_err(|what| {
            let next = "name another: `ls RUN/checkpoints` lists them";
            StoreError::Checkpoint { number, what, next }
        })
    }

    /// The checkpoint's number.
    pub fn number(&self) -> u64 {
        self.manifest.checkpoint
    }

    /// The name errors use: `checkpoint 000040`.
    pub fn name(&self) -> String {
        format!("checkpoint {}", folder_name(self.number()))
    }

    /// The record's newest commit when the checkpoint was written; see `RunReader::require`.
    pub fn last_commit(&self) -> Head {
        self.manifest.last_commit
    }

    /// Where its files are: a folder that other tools load as a model.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Names of its files, in the order they were written.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.manifest.files.iter().map(|entry| entry.name.as_str())
    }

    /// A file's bytes, compared with their digest.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let entry = self.manifest.files.iter().find(|entry| entry.name == name);
        entry
            .ok_or_else(|| format!("holds no `{name}`"))
            .and_then(|entry| entry.read(&self.folder))
            .map_err(|what| self.unreadable(what))
    }

    /// What the run needs beside weights to go on.
    pub fn state(&self) -> Result<serde_json::Value> {
        let entry = self.manifest.files.iter().find(|entry| entry.name == STATE);
        if let Some(entry) = entry.filter(|entry| entry.bytes > STATE_BYTES_MAX) {
            let what =
                format!("`{STATE}`: {} bytes, expected at most {STATE_BYTES_MAX}", entry.bytes);
            return Err(self.unreadable(what));
        }
        serde_json::from_slice(&self.read(STATE)?)
            .map_err(|error| self.unreadable(format!("`{STATE}`: {error}")))
    }

    fn unreadable(&self, what: String) -> StoreError {
        let next = "resume from an older checkpoint";
        StoreError::Checkpoint { number: self.number(), what, next }
    }

    /// Opens one checkpoint and compares all its files.
    fn open(folder: &Path, number: u64, recipe: Digest) -> Result<Checkpoint, String> {
        match fs::symlink_metadata(folder) {
            Ok(meta) if meta.is_symlink() => return Err("is a symbolic link".to_owned()),
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err("is not a folder".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
        let manifest = Manifest::read(folder, number, recipe)?;
        manifest.verify_files(folder)?;
        Ok(Checkpoint { folder: folder.to_owned(), manifest })
    }
}

/// The newest checkpoint that verifies, and the newer ones that do not, newest first.
pub fn newest_valid(run: &RunFiles) -> Result<(Option<Checkpoint>, Vec<Skipped>)> {
    let mut skipped = Vec::new();
    for number in numbers(run)? {
        let name = folder_name(number);
        match Checkpoint::open(&run.checkpoints().join(&name), number, recipe_digest(run)) {
            Ok(checkpoint) => return Ok((Some(checkpoint), skipped)),
            Err(reason) => skipped.push(Skipped { name, reason }),
        }
    }
    Ok((None, skipped))
}

/// The newest number among checkpoints, whole or not; `None` where there are none.
pub fn newest_number(run: &RunFiles) -> Result<Option<u64>> {
    Ok(numbers(run)?.first().copied())
}

/// Removes all checkpoints older than the `keep` newest valid ones, and returns their numbers.
/// Those that do not verify count for nothing, so the last valid one always stays.
pub fn keep_last(run: &RunFolder, keep: usize) -> Result<Vec<u64>> {
    retain(run, keep, 0, &[])
}

/// As [`keep_last`], and keeps the first `best` of `ranked` that are there and valid, too.
pub fn retain(run: &RunFolder, last: usize, best: usize, ranked: &[u64]) -> Result<Vec<u64>> {
    let folder = |number| run.checkpoints().join(folder_name(number));
    let valid = |number| Checkpoint::open(&folder(number), number, recipe_digest(run)).is_ok();
    let all = numbers(run)?;
    let (mut newest, mut window) = (Vec::new(), 0);
    while window < all.len() && newest.len() < last.max(1) {
        newest.extend(Some(all[window]).filter(|number| valid(*number)));
        window += 1;
    }
    let older = &all[window..];
    let whole =
        |number: &&u64| newest.contains(*number) || (older.contains(*number) && valid(**number));
    let best: Vec<u64> = ranked.iter().filter(whole).take(best).copied().collect();
    let mut removed = Vec::new();
    for number in older.iter().filter(|number| !best.contains(number)) {
        remove(&folder(*number))?;
        removed.push(*number);
    }
    Ok(removed)
}

fn folder_name(number: u64) -> String {
    format!("{number:06}")
}

fn recipe_digest(run: &RunFiles) -> Digest {
    Digest::of(run.recipe().as_bytes())
}

/// Numbers of everything under `checkpoints/` that is named like one, newest first.
fn numbers(run: &RunFiles) -> Result<Vec<u64>> {
    let folder = run.checkpoints();
    let failed = |e| StoreError::io("list", &folder, e);
    let mut numbers = Vec::new();
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(numbers),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let number = name.parse().ok().filter(|number| folder_name(*number) == name);
        numbers.extend(number);
    }
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    Ok(numbers)
}

/// File names are plain and portable; those the store writes itself are taken.
fn check_names(number: u64, files: &[(&str, Content<'_>)]) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mut seen = vec![STATE, MANIFEST];
    for (name, _) in files {
        let fine = name.len() <= 100 && !name.starts_with('.') && name.chars().all(plain);
        if name.is_empty() || !fine || seen.contains(name) {
            let what = format!("got file name `{name}`, expected a plain name that is not taken");
            return Err(StoreError::Checkpoint { number, what, next: "choose another name" });
        }
        seen.push(name);
    }
    Ok(())
}

fn write_entry(folder: &Path, name: &str, content: &mut Content<'_>) -> Result<FileEntry> {
    let path = folder.join(name);
    let failed = |e| StoreError::io("write", &path, e);
    let file = File::create(&path).map_err(failed)?;
    let mut out = Hashing { out: BufWriter::new(file), hasher: blake3::Hasher::new(), bytes: 0 };
    match content {
        Content::Bytes(bytes) => out.write_all(bytes),
        Content::Writer(write) => write(&mut out),
    }
    .map_err(failed)?;
    out.flush().map_err(failed)?;
    atomic::sync(out.out.get_ref(), &path).map_err(failed)?;
    let blake3 = Digest(*out.hasher.finalize().as_bytes());
    Ok(FileEntry { name: name.to_owned(), bytes: out.bytes, blake3 })
}

/// Digests what passes through, so that no file is read again to learn what was written.
struct Hashing<W> {
    out: W,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.out.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Returns the valid checkpoint that has this name already, or removes what stands in its place.
fn make_way(folder: &Path, number: u64, recipe: Digest) -> Result<Option<Checkpoint>> {
    if fs::symlink_metadata(folder).is_err() {
        return Ok(None);
    }
    match Checkpoint::open(folder, number, recipe) {
        Ok(existing) => Ok(Some(existing)),
        Err(_) => remove(folder).map(|()| None),
    }
}

fn same(existing: Checkpoint, manifest: &Manifest) -> Result<Checkpoint> {
    if existing.manifest == *manifest {
        return Ok(existing);
    }
    let pairs = existing.manifest.files.iter().zip(&manifest.files);
    let differing = pairs.filter(|(old, new)| old != new).map(|(old, _)| old.name.as_str());
    let names: Vec<&str> = differing.collect();
    let what = match names.as_slice() {
        [] => "exists already, with another list of files or another last commit".to_owned(),
        names => format!("exists already with other bytes in `{}`", names.join("`, `")),
    };
    let next = "resume with the build and recipe that wrote it";
    Err(StoreError::Checkpoint { number: manifest.checkpoint, what, next })
}

/// Renames before removing, so that a kill leaves no half of a checkpoint under its name.
fn remove(folder: &Path) -> Result<()> {
    let name = folder.file_name().expect("a checkpoint has a name").to_string_lossy();
    let away = folder.with_file_name(format!("{TEMPORARY}remove-{name}"));
    let parent = folder.parent().expect("checkpoints are in a folder");
    atomic::rename(folder, &away)?;
    let is_folder = fs::symlink_metadata(&away).is_ok_and(|meta| meta.is_dir());
    let removed = if is_folder { fs::remove_dir_all(&away) } else { fs::remove_file(&away) };
    removed.map_err(|e| StoreError::io("remove", &away, e))?;
    atomic::sync_folder(parent)
}
