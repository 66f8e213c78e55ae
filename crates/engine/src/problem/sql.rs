//! Problems of the `sql` environment.

use std::collections::BTreeMap;
use std::path::Path;

use stepwell_env::sql::world::{self, World};
use stepwell_env::sql::{self, Config, Database, SqlEnvironment};
use stepwell_env::{EnvError, Split as Part};
use stepwell_model::tokenizer::words_of;
use stepwell_tree::{Demonstration, Environment, Key, Task};

use super::{Problem, files};
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
    let tasks = |split| world.tasks(split).to_vec();
    let held_out = tasks(Part::HeldOut);
    let blindfolded = match blind {
        true => {
            let splits = [Part::Development, Part::HeldOut];
            Some(blindfold(world.databases(&splits)?, &held_out, &config)?)
        }
        false => None,
    };
    let environment = SqlEnvironment::new(databases, &[], config)?;
    Ok(Problem {
        environment: Box::new(environment.clone()),
        blindfolded,
        train: tasks(Part::Train),
        development: tasks(Part::Development),
        held_out,
        notes: Vec::new(),
        watched: Vec::new(),
        speech: world::words(),
        world: Some(Box::new(Scripts { world, environment })),
    })
}

fn from_files(files: &Files, config: &Config, blind: bool) -> Result<Problem, EnvError> {
    let folder = Path::new(files.databases.as_deref().unwrap_or_default());
    let read = files::read(files, |path, options| {
        sql::load(path, folder, options, config.clone()).map(|(_, loaded)| loaded)
    })?;
    let files::Read { train, development, held_out, notes, watched } = read;
    let blindfolded = match blind {
        true => Some(blindfold(sql::open_folder(folder)?, &held_out, config)?),
        false => None,
    };
    let environment = SqlEnvironment::new(sql::open_folder(folder)?, &[], config.clone())?;
    let gold = [&train, &development, &held_out].into_iter().flatten();
    let gold = gold.flat_map(|task: &Task| words_of(task.field("gold").unwrap_or_default()));
    let speech = sql::markup::tags().chain(gold).collect();
    let environment = Box::new(environment);
    let world = None;
    Ok(Problem {
        environment,
        blindfolded,
        train,
        development,
        held_out,
        notes,
        watched,
        speech,
        world,
    })
}

fn blindfold(
    databases: BTreeMap<String, Database>,
    tasks: &[Task],
    config: &Config,
) -> Result<Box<dyn Environment>, EnvError> {
    let config = Config { shuffled_results: true, ..config.clone() };
    Ok(Box::new(SqlEnvironment::new(databases, tasks, config)?))
}
