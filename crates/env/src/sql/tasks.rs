//! Task files of the `sql` environment.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Config, Source, SqlEnvironment, list_folder};
use crate::EnvError;
use crate::tasks::line::shown_id;
use crate::tasks::{self, Field, Kind, Loaded, Options, Schema};

/// The fields of a task: `id, question, database, gold, evidence?`.
pub fn schema() -> Schema {
    Schema::new(&[
        Field::required("database", Kind::Text),
        Field::required("gold", Kind::Text),
        Field::optional("evidence", Kind::Text),
    ])
}

/// Reads a task file and the folder of databases beside it.
///
/// Errors: what [`read`] and [`SqlEnvironment::new`] refuse. Gold queries are not run: ask
/// [`SqlEnvironment::check`].
pub fn load(
    file: &Path,
    databases: &Path,
    options: &Options,
    config: Config,
) -> Result<(SqlEnvironment, Loaded), EnvError> {
    let loaded = read(file, databases, options)?;
    let environment = SqlEnvironment::new(list_folder(databases)?, &loaded.tasks, config)?;
    Ok((environment, loaded))
}

/// Reads a task file; the databases are looked for and not opened.
///
/// Errors: what [`tasks::load`] and [`list_folder`] refuse, a task whose database is missing.
pub fn read(file: &Path, databases: &Path, options: &Options) -> Result<Loaded, EnvError> {
    let loaded = tasks::load(file, &schema(), options)?;
    let sources = list_folder(databases)?;
    for (task, line) in loaded.tasks.iter().zip(&loaded.line) {
        let name = task.field("database").unwrap_or_default();
        if !sources.contains_key(name) {
            return Err(EnvError::Data(missing(file, *line, name, databases, &sources)));
        }
    }
    Ok(loaded)
}

fn missing(
    file: &Path,
    line: usize,
    name: &str,
    folder: &Path,
    sources: &BTreeMap<String, Source>,
) -> String {
    let near = tasks::nearest(name, sources.keys().map(String::as_str));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let (file, folder, name) = (file.display(), folder.display(), shown_id(name));
    format!("{file}:{line}: there is no database `{name}` in {folder}{hint}")
}
