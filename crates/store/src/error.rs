//! What can go wrong with a run folder. Messages say: what, got, expected; where; next step (P22).

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Shorthand of this crate.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// One variant per cause.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A new run was to be made where other files live.
    #[error(
        "refusing to write into `{path}`: it holds files that are not a run (first: `{found}`); \
         choose an empty folder"
    )]
    NotARun { path: PathBuf, found: String },
    /// A new run was to be made where a run is.
    #[error("`{path}` holds a run; resume it or choose another folder")]
    AlreadyARun { path: PathBuf },
    /// A run was to be opened where none is.
    #[error("no run in `{path}`: `run.sqlite` is missing; check the path")]
    NoRun { path: PathBuf },
    /// Another process writes the run.
    #[error("run is in use by {holder}; stop it or choose another folder")]
    InUse { holder: String },
    /// The file system is full.
    #[error("cannot write {what}: no space left{detail}; free space and resume")]
    NoSpace { what: String, detail: String },
    /// The file system or the file may not be written.
    #[error("cannot write {what}: it is read-only; choose a folder that can be written")]
    ReadOnly { what: String },
    /// The last writer was killed, and its log cannot be read without a right to write.
    #[error(
        "`{path}` was not closed and its folder is read-only: what its log holds cannot be read \
         ({detail}); copy the run folder to where you can write"
    )]
    Unclosed { path: PathBuf, detail: String },
    /// Locks and shared memory do not work on this file system.
    #[error(
        "run folder is on {name}: the record needs local locks and shared memory; choose a local \
         folder"
    )]
    NetworkFileSystem { name: &'static str },
    /// A file operation failed.
    #[error("cannot {doing} `{path}`: {cause}; look to the disk and the rights of the folder")]
    Io { doing: &'static str, path: PathBuf, cause: std::io::Error },
    /// The recipe beside the record is not the one the run was made with.
    #[error(
        "`recipe.toml` is not the recipe of this run: got digest {got}, expected {expected}; undo \
         the change, or start a new run with it"
    )]
    RecipeChanged { got: String, expected: String },
    /// The record is no database, or not ours.
    #[error("`{path}` is not a stepwell record (application id {application_id:#x}); {next}")]
    NotARecord { path: PathBuf, application_id: u32, next: &'static str },
    /// The record comes from a version this one does not know.
    #[error(
        "written by {written_by} (format {theirs}); this is {this} (format {ours}); open it with \
         {written_by}",
        this = crate::VERSION
    )]
    OtherFormat { written_by: String, theirs: u32, ours: u32 },
    /// Another program holds SQLite's write lock.
    #[error("`run.sqlite` is locked by another program for {seconds} s; close it and resume")]
    Locked { seconds: u64 },
    /// A row or a commit is not what was committed.
    #[error(
        "corrupt: {place}: {what}; restore the run folder from a copy, or start from a checkpoint"
    )]
    Corrupt { place: String, what: String },
    /// The record lost commits that a checkpoint builds on.
    #[error(
        "the record ends at commit {last} but {checkpoint} needs {needed}: {missing} commits are \
         missing (was `run.sqlite-wal` removed?); restore the run folder from a copy"
    )]
    Truncated { last: String, checkpoint: String, needed: String, missing: String },
    /// A checkpoint builds on another history.
    #[error(
        "{checkpoint} belongs to another record: its commit {number} has digest {expected}, the \
         record's has {got}; put back the files of one run"
    )]
    OtherRecord { checkpoint: String, number: String, got: String, expected: String },
    /// A resumed run computed something else than it had committed.
    #[error(
        "the run diverges from its record at commit {number} ({key}): {difference}; resume with \
         the build and recipe that wrote it, or start a new run"
    )]
    Diverged { number: String, key: String, difference: String },
    /// What was handed over for a commit breaks its rules; nothing was written.
    #[error("cannot commit {key}: {what}")]
    Refused { key: String, what: String },
    /// A write failed earlier; pages may be marked clean that never reached the disk.
    #[error("the record takes no more commits after: {cause}; end the process and resume")]
    Poisoned { cause: String },
    /// SQLite failed otherwise.
    #[error("cannot {doing}: {detail}; where: `run.sqlite`; run `stepwell doctor`")]
    Sqlite { doing: &'static str, detail: String },
    /// A checkpoint cannot be written or read.
    #[error("checkpoint {number:06}: {what}; {next}")]
    Checkpoint { number: u64, what: String, next: &'static str },
    /// Bytes are not the tensors they should be.
    #[error("tensors: {what}; write the file again")]
    Tensor { what: String },
    /// An export failed.
    #[error("cannot export: {what}; choose another file")]
    Export { what: String },
}

impl StoreError {
    /// The exit code of the command line: 2 for what the user chose, 3 for the environment.
    pub fn exit_code(&self) -> u8 {
        match self {
            StoreError::NotARun { .. }
            | StoreError::AlreadyARun { .. }
            | StoreError::NoRun { .. }
            | StoreError::RecipeChanged { .. } => 2,
            StoreError::Refused { .. } => 101,
            _ => 3,
        }
    }

    /// An IO error under its cause: a full disk and a read-only one have sentences of their own.
    pub(crate) fn io(doing: &'static str, path: &Path, cause: std::io::Error) -> StoreError {
        use std::io::ErrorKind;
        let what = || format!("`{}`", path.display());
        match cause.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                StoreError::NoSpace { what: what(), detail: String::new() }
            }
            ErrorKind::FileTooLarge => {
                let detail = " (a file may not grow past the limit of this process: `ulimit -f`)";
                StoreError::NoSpace { what: what(), detail: detail.to_owned() }
            }
            ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly { what: what() },
            _ => StoreError::Io { doing, path: path.to_owned(), cause },
        }
    }

    pub(crate) fn corrupt(place: impl Into<String>, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt { place: place.into(), what: what.into() }
    }
}

/// A number as people read it: `1,902`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1902, "1,902"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
