//! Database files of a user: opened without a lock or a side file, and checked whole.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::EnvError;

/// Opens a file for reading and checks that it is a whole database.
pub(super) fn open_file(path: &Path) -> Result<Connection, EnvError> {
    let unreadable = |cause: String| EnvError::Unreadable { path: path.to_owned(), cause };
    let absolute = path.canonicalize().map_err(|error| unreadable(error.to_string()))?;
    let mut log = absolute.clone().into_os_string();
    log.push("-wal");
    if PathBuf::from(log).metadata().is_ok_and(|file| file.len() > 0) {
        return Err(EnvError::UnmergedLog { path: path.to_owned() });
    }
    let location = absolute.to_str().ok_or_else(|| unreadable("its path is not UTF-8".into()))?;
    // The characters that a URI would read as its own.
    let location = location.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let uri = format!("file:{location}?mode=ro&immutable=1");
    let connection = Connection::open_with_flags(uri, flags).map_err(|e| damaged(path, &e))?;
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| damaged(path, &error))?;
    if verdict != "ok" {
        return Err(EnvError::Damaged { path: path.to_owned(), cause: verdict });
    }
    Ok(connection)
}

/// What a file's fault is called.
pub(super) fn damaged(path: &Path, error: &rusqlite::Error) -> EnvError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => EnvError::NotADatabase { path: path.to_owned() },
        _ => EnvError::Damaged { path: path.to_owned(), cause: words(error).to_owned() },
    }
}

/// SQLite's message alone: the library's own rendering repeats the whole query.
pub(super) fn words(error: &rusqlite::Error) -> &str {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg,
        rusqlite::Error::SqliteFailure(_, Some(message)) => message,
        _ => "the query cannot be run",
    }
}
