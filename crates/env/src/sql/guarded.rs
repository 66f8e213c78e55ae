//! One read-only SQLite database within this process and the queries it answers: the second layer,
//! inside the child that runs queries.
//!
//! One statement, SELECT only, an allow-list of functions ([`super::permission`]), limits on text,
//! rows, bytes and virtual-machine steps, all of them counts. What counts miss, one instruction
//! that is slow by itself (`LIKE` or `replace` over long texts) and memory, is bounded by the
//! child around it ([`super::child`]).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};

use super::answer::{Answer, QueryError};
use super::config::Limits;
use super::file::words;
use super::lexer;
use super::permission::{self, Asked};
use super::value::{Table, Value};

/// How many instructions pass between two looks at the budget.
const STEPS_PER_LOOK: i32 = 1000;

/// A read-only database within this process. One connection behind a mutex: threads that ask
/// different databases do not wait for each other.
pub(super) struct Guarded {
    connection: Mutex<Connection>,
    asked: Arc<Mutex<Asked>>,
    looks: Arc<AtomicU64>,
    limits: Limits,
}

impl Guarded {
    /// Takes a connection and closes every door but SELECT.
    pub(super) fn new(mut connection: Connection, limits: Limits) -> rusqlite::Result<Guarded> {
        connection.execute_batch(
            "PRAGMA query_only = ON; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;",
        )?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        connection.set_limit(Limit::SQLITE_LIMIT_EXPR_DEPTH, 100)?;
        connection.set_limit(Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50)?;
        connection.set_limit(Limit::SQLITE_LIMIT_COLUMN, 2000)?;
        connection.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, 100_000)?;
        connection.set_limit(Limit::SQLITE_LIMIT_FUNCTION_ARG, 100)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 500)?;
        connection.set_limit(Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 0)?;
        let mut tables = names(&connection)?;
        tables.extend(["sqlite_master".to_owned(), "sqlite_schema".to_owned()]);
        let asked = Arc::new(Mutex::new(Asked::default()));
        let note = Arc::clone(&asked);
        connection.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            permission::answer(&mut open(&note), &tables, &context)
        }))?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limits.value_bytes_max as i32)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, limits.query_bytes_max as i32)?;
        let looks = Arc::new(AtomicU64::new(0));
        let looked = Arc::clone(&looks);
        let looks_max = limits.steps_max / STEPS_PER_LOOK as u64;
        connection.progress_handler(
            STEPS_PER_LOOK,
            Some(move || looked.fetch_add(1, Ordering::Relaxed) >= looks_max),
        )?;
        Ok(Guarded { connection: Mutex::new(connection), asked, looks, limits })
    }

    /// Runs a query.
    pub(super) fn query(&self, sql: &str) -> Answer {
        let refused = Answer::refused;
        let max = self.limits.query_bytes_max;
        if sql.len() > max {
            return refused(QueryError::TooLong { bytes: sql.len(), max });
        }
        if let Err(error) = permission::one_select(&lexer::tokens(sql)) {
            return refused(error);
        }
        let connection = open(&self.connection);
        *open(&self.asked) = Asked::default();
        self.looks.store(0, Ordering::Relaxed);
        let prepared = connection.prepare(sql);
        let asked = std::mem::take(&mut *open(&self.asked));
        let mut statement = match prepared {
            Ok(statement) => statement,
            Err(error) => {
                return refused(asked.refused.unwrap_or_else(|| self.translate(&error)));
            }
        };
        if statement.is_explain() != 0 || !statement.readonly() {
            return refused(QueryError::OnlySelect);
        }
        // Compiling must not count: it is longer the first time, when the schema is read.
        self.looks.store(0, Ordering::Relaxed);
        Answer { outcome: self.fetch(&mut statement), reads: Some(asked.read) }
    }

    fn fetch(&self, statement: &mut rusqlite::Statement<'_>) -> Result<Table, QueryError> {
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let width = columns.len();
        let mut table = Table { columns, rows: Vec::new() };
        let mut bytes = 0;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(|error| self.translate(&error))? {
            if table.rows.len() == self.limits.rows_max {
                return Err(QueryError::TooManyRows(self.limits.rows_max));
            }
            let cells: Result<Vec<Value>, rusqlite::Error> =
                (0..width).map(|column| row.get_ref(column).map(value)).collect();
            let cells = cells.map_err(|error| self.translate(&error))?;
            bytes += cells.iter().map(size).sum::<usize>();
            if bytes > self.limits.result_bytes_max {
                return Err(QueryError::TooManyBytes(self.limits.result_bytes_max));
            }
            table.rows.push(cells);
        }
        Ok(table)
    }

    /// SQLite's errors in the words of the limits that cause them.
    fn translate(&self, error: &rusqlite::Error) -> QueryError {
        let message = words(error);
        let too_complex = [
            "parser stack overflow",
            "Expression tree is too large",
            "too many terms",
            "too many columns",
            "too many arguments",
            "LIKE or GLOB pattern too complex",
            "too many SQL variables",
            "variable number must be",
            "Recursion limit",
        ];
        match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => {
                QueryError::TooManySteps(self.limits.steps_max)
            }
            Some(ErrorCode::OutOfMemory) => QueryError::TooMuchMemory(self.limits.memory_mib_max),
            Some(ErrorCode::TooBig) => QueryError::TooManyBytes(self.limits.value_bytes_max),
            _ if matches!(error, rusqlite::Error::MultipleStatement) => QueryError::OneStatement,
            _ if too_complex.iter().any(|text| message.contains(text)) => QueryError::TooComplex,
            _ => match message.strip_prefix("no such function: ") {
                Some(name) => QueryError::FunctionNotAllowed(name.to_lowercase()),
                None => QueryError::Sqlite(message.to_owned()),
            },
        }
    }
}

/// Tables and views, lower case.
fn names(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let sql = "SELECT lower(name) FROM sqlite_schema WHERE type IN ('table', 'view')";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn value(cell: ValueRef<'_>) -> Value {
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(whole) => Value::Integer(whole),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Integer(_) | Value::Real(_) => 8,
        // An empty one counts, too, or millions of them would be free.
        Value::Text(text) => text.len().max(1),
        Value::Blob(bytes) => bytes.len().max(1),
    }
}

/// A lock that outlives a panic elsewhere: what it guards is replaced before every use.
pub(super) fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
