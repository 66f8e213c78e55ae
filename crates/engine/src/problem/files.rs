//! The user's own task files, of any environment.

use std::path::{Path, PathBuf};

use stepwell_env::tasks::{self, Loaded, Options, Overlap};
use stepwell_env::{EnvError, Split};
use stepwell_tree::Task;

use crate::recipe::Files;

/// Tasks of three splits, and what a person and a later check should know of their files.
#[derive(Default)]
pub(super) struct Tasks {
    pub(super) train: Vec<Task>,
    pub(super) development: Vec<Task>,
    pub(super) held_out: Vec<Task>,
    pub(super) notes: Vec<String>,
    pub(super) watched: Vec<(PathBuf, [u8; 32])>,
}

impl Tasks {
    /// Of a generated world, which has no files.
    pub(super) fn generated(of: impl Fn(Split) -> Vec<Task>) -> Tasks {
        let (train, development) = (of(Split::Train), of(Split::Development));
        Tasks { train, development, held_out: of(Split::HeldOut), ..Tasks::default() }
    }
}

/// Reads what the recipe names, each file with `load`.
pub(super) fn read(
    files: &Files,
    load: impl Fn(&Path, &Options) -> Result<Loaded, EnvError>,
) -> Result<Tasks, EnvError> {
    let options = Options { extra: files.extra.clone(), ..Options::default() };
    let mut notes = Vec::new();
    let mut watched = Vec::new();
    let mut one = |path: &Option<String>| -> Result<Loaded, EnvError> {
        let Some(path) = path else { return Ok(Loaded::default()) };
        let mut loaded = load(Path::new(path), &options)?;
        notes.append(&mut loaded.warnings);
        watched.push((PathBuf::from(path), loaded.digest));
        Ok(loaded)
    };
    let train = one(&files.train)?;
    let (development, held_out) = (one(&files.development)?, one(&files.held_out)?);
    let rule = if files.allow_overlap { Overlap::Allow } else { Overlap::Refuse };
    for evaluated in [&development, &held_out] {
        match tasks::overlap(&train, evaluated, rule)? {
            0 => {}
            shared => notes.push(format!("{shared} evaluation tasks are also trained on")),
        }
    }
    let (train, development, held_out) = (train.tasks, development.tasks, held_out.tasks);
    Ok(Tasks { train, development, held_out, notes, watched })
}
