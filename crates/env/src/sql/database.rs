//! A database, its twin and what the policy is told about it: the plug for worlds of any origin.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::Connection;

use super::config::Limits;
use super::equality::Comparison;
use super::file;
use super::schema::{self, TableSchema};
use super::store::Store;
use super::twin;
use crate::EnvError;

/// A database that tasks ask about.
pub struct Database {
    name: String,
    schema_text: String,
    /// `table` and `table.column`, lower case: what a query that does not compile may still name.
    names: BTreeSet<String>,
    original: Store,
    twins: Twins,
    limits: Limits,
}

/// Where the perturbed rows come from.
enum Twins {
    /// The world that made the database also made its twin.
    Given(Box<Store>),
    /// Built from the file when first asked for; `None` where SQLite refuses to build it.
    Derived { source: PathBuf, built: Box<[OnceLock<Option<Store>>; twin::VARIANTS]> },
}

/// The twin a gold query is judged on.
#[derive(Clone, Copy)]
pub(super) enum Twin<'a> {
    /// The gold query's result differs there, so no constant passes.
    Differs(&'a Store),
    /// It is the same on every twin that was tried.
    Same(&'a Store),
    /// No twin runs the gold query: the original alone judges.
    Missing,
}

impl Database {
    /// Opens a SQLite file. It must not change while the run lasts: it is read in place, without
    /// locks. Its twin is derived.
    pub fn open(path: &Path) -> Result<Database, EnvError> {
        let connection = file::open_file(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let damaged = |error: rusqlite::Error| EnvError::Damaged {
            path: path.to_owned(),
            cause: file::words(&error).to_owned(),
        };
        let tables = schema::read(&connection).map_err(damaged)?;
        Ok(Database {
            name,
            schema_text: schema::text(&tables),
            names: names(&tables),
            original: Store::guard(connection).map_err(damaged)?,
            twins: Twins::Derived { source: path.to_owned(), built: Default::default() },
            limits: Limits::default(),
        })
    }

    /// Builds a database of a generated world in memory from two scripts of SQL, its rows and its
    /// twin's, and the text that stands for its schema in prompts.
    pub fn from_scripts(
        name: &str,
        original: &str,
        twin: &str,
        schema_text: String,
    ) -> Result<Database, EnvError> {
        let failed = |error: rusqlite::Error| EnvError::Script {
            name: name.to_owned(),
            cause: file::words(&error).to_owned(),
        };
        let connection = Connection::open_in_memory().map_err(failed)?;
        connection.execute_batch(original).map_err(failed)?;
        let tables = schema::read(&connection).map_err(failed)?;
        Ok(Database {
            name: name.to_owned(),
            schema_text,
            names: names(&tables),
            original: Store::guard(connection).map_err(failed)?,
            twins: Twins::Given(Box::new(Store::from_script(name, twin)?)),
            limits: Limits::default(),
        })
    }

    /// The name tasks use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a prompt says of its tables.
    pub fn schema_text(&self) -> &str {
        &self.schema_text
    }

    /// The database itself.
    pub fn original(&self) -> &Store {
        &self.original
    }

    /// `table` and `table.column`, lower case.
    pub(super) fn names(&self) -> &BTreeSet<String> {
        &self.names
    }

    /// Sets what one query may cost, on the database and on its twins.
    pub(super) fn limit(&mut self, limits: &Limits) -> Result<(), EnvError> {
        let failed = |error: rusqlite::Error| EnvError::Script {
            name: self.name.clone(),
            cause: file::words(&error).to_owned(),
        };
        self.original.limit(limits.clone()).map_err(failed)?;
        match &mut self.twins {
            Twins::Given(twin) => twin.limit(limits.clone()).map_err(failed)?,
            Twins::Derived { built, .. } => **built = Default::default(),
        }
        self.limits = limits.clone();
        Ok(())
    }

    /// The first twin on which a gold query gives another result than on the original.
    pub(super) fn twin_for(&self, gold: &str, comparison: Comparison) -> Twin<'_> {
        let gold_answer = self.original.query(gold);
        let Ok(expected) = &gold_answer.outcome else { return Twin::Missing };
        let mut choice = Twin::Missing;
        for variant in 0..twin::VARIANTS {
            let Some(twin) = self.twin(variant) else { continue };
            match &twin.query(gold).outcome {
                Ok(other) if !comparison.equal(expected, other) => return Twin::Differs(twin),
                Ok(_) => choice = Twin::Same(twin),
                Err(_) => {}
            }
        }
        choice
    }

    fn twin(&self, variant: usize) -> Option<&Store> {
        match &self.twins {
            Twins::Given(twin) => (variant == 0).then_some(&**twin),
            Twins::Derived { source, built } => {
                built[variant].get_or_init(|| self.derive(source, variant)).as_ref()
            }
        }
    }

    fn derive(&self, source: &Path, variant: usize) -> Option<Store> {
        let source = file::open_file(source).ok()?;
        let mut twin = Store::guard(twin::build(&source, &self.name, variant).ok()?).ok()?;
        twin.limit(self.limits.clone()).ok()?;
        Some(twin)
    }
}

fn names(tables: &[TableSchema]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for table in tables {
        let name = table.name.to_lowercase();
        names.extend(table.columns.iter().map(|c| format!("{name}.{}", c.name.to_lowercase())));
        names.insert(name);
    }
    names
}

/// Opens every database of a folder, by file name without ending: `folder/name.sqlite`, or
/// Spider's `folder/name/name.sqlite`.
pub fn open_folder(folder: &Path) -> Result<BTreeMap<String, Database>, EnvError> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.extend(entries(&path)?.into_iter().filter(|path| is_database(path)));
        } else if is_database(&path) {
            files.push(path);
        }
    }
    let mut databases = BTreeMap::new();
    for path in files {
        let database = Database::open(&path)?;
        let name = database.name.clone();
        if databases.insert(name.clone(), database).is_some() {
            return Err(EnvError::DuplicateDatabase { path, name });
        }
    }
    if databases.is_empty() {
        return Err(EnvError::NoDatabases { path: folder.to_owned() });
    }
    Ok(databases)
}

fn is_database(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    path.is_file() && matches!(ending, Some("sqlite" | "sqlite3" | "db"))
}

/// The entries of a folder in the order of their names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, EnvError> {
    let unreadable = |error: std::io::Error| EnvError::Unreadable {
        path: folder.to_owned(),
        cause: error.to_string(),
    };
    let list = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut paths: Vec<PathBuf> = list
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}
