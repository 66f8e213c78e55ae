//! Task files of the `sql` environment.

use std::path::Path;

use super::{Config, SqlEnvironment, open_folder};
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
/// Errors: what [`tasks::load`] and [`open_folder`] refuse, a task whose database is missing, a
/// setting outside its range. Gold queries are not run: ask [`SqlEnvironment::check`].
pub fn load(
    file: &Path,
    databases: &Path,
    options: &Options,
    config: Config,
) -> Result<(SqlEnvironment, Loaded), EnvError> {
    let loaded = tasks::load(file, &schema(), options)?;
    let databases_by_name = open_folder(databases)?;
    for (task, line) in loaded.tasks.iter().zip(&loaded.line) {
        let name = task.field("database").unwrap_or_default();
        if !databases_by_name.contains_key(name) {
            return Err(EnvError::Data(missing(file, *line, name, databases, &databases_by_name)));
        }
    }
    let environment = SqlEnvironment::new(databases_by_name, &loaded.tasks, config)?;
    Ok((environment, loaded))
}

fn missing<D>(
    file: &Path,
    line: usize,
    name: &str,
    folder: &Path,
    databases: &std::collections::BTreeMap<String, D>,
) -> String {
    let near = tasks::nearest(name, databases.keys().map(String::as_str));
    let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let (file, folder, name) = (file.display(), folder.display(), shown_id(name));
    format!("{file}:{line}: there is no database `{name}` in {folder}{hint}")
}
