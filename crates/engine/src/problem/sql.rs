//! Problems of the `sql` environment.

use std::path::Path;

use stepwell_env::sql::world::{self, World};
use stepwell_env::sql::{self, Config, SqlEnvironment};
use stepwell_env::{EnvError, Split as Part};
use stepwell_model::tokenizer::words_of;
use stepwell_tree::{Demonstration, Environment, Key, Task};

use super::Problem;
use super::files::{self, Tasks};
use crate::recipe::{Files, Source, Split, Sql};

/// Generates or reads.
pub(super) fn problem(sql: &Sql, blind: bool) -> Result<Problem, EnvError> {
    match &sql.source {
        Source::World(world) => generated(world::build(&world.config()), sql.config(), blind),
        Source::Files(files) => from_files(files, &sql.config(), blind),
    }
}

/// A generated world and the environment in whose words it works demonstrations.
struct Scripts {
    world: World,
    environment: SqlEnvironment,
}

impl super::World for Scripts {
    fn demonstration(&self, key: Key) -> Demonstration {
        self.world.demonstration(key.bits(), &self.environment)
    }

    fn guess_level(&self, split: Split) -> f64 {
        self.world.guess_level(split.of_world())
    }
}

fn generated(world: World, config: Config, blind: bool) -> Result<Problem, EnvError> {
    let tasks = Tasks::generated(|split| world.tasks(split).to_vec());
    let environment = SqlEnvironment::new(world.databases(&Part::ALL), &[], config)?;
    let scripts = Box::new(Scripts { world, environment: environment.clone() });
    problem_over(environment, tasks, blind, world::words(), Some(scripts))
}

fn from_files(files: &Files, config: &Config, blind: bool) -> Result<Problem, EnvError> {
    let folder = Path::new(files.databases.as_deref().unwrap_or_default());
    let tasks = files::read(files, |path, options| sql::read(path, folder, options))?;
    let environment = SqlEnvironment::new(sql::list_folder(folder)?, &[], config.clone())?;
    let gold = [&tasks.train, &tasks.development, &tasks.held_out].into_iter().flatten();
    let gold = gold.flat_map(|task: &Task| words_of(task.field("gold").unwrap_or_default()));
    let speech = sql::markup::tags().chain(gold).collect();
    problem_over(environment, tasks, blind, speech, None)
}

/// The control shares the databases, and where its queries run.
fn problem_over(
    environment: SqlEnvironment,
    tasks: Tasks,
    blind: bool,
    speech: Vec<String>,
    world: Option<Box<dyn super::World>>,
) -> Result<Problem, EnvError> {
    let blindfolded: Option<Box<dyn Environment>> = match blind {
        true => Some(Box::new(environment.shuffled(&tasks.held_out)?)),
        false => None,
    };
    Ok(Problem::new(tasks, Box::new(environment), blindfolded, speech, world))
}
