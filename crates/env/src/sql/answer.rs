//! What comes of a query: rows, or a refusal that the policy reads, or nothing to judge at all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use stepwell_tree::UnscoredReason;
use thiserror::Error;

use super::value::{Table, Value};

/// Why a query gave no rows. The policy reads the message; the attempt goes on.
#[derive(Debug, Error, PartialEq, Eq, Clone, Serialize, Deserialize)]
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
    /// The processor's time is spent, in an instruction that counts as one.
    #[error("query exceeded {0} s")]
    TooSlow(u64),
    /// More memory than the limit, in MiB.
    #[error("query exceeded {0} MiB of memory")]
    TooMuchMemory(u64),
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
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Its rows, or why there are none.
    pub outcome: Result<Table, QueryError>,
    /// `table` and `table.column` it reads, lower case, as SQLite resolved them; `None` where it
    /// did not compile.
    pub reads: Option<BTreeSet<String>>,
}

impl Answer {
    /// A query that gave no rows.
    pub(super) fn refused(error: QueryError) -> Answer {
        Answer { outcome: Err(error), reads: None }
    }

    /// True where it could have come of a query: there are columns, every row has a cell for each,
    /// and no number is NaN.
    pub(super) fn is_whole(&self) -> bool {
        let Ok(Table { columns, rows }) = &self.outcome else { return true };
        let number = |value: &Value| !matches!(value, Value::Real(real) if real.is_nan());
        let whole = |row: &Vec<Value>| row.len() == columns.len() && row.iter().all(number);
        !columns.is_empty() && rows.iter().all(whole)
    }
}

/// A query that was not answered, through no fault of its own: the process that runs queries was
/// killed, said what is no answer, or could not be started. Never a judgement, never remembered.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
#[error("the process that runs queries: {0}")]
pub struct Lost(pub String);

impl From<Lost> for UnscoredReason {
    fn from(lost: Lost) -> Self {
        UnscoredReason::EnvironmentFailed(lost.to_string())
    }
}
