//! One read-only SQLite database and the queries it answers.
//!
//! Covered: one statement, SELECT only, an allow-list of functions ([`super::permission`]), limits
//! on text, rows, bytes and virtual-machine steps, all of them counts. Not covered, because
//! everything runs inside this process: one instruction that is slow by itself (`LIKE` or `UNION`
//! over long texts) is not interrupted, and memory is bounded only by the product of the counts.
//! The jailed child process with a wall clock (DECISIONS 22) closes both.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};
use thiserror::Error;

use super::config::Limits;
use super::file::{damaged, open_file, words};
use super::lexer;
use super::permission::{self, Asked};
use super::value::{Table, Value};
use crate::EnvError;

/// How many instructions pass between two looks at the budget.
const STEPS_PER_LOOK: i32 = 1000;
/// A cache past this many bytes starts anew: results are pure, so forgetting changes nothing.
const CACHE_BYTES_MAX: usize = 16 << 20;

/// Why a query gave no rows. The policy reads the message; the attempt goes on.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum QueryError {
    /// A statement or table that is refused by name.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// Anything that is not a query.
    #[error("only SELECT is allowed")]
    OnlySelect,
    /// A function that is not on the list or does not exist.
    #[error("function not allowed: {0}")]
    FunctionNotAllowed(String),
    /// The result would depend on the day.
    #[error("not allowed: reading the clock")]
    ReadsClock,
    /// No statement, or more than one.
    #[error("expected one statement")]
    OneStatement,
    /// The text is longer than the limit.
    #[error("query too long: {bytes} bytes, at most {max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit `query_bytes_max`.
        max: usize,
    },
    /// SQLite's parser ran out of depth or terms.
    #[error("query too complex")]
    TooComplex,
    /// The virtual machine's budget is spent.
    #[error("query exceeded {0} steps")]
    TooManySteps(u64),
    /// More rows than the limit.
    #[error("result over {0} rows")]
    TooManyRows(usize),
    /// More bytes than a limit, in one value or in all.
    #[error("result over {0} bytes")]
    TooManyBytes(usize),
    /// SQLite's own words: a name that does not exist, a syntax error.
    #[error("{0}")]
    Sqlite(String),
}

/// What came of one query.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// Its rows, or why there are none.
    pub outcome: Result<Table, QueryError>,
    /// `table` and `table.column` it reads, lower case, as SQLite resolved them; `None` where it
    /// did not compile.
    pub reads: Option<BTreeSet<String>>,
}

/// A read-only database. One connection behind a mutex: threads that ask different databases do
/// not wait for each other.
pub struct Store {
    connection: Mutex<Connection>,
    asked: Arc<Mutex<Asked>>,
    looks: Arc<AtomicU64>,
    limits: Limits,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    answer: BTreeMap<String, Arc<Answer>>,
    bytes: usize,
}

impl Store {
    /// Opens a file that nobody writes to meanwhile: no lock, no side file is ever created.
    pub fn open(path: &Path) -> Result<Store, EnvError> {
        let connection = open_file(path)?;
        Store::guard(connection).map_err(|error| damaged(path, &error))
    }

    /// Runs a script of SQL in memory.
    pub fn from_script(name: &str, script: &str) -> Result<Store, EnvError> {
        let failed = |error: rusqlite::Error| EnvError::Script {
            name: name.to_owned(),
            cause: words(&error).to_owned(),
        };
        let connection = Connection::open_in_memory().map_err(failed)?;
        connection.execute_batch(script).map_err(failed)?;
        Store::guard(connection).map_err(failed)
    }

    /// Takes a connection and closes every door but SELECT.
    pub(super) fn guard(mut connection: Connection) -> rusqlite::Result<Store> {
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
        let mut store = Store {
            connection: Mutex::new(connection),
            asked,
            looks: Arc::default(),
            limits: Limits::default(),
            cache: Mutex::default(),
        };
        store.limit(Limits::default())?;
        Ok(store)
    }

    /// Sets what one query may cost from now on.
    pub(super) fn limit(&mut self, limits: Limits) -> rusqlite::Result<()> {
        let connection = self.connection.get_mut().unwrap_or_else(PoisonError::into_inner);
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, limits.value_bytes_max as i32)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, limits.query_bytes_max as i32)?;
        let looks = Arc::clone(&self.looks);
        let looks_max = limits.steps_max / STEPS_PER_LOOK as u64;
        connection.progress_handler(
            STEPS_PER_LOOK,
            Some(move || looks.fetch_add(1, Ordering::Relaxed) >= looks_max),
        )?;
        *self.cache.get_mut().unwrap_or_else(PoisonError::into_inner) = Cache::default();
        self.limits = limits;
        Ok(())
    }

    /// Answers a query: the same text, the same answer, always.
    pub fn query(&self, sql: &str) -> Arc<Answer> {
        let sql = sql.trim();
        if let Some(answer) = open(&self.cache).answer.get(sql) {
            return Arc::clone(answer);
        }
        let answer = Arc::new(self.compute(sql));
        let mut cache = open(&self.cache);
        let bytes = sql.len() + weight(&answer);
        if cache.bytes + bytes > CACHE_BYTES_MAX {
            *cache = Cache::default();
        }
        cache.bytes += bytes;
        cache.answer.insert(sql.to_owned(), Arc::clone(&answer));
        answer
    }

    fn compute(&self, sql: &str) -> Answer {
        let refused = |error| Answer { outcome: Err(error), reads: None };
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

pub(super) fn value(cell: ValueRef<'_>) -> Value {
    match cell {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(whole) => Value::Integer(whole),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(bytes) => Value::Text(String::from_utf8_lossy(bytes).into_owned()),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Integer(_) | Value::Real(_) => 8,
        Value::Text(text) => text.len(),
        Value::Blob(bytes) => bytes.len(),
    }
}

fn weight(answer: &Answer) -> usize {
    let cells = match &answer.outcome {
        Ok(table) => table.rows.iter().flatten().map(|cell| size(cell) + 32).sum(),
        Err(_) => 0,
    };
    200 + cells
}

/// A lock that outlives a panic elsewhere: what it guards is replaced before every use.
fn open<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
