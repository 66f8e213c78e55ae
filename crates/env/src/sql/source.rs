//! Where databases come from, before any of them is opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::EnvError;

/// A database that is not open: its file, or the scripts that make it and its twin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Source {
    pub(super) name: String,
    pub(super) rows: Rows,
}

/// Where the rows are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Rows {
    /// A SQLite file; its twins are derived.
    File(PathBuf),
    /// Scripts of SQL that build it and its one twin in memory, and what a prompt says of its
    /// tables.
    Scripts { original: String, twin: String, schema_text: String },
}

impl Source {
    /// A SQLite file, named as the file without its ending. It must not change while the run
    /// lasts: it is read in place, without locks.
    pub fn file(path: &Path) -> Source {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Source { name, rows: Rows::File(path.to_owned()) }
    }

    /// A database of a generated world: two scripts of SQL, its rows and its twin's, and the text
    /// that stands for its schema in prompts.
    pub fn scripts(name: &str, original: String, twin: String, schema_text: String) -> Source {
        Source { name: name.to_owned(), rows: Rows::Scripts { original, twin, schema_text } }
    }

    /// The name tasks use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its file, where it has one.
    pub(super) fn path(&self) -> Option<&Path> {
        match &self.rows {
            Rows::File(path) => Some(path),
            Rows::Scripts { .. } => None,
        }
    }
}

/// The databases of a folder, by file name without ending: `folder/name.sqlite`, or Spider's
/// `folder/name/name.sqlite`. None is opened.
///
/// # Errors
/// The folder cannot be read or holds none, or two files have one name.
pub fn list_folder(folder: &Path) -> Result<BTreeMap<String, Source>, EnvError> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.extend(entries(&path)?.into_iter().filter(|path| is_database(path)));
        } else if is_database(&path) {
            files.push(path);
        }
    }
    let mut sources = BTreeMap::new();
    for path in files {
        let source = Source::file(&path);
        let name = source.name.clone();
        if sources.insert(name.clone(), source).is_some() {
            return Err(EnvError::DuplicateDatabase { path, name });
        }
    }
    if sources.is_empty() {
        return Err(EnvError::NoDatabases { path: folder.to_owned() });
    }
    Ok(sources)
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
