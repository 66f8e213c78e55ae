//! A database with its twins in the process that runs the queries: here, or the child.
//!
//! Opening a file and reading it are apart, so that a child reads a stranger's first byte after it
//! has taken every right from itself.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock};

use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Lost};
use super::config::Limits;
use super::file::{self, Fault, words};
use super::guarded::{Guarded, open};
use super::schema::{self, TableSchema};
use super::source::{Rows, Source};
use super::twin;

/// A database or one of its twins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) enum Which {
    Original,
    /// The twin of this variant; from [`twin::VARIANTS`] on a stricter judge's.
    Twin(u8),
}

/// What is told of a database that was opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Description {
    /// What a prompt says of its tables.
    pub(super) schema_text: String,
    /// `table` and `table.column`, lower case.
    pub(super) names: BTreeSet<String>,
}

/// One database: opened, and read when it is first asked.
pub(super) struct Shelf {
    source: Source,
    limits: Limits,
    /// For queries, until they are guarded.
    first: Mutex<Option<Result<Connection, Fault>>>,
    /// For twins: what the guard forbids, they need.
    second: Mutex<Option<Connection>>,
    original: OnceLock<Result<(Guarded, Description), Fault>>,
    /// Those that were built; `None` where there is none. What failed is tried anew.
    twins: [OnceLock<Option<Guarded>>; twin::VARIANTS + twin::HELD_OUT_MAX],
    /// Held by who builds a twin: none is built twice.
    building: Mutex<()>,
}

impl Shelf {
    /// Opens a file without reading it. What goes wrong is told when it is asked.
    pub(super) fn open(source: Source, limits: Limits) -> Shelf {
        let (first, second) = match &source.rows {
            Rows::File(path) => match (file::connect(path), file::connect(path)) {
                (Ok(first), Ok(second)) => (Some(Ok(first)), Some(second)),
                (Err(fault), _) | (_, Err(fault)) => (Some(Err(fault)), None),
            },
            Rows::Scripts { .. } => (None, None),
        };
        let (first, second) = (Mutex::new(first), Mutex::new(second));
        let (original, twins) = (OnceLock::new(), Default::default());
        Shelf { source, limits, first, second, original, twins, building: Mutex::new(()) }
    }

    /// What the shelf holds. Where its twin is given, that is built, too.
    pub(super) fn describe(&self) -> Result<Description, Fault> {
        let description = self.original().map(|(_, description)| description.clone())?;
        if matches!(self.source.rows, Rows::Scripts { .. }) {
            self.twin(0)?;
        }
        Ok(description)
    }

    /// Makes a database ready for queries: false for a twin that there is not.
    pub(super) fn prepare(&self, which: Which) -> Result<bool, Fault> {
        match which {
            Which::Original => self.original().map(|_| true),
            Which::Twin(variant) => Ok(self.twin(usize::from(variant))?.is_some()),
        }
    }

    /// Answers a query on what [`Shelf::prepare`] made ready; `None` for what there is not.
    pub(super) fn query(&self, which: Which, sql: &str) -> Option<Answer> {
        let guarded = match which {
            Which::Original => self.original().map(|(guarded, _)| guarded).ok(),
            Which::Twin(variant) => self.twin(usize::from(variant)).ok().flatten(),
        };
        guarded.map(|guarded| guarded.query(sql))
    }

    /// What to say of a fault while queries run: nobody is judged on it.
    pub(super) fn lost(&self, fault: Fault) -> Lost {
        Lost(fault.at(self.source.name(), self.source.path()).to_string())
    }

    fn original(&self) -> Result<&(Guarded, Description), Fault> {
        self.original.get_or_init(|| self.read()).as_ref().map_err(Clone::clone)
    }

    fn read(&self) -> Result<(Guarded, Description), Fault> {
        match &self.source.rows {
            Rows::File(_) => {
                let gone = || Err(Fault::Unreadable("it was closed".to_owned()));
                let connection = open(&self.first).take().unwrap_or_else(gone)?;
                file::check(&connection)?;
                let damaged = |error: rusqlite::Error| Fault::Damaged(words(&error).to_owned());
                let tables = schema::read(&connection).map_err(damaged)?;
                let description = Description::of(&tables, schema::text(&tables));
                let limits = self.limits.clone();
                Ok((Guarded::new(connection, limits).map_err(damaged)?, description))
            }
            Rows::Scripts { original, schema_text, .. } => {
                let connection = built(original)?;
                let failed = |error: rusqlite::Error| Fault::Script(words(&error).to_owned());
                let tables = schema::read(&connection).map_err(failed)?;
                let description = Description::of(&tables, schema_text.clone());
                Ok((self.guarded(connection)?, description))
            }
        }
    }

    fn twin(&self, variant: usize) -> Result<Option<&Guarded>, Fault> {
        let Some(twin) = self.twins.get(variant) else { return Ok(None) };
        if let Some(built) = twin.get() {
            return Ok(built.as_ref());
        }
        let _building = open(&self.building);
        if twin.get().is_none() {
            let built = self.build(variant)?;
            twin.get_or_init(|| built);
        }
        Ok(twin.get().and_then(Option::as_ref))
    }

    fn build(&self, variant: usize) -> Result<Option<Guarded>, Fault> {
        match &self.source.rows {
            Rows::Scripts { twin, .. } if variant == 0 => self.guarded(built(twin)?).map(Some),
            Rows::Scripts { .. } if variant < twin::VARIANTS => Ok(None),
            Rows::Scripts { original, .. } => self.derive(&built(original)?, variant),
            Rows::File(_) => match open(&self.second).as_ref() {
                Some(source) => self.derive(source, variant),
                None => Ok(None),
            },
        }
    }

    /// `None` where SQLite refuses to build it, which it does always. What the machine refuses is
    /// no reason to judge without one.
    fn derive(&self, source: &Connection, variant: usize) -> Result<Option<Guarded>, Fault> {
        let built = twin::build(source, &self.source.name, variant)
            .and_then(|twin| Guarded::new(twin, self.limits.clone()));
        match built {
            Ok(twin) => Ok(Some(twin)),
            Err(error) if is_the_machines(&error) => {
                // Pages that were read meanwhile are read anew at the next try.
                let _ = source.execute_batch("PRAGMA shrink_memory");
                Err(Fault::Unreadable(format!("its twin: {}", words(&error))))
            }
            Err(_) => Ok(None),
        }
    }

    fn guarded(&self, connection: Connection) -> Result<Guarded, Fault> {
        let failed = |error: rusqlite::Error| Fault::Script(words(&error).to_owned());
        Guarded::new(connection, self.limits.clone()).map_err(failed)
    }
}

/// True where another try may fare otherwise: memory, the disk, a file that is no longer whole.
fn is_the_machines(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase,
        OperationInterrupted, OutOfMemory, PermissionDenied, SystemIoFailure,
    };
    matches!(
        error.sqlite_error_code(),
        Some(
            CannotOpen
                | DatabaseBusy
                | DatabaseCorrupt
                | DatabaseLocked
                | DiskFull
                | NotADatabase
                | OperationInterrupted
                | OutOfMemory
                | PermissionDenied
                | SystemIoFailure
        )
    )
}

/// A database in memory that a script made.
fn built(script: &str) -> Result<Connection, Fault> {
    let failed = |error: rusqlite::Error| Fault::Script(words(&error).to_owned());
    let connection = Connection::open_in_memory().map_err(failed)?;
    connection.execute_batch(script).map_err(failed)?;
    Ok(connection)
}

impl Description {
    fn of(tables: &[TableSchema], schema_text: String) -> Description {
        let mut names = BTreeSet::new();
        for table in tables {
            let name = table.name.to_lowercase();
            names.extend(table.columns.iter().map(|c| format!("{name}.{}", c.name.to_lowercase())));
            names.insert(name);
        }
        Description { schema_text, names }
    }
}
