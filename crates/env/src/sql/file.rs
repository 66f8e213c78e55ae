//! Database files of a user: opened without a lock or a side file, and checked whole.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::{Deserialize, Serialize};

use crate::EnvError;

/// Why a database cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Fault {
    /// The system's words.
    Unreadable(String),
    /// The first bytes are not SQLite's.
    NotADatabase,
    /// SQLite's words.
    Damaged(String),
    /// A write-ahead log lies beside it.
    UnmergedLog,
    /// A script fails; SQLite's words.
    Script(String),
}

impl Fault {
    /// What SQLite says of a file.
    pub(super) fn of_file(error: &rusqlite::Error) -> Fault {
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Fault::NotADatabase,
            _ => Fault::Damaged(words(error).to_owned()),
        }
    }

    /// The error with its place: a database's name, and its file where it has one.
    pub(super) fn at(self, name: &str, file: Option<&Path>) -> EnvError {
        let path = file.map(Path::to_owned).unwrap_or_default();
        match self {
            Fault::Unreadable(cause) => EnvError::Unreadable { path, cause },
            Fault::NotADatabase => EnvError::NotADatabase { path },
            Fault::Damaged(cause) => EnvError::Damaged { path, cause },
            Fault::UnmergedLog => EnvError::UnmergedLog { path },
            Fault::Script(cause) => EnvError::Script { name: name.to_owned(), cause },
        }
    }
}

/// Opens a file for reading. None of its bytes are read yet.
pub(super) fn connect(path: &Path) -> Result<Connection, Fault> {
    let unreadable = |error: std::io::Error| Fault::Unreadable(error.to_string());
    let absolute = path.canonicalize().map_err(unreadable)?;
    let mut log = absolute.clone().into_os_string();
    log.push("-wal");
    if PathBuf::from(log).metadata().is_ok_and(|file| file.len() > 0) {
        return Err(Fault::UnmergedLog);
    }
    let not_text = || Fault::Unreadable("its path is not UTF-8".to_owned());
    let location = absolute.to_str().ok_or_else(not_text)?;
    // The characters that a URI would read as its own.
    let location = location.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let uri = format!("file:{location}?mode=ro&immutable=1");
    Connection::open_with_flags(uri, flags).map_err(|error| Fault::of_file(&error))
}

/// Refuses what is not a whole database.
pub(super) fn check(connection: &Connection) -> Result<(), Fault> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| Fault::of_file(&error))?;
    if verdict == "ok" { Ok(()) } else { Err(Fault::Damaged(verdict)) }
}

/// SQLite's message alone: the library's own rendering repeats the whole query.
pub(super) fn words(error: &rusqlite::Error) -> &str {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg,
        rusqlite::Error::SqliteFailure(_, Some(message)) => message,
        _ => "the query cannot be run",
    }
}
