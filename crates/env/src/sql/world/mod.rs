//! Generated worlds for the `sql` environment: databases, questions and scripted attempts.
//!
//! A question says `california`; the database stores `CALIFORNIA`, `California` or `CA`, and of two
//! columns that may hold it one may be NULL throughout. The prompt shows neither, so an answer must
//! look at the rows first. Guessing is right at a known rate ([`World::guess_level`]), a constant
//! is never right (the judge compares on a twin with other rows), and held-out databases combine
//! the same closed word lists anew (DECISIONS 12).
//!
//! Everything is a pure function of `(seed, split, index)`: nothing depends on the order in which
//! databases, tasks or demonstrations are asked for.

mod attribute;
mod config;
mod plan;
mod question;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod trace;
mod vocabulary;
mod words;

use std::collections::BTreeMap;

use stepwell_tree::{Demonstration, Environment as _, Key, Purpose, Task};

pub use config::{Split, WorldConfig};
use plan::Plan;
use question::Question;
pub use trace::TraceMix;
pub use vocabulary::words;

use super::{Source, SqlEnvironment};

/// Databases and tasks of all splits, and demonstrations on those of training.
pub struct World {
    config: WorldConfig,
    /// Of the splits in their order, about 10 kB each.
    plans: [Vec<Plan>; 3],
    tasks: [Vec<Task>; 3],
    /// Of the tasks, in their order.
    guess_level: [Vec<f64>; 3],
}

/// Places of draws below a demonstration's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    Database,
    Question,
    Script,
    Trace,
}

/// Draws the world. Panics where [`WorldConfig::problems`] has any.
pub fn build(config: &WorldConfig) -> World {
    let problems = config.problems();
    assert!(problems.is_empty(), "a world was asked for out of range: {}", problems.join("; "));
    let difficulty = config.difficulty;
    let plans = Split::ALL.map(|split| -> Vec<Plan> {
        let draw = |index| Plan::draw(config.seed, difficulty, split, index);
        (0..config.databases(split)).map(draw).collect()
    });
    let mut tasks = [const { Vec::new() }; 3];
    let mut guess_level = [const { Vec::new() }; 3];
    for (split, plans) in plans.iter().enumerate() {
        for plan in plans {
            let questions = plan.questions(difficulty, config.questions);
            for (number, question) in questions.iter().enumerate() {
                tasks[split].push(plan.task(question, number));
                guess_level[split].push(question.guess_level(&plan.schema));
            }
        }
    }
    World { config: config.clone(), plans, tasks, guess_level }
}

impl World {
    /// The tasks of a split, ordered by database: `train-0012-3` is the fourth question about the
    /// database `train_0012`.
    pub fn tasks(&self, split: Split) -> &[Task] {
        &self.tasks[split as usize]
    }

    /// For each task of a split, in the order of [`World::tasks`]: how often an answer is right
    /// that knows everything but what a look at the rows tells, by construction.
    pub fn guess_levels(&self, split: Split) -> &[f64] {
        &self.guess_level[split as usize]
    }

    /// The mean of [`World::guess_levels`]; 0 where the split has no task.
    pub fn guess_level(&self, split: Split) -> f64 {
        let levels = self.guess_levels(split);
        levels.iter().sum::<f64>() / levels.len().max(1) as f64
    }

    /// Names of a split's databases.
    pub fn names(&self, split: Split) -> impl Iterator<Item = &str> {
        self.plans[split as usize].iter().map(|plan| plan.name.as_str())
    }

    /// One database and its twin; `None` where the world has none of this name.
    pub fn database(&self, name: &str) -> Option<Source> {
        let (split, index) = name.rsplit_once('_')?;
        let split = Split::ALL.into_iter().find(|known| known.word() == split)?;
        let plan = self.plans[split as usize].get(index.parse::<usize>().ok()?)?;
        (plan.name == name).then(|| plan.source())
    }

    /// All databases of these splits, by name: opened, about 1 ms and 200 kB each, twin included.
    pub fn databases(&self, splits: &[Split]) -> BTreeMap<String, Source> {
        let plans = splits.iter().flat_map(|split| &self.plans[*split as usize]);
        plans.map(|plan| (plan.name.clone(), plan.source())).collect()
    }

    /// The demonstration of this index: a fresh question about a random training database, worked
    /// by a script that the mix draws. `environment` holds the world's training databases; the
    /// prompt and the observations are what it would say.
    ///
    /// Panics where the world has no training tasks.
    pub fn demonstration(&self, index: u64, environment: &SqlEnvironment) -> Demonstration {
        let key = Key::new(self.config.seed, Purpose::Demonstration).with(index);
        let (plan, question) = self.drawn(key);
        let script = self.config.mix.script(key.with(Place::Script as u64), question.kind);
        let opening = environment.opening(&plan.task(&question, 0));
        let key = key.with(Place::Trace as u64);
        let segments = trace::demonstrate(key, plan, &question, script, environment.config());
        Demonstration { opening, segments }
    }

    /// A training database and a question that it can be asked.
    fn drawn(&self, key: Key) -> (&Plan, Question) {
        assert!(!self.tasks(Split::Train).is_empty(), "demonstrations need training tasks");
        let plans = &self.plans[Split::Train as usize];
        let draw = |attempt: u64| {
            let plan = &plans[key.with(Place::Database as u64).with(attempt).below(plans.len())];
            let key = key.with(Place::Question as u64).with(attempt);
            Some((plan, Question::draw(key, plan, self.config.difficulty)?))
        };
        // Nearly every draw succeeds, and at least one database has questions.
        (0..u64::MAX).find_map(draw).expect("some database has a question: the world has tasks")
    }
}
