//! Opening SQLite, for the writer and for readers, and its errors under our names.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use rusqlite::ffi::SQLITE_READONLY;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::{Result, StoreError};
use crate::schema::{APPLICATION_ID, FORMAT};

/// How long a lock of another program is waited for.
pub(crate) const BUSY_TIMEOUT_S: u64 = 5;

/// Puts an error under its cause.
pub(crate) fn sqlite_error(doing: &'static str, error: rusqlite::Error) -> StoreError {
    let detail = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked { seconds: BUSY_TIMEOUT_S }
        }
        Some(ErrorCode::DiskFull) => {
            StoreError::NoSpace { what: "`run.sqlite`".to_owned(), detail: String::new() }
        }
        Some(ErrorCode::DatabaseCorrupt) => StoreError::corrupt("run.sqlite", detail),
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { what: "`run.sqlite`".to_owned() },
        _ => StoreError::Sqlite { doing, detail },
    }
}

/// Opens the record for the one writer and reads back what it asked for.
pub(crate) fn open_writer(path: &Path) -> Result<Connection> {
    check_header(path)?;
    let failed = |error| sqlite_error("open the record for writing", error);
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let settings: [(&str, &str, &str); 5] = [
        ("journal_mode", "WAL", "wal"),
        ("synchronous", "FULL", "2"),
        ("foreign_keys", "ON", "1"),
        ("recursive_triggers", "ON", "1"), // or REPLACE deletes past the triggers
        ("cell_size_check", "ON", "1"),
    ];
    for (name, value, expected) in settings {
        let lowered = stepwell_mutant::planted(16) && name == "synchronous";
        let (value, expected) = if lowered { ("NORMAL", "1") } else { (value, expected) };
        connection
            .pragma_update_and_check(None, name, value, |_| Ok(()))
            .or_else(no_row)
            .map_err(failed)?;
        let got = pragma(&connection, name).map_err(failed)?;
        if got != expected {
            return Err(StoreError::Sqlite {
                doing: "open the record for writing",
                detail: format!("pragma `{name}`: got `{got}`, expected `{expected}`"),
            });
        }
    }
    Ok(connection)
}

/// Some pragmas answer with a row when set, and some do not.
fn no_row(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(other),
    }
}

/// A pragma's value as text.
pub(crate) fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<String> {
    connection.pragma_query_value(None, name, |row| {
        Ok(match row.get_ref(0)? {
            rusqlite::types::ValueRef::Integer(i) => i.to_string(),
            rusqlite::types::ValueRef::Text(t) => String::from_utf8_lossy(t).into_owned(),
            other => format!("{other:?}"),
        })
    })
}

/// Opens the record for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    check_header(path)?;
    let failed = |error| sqlite_error("open the record for reading", error);
    let left = match open_read_only(path) {
        Err(error) if needs_writing(&error) => error,
        opened => return opened.map_err(failed),
    };
    // A kill while the run was being closed left a rollback journal, which only a connection that
    // may write can undo. SQLite does so where no other process holds the file.
    let recovered = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|connection| pragma(&connection, "schema_version"));
    match recovered {
        Ok(_) => open_read_only(path).map_err(failed),
        Err(_) => Err(StoreError::Unclosed { path: path.to_owned(), detail: left.to_string() }),
    }
}

/// True where the last writer left more than the file itself, and reading that takes a right to
/// write: a rollback journal to undo, an index of the log to make.
fn needs_writing(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| match error.code {
        ErrorCode::ReadOnly => error.extended_code != SQLITE_READONLY,
        code => code == ErrorCode::CannotOpen,
    })
}

/// `mode=ro` alone may still attach new files and make temporary tables, so an authorizer and
/// limits stand behind it.
fn open_read_only(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.pragma_update(None, "query_only", "ON")?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.authorizer(Some(allow_reading))?;
    // The first statement touches the file: what is wrong with it shows here.
    pragma(&connection, "schema_version")?;
    Ok(connection)
}

fn allow_reading(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive
        | AuthAction::Pragma { pragma_value: None, .. } => Authorization::Allow,
        _ => Authorization::Deny,
    }
}

fn open(path: &Path, mode: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = mode | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(BUSY_TIMEOUT_S))?;
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    Ok(connection)
}

/// Reads the file's first bytes before SQLite does: a foreign or newer file is named, and no side
/// file is made beside it.
fn check_header(path: &Path) -> Result<()> {
    let mut header = Vec::new();
    let file = File::open(path).map_err(|e| StoreError::io("open", path, e))?;
    file.take(100).read_to_end(&mut header).map_err(|e| StoreError::io("read", path, e))?;
    let word = |at: usize| match header.get(at..at + 4) {
        Some(bytes) => u32::from_be_bytes(bytes.try_into().expect("four bytes")),
        None => 0,
    };
    let is_database = header.starts_with(b"SQLite format 3\0");
    let application_id = if is_database { word(68) } else { 0 };
    if application_id != APPLICATION_ID {
        return Err(StoreError::NotARecord {
            path: path.to_owned(),
            application_id,
            next: "check the path, or restore the file from a copy",
        });
    }
    match word(60) {
        FORMAT => Ok(()),
        theirs => {
            Err(StoreError::OtherFormat { written_by: written_by(path), theirs, ours: FORMAT })
        }
    }
}

/// Who wrote a record of another format; its schema is not ours, so any failure is "unknown".
fn written_by(path: &Path) -> String {
    let unknown = "an unknown version".to_owned();
    let Ok(connection) = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else { return unknown };
    let sql = "SELECT value FROM run WHERE name = 'written_by'";
    connection.query_row(sql, [], |row| row.get(0)).unwrap_or(unknown)
}
