//! Problems of the `calculator` environment.

use stepwell_env::EnvError;
use stepwell_env::calculator::world::{self, World};
use stepwell_env::calculator::{self, CalculatorEnvironment, Config, markup};
use stepwell_model::tokenizer::words_of;
use stepwell_tree::{Demonstration, Environment, Key, Task};

use super::Problem;
use super::files::{self, Tasks};
use crate::recipe::{Calculator, Files, Source, Split};

/// What calculations and answers hold beside tags and digits.
const SIGNS: &str = "+ - * / ( ) . , % $";

/// Generates or reads.
pub(super) fn problem(
    calculator: &Calculator,
    blind: bool,
    gold: bool,
) -> Result<Problem, EnvError> {
    let config = calculator.config();
    match &calculator.source {
        Source::World(world) => generated(world::build(&world.config()), config, blind),
        Source::Files(files) => from_files(files, config, blind, gold),
    }
}

/// A generated world and the environment in whose words it works demonstrations.
struct Scripts {
    world: World,
    environment: CalculatorEnvironment,
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
    let blindfolded = if blind { Some(blindfold([&tasks.held_out], &config)?) } else { None };
    let environment = CalculatorEnvironment::new(&[], config)?;
    let speech = world::texts().iter().flat_map(|text| words_of(text)).collect();
    let scripts = Scripts { world, environment: environment.clone() };
    let (environment, scripts) = (Box::new(environment), Box::new(scripts));
    Ok(Problem::new(tasks, environment, blindfolded, speech, Some(scripts)))
}

fn from_files(files: &Files, config: Config, blind: bool, gold: bool) -> Result<Problem, EnvError> {
    let tasks = files::read(files, calculator::load)?;
    let splits = [&tasks.held_out, &tasks.development, &tasks.train];
    let blindfolded = if blind { Some(blindfold(splits, &config)?) } else { None };
    let environment = CalculatorEnvironment::new(&[], config)?;
    let worked = if gold { worked(&environment, &tasks)? } else { Vec::new() };
    let speech = markup::tags().chain(words_of(SIGNS)).collect();
    let problem = Problem::new(tasks, Box::new(environment), blindfolded, speech, None);
    Ok(Problem { gold: worked, ..problem })
}

/// The gold steps of the training tasks that have good ones; at least of one.
fn worked(
    environment: &CalculatorEnvironment,
    tasks: &Tasks,
) -> Result<Vec<Demonstration>, EnvError> {
    let worked: Vec<Demonstration> =
        tasks.train.iter().filter_map(|task| environment.worked(task)).collect();
    if worked.is_empty() {
        let message = format!(
            "none of {} training tasks has gold steps that lead to its answer in at most {} calls; \
             `stepwell tasks check` says what is wrong with them, `max_interactions` grants calls",
            tasks.train.len(),
            environment.config().max_interactions
        );
        return Err(EnvError::Data(message));
    }
    Ok(worked)
}

/// The control, with values of the first of these splits that has tasks.
fn blindfold<const N: usize>(
    splits: [&Vec<Task>; N],
    config: &Config,
) -> Result<Box<dyn Environment>, EnvError> {
    let config = Config { shuffled_results: true, ..config.clone() };
    let tasks = splits.into_iter().find(|tasks| !tasks.is_empty());
    let tasks = tasks.map_or(&[][..], Vec::as_slice);
    Ok(Box::new(CalculatorEnvironment::new(tasks, config)?))
}
