//! Problems of the `sql` environment.

use std::collections::BTreeMap;
use std::path::Path;

use stepwell_env::sql::world::{self, World};
use stepwell_env::sql::{self, Config, Database, SqlEnvironment};
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
    let databases = world.databases(&Part::ALL)?;
    let tasks = Tasks::generated(|split| world.tasks(split).to_vec());
    let blindfolded = match blind {
        true => {
            let splits = [Part::Development, Part::HeldOut];
            Some(blindfold(world.databases(&splits)?, &tasks.held_out, &config)?)
        }
        false => None,
    };
    let environment = SqlEnvironment::new(databases, &[], config)?;
    let scripts = Scripts { world, environment: environment.clone() };
    let (environment, scripts) = (Box::new(environment), Box::new(scripts));
    Ok(Problem::new(tasks, environment, blindfolded, world::words(), Some(scripts)))
}

fn from_files(files: &Files, config: &Config, blind: bool) -> Result<Problem, EnvError> {
    let folder = Path::new(files.databases.as_deref().unwrap_or_default());
    let tasks = files::read(files, |path, options| {
        sql::load(path, folder, options, config.clone()).map(|(_, loaded)| loaded)
    })?;
    let blindfolded = match blind {
        true => Some(blindfold(sql::open_folder(folder)?, &tasks.held_out, config)?),
        false => None,
    };
    let environment = SqlEnvironment::new(sql::open_folder(folder)?, &[], config.clone())?;
    let gold = [&tasks.train, &tasks.development, &tasks.held_out].into_iter().flatten();
    let gold = gold.flat_map(|task: &Task| words_of(task.field("gold").unwrap_or_default()));
    let speech = sql::markup::tags().chain(gold).collect();
    Ok(Problem::new(tasks, Box::new(environment), blindfolded, speech, None))
}

fn blindfold(
    databases: BTreeMap<String, Database>,
    tasks: &[Task],
    config: &Config,
) -> Result<Box<dyn Environment>, EnvError> {
    let config = Config { shuffled_results: true, ..config.clone() };
    Ok(Box::new(SqlEnvironment::new(databases, tasks, config)?))
}
