//! Everything that can be wrong with what a user brings: databases and files of tasks.

use std::path::PathBuf;

use thiserror::Error;

/// A fault in the user's data, named so that it can be mended. What a policy does wrong is never
/// an error: it is judged.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum EnvError {
    /// A file or folder could not be read.
    #[error("{}: cannot be read: {cause}; check the path and its permissions", path.display())]
    Unreadable {
        /// What was to be read.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The file's first bytes are not SQLite's.
    #[error("{}: not a database; expected a SQLite 3 file", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// SQLite found the file damaged.
    #[error("{}: damaged: {cause}; restore it from a copy", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        cause: String,
    },
    /// A write-ahead log lies beside the file, so the file alone misses its newest rows.
    #[error(
        "{}: has a write-ahead log that is not merged; run `PRAGMA wal_checkpoint(TRUNCATE)` on it",
        path.display()
    )]
    UnmergedLog {
        /// The database file.
        path: PathBuf,
    },
    /// A folder of databases holds none.
    #[error(
        "{}: holds no databases; expected files ending in .sqlite, .sqlite3 or .db",
        path.display()
    )]
    NoDatabases {
        /// The folder.
        path: PathBuf,
    },
    /// Two files of a folder carry the same database name.
    #[error("{}: database `{name}` exists twice; rename one of the files", path.display())]
    DuplicateDatabase {
        /// The second file.
        path: PathBuf,
        /// The name both carry.
        name: String,
    },
    /// A database built from a script could not be built.
    #[error("database `{name}`: its script fails: {cause}")]
    Script {
        /// The database.
        name: String,
        /// SQLite's words.
        cause: String,
    },
    /// This machine cannot confine the process that runs queries.
    #[error(
        "sandbox: {cause}; queries run in a process that gives its rights away (Linux 6.12 or newer \
         with Landlock and seccomp); to go on without what is missing, set `environment.sandbox = \
         \"weak\"` in the recipe"
    )]
    Sandbox {
        /// The layer and the system's words.
        cause: String,
    },
    /// The process that runs queries did not begin.
    #[error("{cause}; check memory, the limit on processes and that /proc is there, and try again")]
    Process {
        /// What it did, or the system's words.
        cause: String,
    },
    /// A file of tasks or demonstrations is faulty; the message carries file, line and column.
    #[error("{0}")]
    Data(String),
    /// This machine cannot run programs of strangers.
    #[error("{0}; `stepwell doctor` tells what is missing")]
    Jail(stepwell_sandbox::JailError),
    /// A setting is outside its range.
    #[error("`{name}` must be {expected}, got: {got}")]
    Setting {
        /// The key.
        name: &'static str,
        /// The range.
        expected: &'static str,
        /// What stands there.
        got: String,
    },
}

impl EnvError {
    /// True where the machine is at fault and not what the user brought.
    pub fn is_of_the_machine(&self) -> bool {
        matches!(self, EnvError::Sandbox { .. } | EnvError::Process { .. } | EnvError::Jail(_))
    }
}
