//! What answers queries on one database: a child that the kernel confines, or this process.
//!
//! The shipped program asks a child ([`super::child`]) and never this process. A program whose
//! `main` does not begin with `stepwell_sandbox::enter` (a library's tests) asks
//! [`super::guarded`] here, where one instruction that is slow by itself is not interrupted and
//! memory is bounded only by the product of the counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::answer::{Answer, Lost, QueryError};
use super::child::Child;
use super::config::Limits;
use super::guarded::{open, size};
use super::shelf::{Shelf, Which};
use super::source::Source;
use crate::EnvError;

/// A cache past this many bytes starts anew: results are pure, so forgetting changes nothing.
const CACHE_BYTES_MAX: usize = 16 << 20;

/// A read-only database, and the answers it gave.
pub struct Store {
    place: Place,
    which: Which,
    limits: Limits,
    cache: Mutex<Cache>,
}

/// Where queries run.
#[derive(Clone)]
pub(super) enum Place {
    /// In this process.
    Here(Arc<Shelf>),
    /// In a child, which knows the database by number.
    Child(Arc<Child>, u32),
}

#[derive(Default)]
struct Cache {
    answer: BTreeMap<String, Arc<Answer>>,
    bytes: usize,
    /// What cost more than it may is never tried twice, so it is never forgotten.
    costly: BTreeMap<String, Arc<Answer>>,
}

impl Store {
    pub(super) fn new(place: Place, which: Which, limits: Limits) -> Store {
        Store { place, which, limits, cache: Mutex::default() }
    }

    /// Runs a script of SQL in memory, in this process.
    ///
    /// # Errors
    /// The script fails.
    pub fn from_script(name: &str, script: &str) -> Result<Store, EnvError> {
        let limits = Limits::default();
        let source = Source::scripts(name, script.to_owned(), String::new(), String::new());
        let shelf = Shelf::open(source, limits.clone());
        shelf.describe().map_err(|fault| fault.at(name, None))?;
        Ok(Store::new(Place::Here(Arc::new(shelf)), Which::Original, limits))
    }

    /// Answers a query: the same text, the same answer, always.
    ///
    /// # Errors
    /// It could not be asked: nobody is judged on that.
    pub fn query(&self, sql: &str) -> Result<Arc<Answer>, Lost> {
        let sql = sql.trim();
        let (bytes, max) = (sql.len(), self.limits.query_bytes_max);
        if bytes > max {
            return Ok(Arc::new(Answer::refused(QueryError::TooLong { bytes, max })));
        }
        if let Some(answer) = open(&self.cache).find(sql) {
            return Ok(answer);
        }
        let answer = match &self.place {
            Place::Here(shelf) => shelf
                .query(self.which, sql)
                .ok_or_else(|| Lost("the database is not open".to_owned()))?,
            Place::Child(child, database) => child.query(*database, self.which, sql)?,
        };
        let answer = Arc::new(answer);
        open(&self.cache).keep(sql, &answer);
        Ok(answer)
    }
}

impl Place {
    /// Makes a database or a twin ready: false where there is none.
    pub(super) fn prepare(&self, which: Which) -> Result<bool, Lost> {
        match self {
            Place::Here(shelf) => shelf.prepare(which).map_err(|fault| shelf.lost(fault)),
            Place::Child(child, database) => child.prepare(*database, which),
        }
    }
}

impl Cache {
    fn find(&self, sql: &str) -> Option<Arc<Answer>> {
        self.answer.get(sql).or_else(|| self.costly.get(sql)).map(Arc::clone)
    }

    fn keep(&mut self, sql: &str, answer: &Arc<Answer>) {
        use QueryError::{TooMuchMemory, TooSlow};
        if matches!(answer.outcome, Err(TooSlow(_) | TooMuchMemory(_))) {
            self.costly.insert(sql.to_owned(), Arc::clone(answer));
            return;
        }
        let bytes = sql.len() + weight(answer);
        if self.bytes + bytes > CACHE_BYTES_MAX {
            (self.answer, self.bytes) = (BTreeMap::new(), 0);
        }
        self.bytes += bytes;
        self.answer.insert(sql.to_owned(), Arc::clone(answer));
    }
}

fn weight(answer: &Answer) -> usize {
    let cells = match &answer.outcome {
        Ok(table) => table.rows.iter().flatten().map(|cell| size(cell) + 32).sum(),
        Err(_) => 0,
    };
    200 + cells
}
