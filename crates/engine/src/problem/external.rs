//! Problems of the `external` environment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use stepwell_env::external::{self, ExternalEnvironment};
use stepwell_env::{EnvError, tasks};
use stepwell_model::tokenizer::words_of;
use stepwell_tree::{Environment as _, Task, TaskHash};

use super::Problem;
use super::files::{self, Tasks};
use crate::recipe::{External, ExternalSource, ProgramTasks, Split};

/// Largest program that is watched for changes, in bytes.
pub(crate) const WATCHED_BYTES_MAX: u64 = 16 << 20;

/// Reads the tasks of files before it starts the program, or asks the program for its own.
pub(super) fn problem(settings: &External) -> Result<Problem, EnvError> {
    let open = || ExternalEnvironment::open(settings.config());
    let (mut tasks, environment) = match &settings.source {
        ExternalSource::Files(files) => {
            let tasks = files::read(files, external::load)?;
            fields(&tasks, settings)?;
            (tasks, open()?)
        }
        ExternalSource::Tasks(counts) => {
            let environment = open()?;
            let tasks = own(&environment, counts)?;
            fields(&tasks, settings)?;
            (tasks, environment)
        }
    };
    tasks.watched.extend(programs(&settings.command)?);
    let splits = [&tasks.train, &tasks.development, &tasks.held_out].into_iter().flatten();
    let said = splits.flat_map(|task| task.fields.values()).flat_map(|text| words_of(text));
    let stops = environment.stop_strings();
    let speech = said.chain(stops.iter().flat_map(|stop| words_of(stop))).collect();
    Ok(Problem::new(tasks, Box::new(environment), None, speech, None))
}

/// The program's tasks of every split, none of which it may train on and be judged by.
fn own(environment: &ExternalEnvironment, counts: &ProgramTasks) -> Result<Tasks, EnvError> {
    let mut notes = Vec::new();
    let mut one = |split: Split, count: usize| -> Result<Vec<Task>, EnvError> {
        let mut loaded = environment.tasks(split.of_world(), count)?;
        notes.append(&mut loaded.warnings);
        Ok(loaded.tasks)
    };
    let train = one(Split::Train, counts.train)?;
    let development = one(Split::Development, counts.development)?;
    let held_out = one(Split::HeldOut, counts.held_out)?;
    let trained: BTreeMap<TaskHash, &str> =
        train.iter().map(|task| (task.hash(), task.id.as_str())).collect();
    for task in development.iter().chain(&held_out) {
        if let Some(first) = trained.get(&task.hash()) {
            return Err(EnvError::Data(format!(
                "the program's task `{}` is also trained on, as `{first}`; its splits must differ",
                task.id
            )));
        }
    }
    Ok(Tasks { train, development, held_out, notes, ..Tasks::default() })
}

/// Every field that the prompt names is one that every task has.
fn fields(tasks: &Tasks, settings: &External) -> Result<(), EnvError> {
    let named: BTreeSet<&str> = settings.prompt.0.fields().collect();
    for task in [&tasks.train, &tasks.development, &tasks.held_out].into_iter().flatten() {
        let has = |name: &str| ["id", "question"].contains(&name) || task.field(name).is_some();
        if let Some(name) = named.iter().find(|name| !has(name)) {
            let known: Vec<&str> = task.fields.keys().map(String::as_str).collect();
            let known = ["id", "question"].into_iter().chain(known).collect::<Vec<_>>();
            return Err(EnvError::Data(format!(
                "`environment.prompt` names the field `{name}`, which the task `{}` does not have; \
                 it has: `{}`",
                task.id,
                known.join("`, `")
            )));
        }
    }
    Ok(())
}

/// Files that the command names: a run stops where they change under it.
fn programs(command: &[String]) -> Result<Vec<(PathBuf, [u8; 32])>, EnvError> {
    let small = |path: &&Path| {
        path.metadata().is_ok_and(|about| about.is_file() && about.len() <= WATCHED_BYTES_MAX)
    };
    let paths = command.iter().map(Path::new).filter(small);
    paths.map(|path| Ok((path.to_owned(), tasks::digest(path)?))).collect()
}
