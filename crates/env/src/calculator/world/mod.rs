//! Generated worlds for the `calculator` environment: word problems and scripted attempts.
//!
//! A problem is a template with names, things and numbers. **Held-out problems are unseen by their
//! numbers**: every combination of numbers belongs to one split, in whatever problem it stands, so
//! no training problem has the numbers of a held-out one and an answer learnt by heart is of no
//! use. Templates and words are shared by all splits (DECISIONS 12). The answer stands neither in
//! the question nor in an earlier result, and by construction nothing but the calculation gives it:
//! whoever answers the commonest number is right at [`World::guess_level`].
//!
//! Everything is a pure function of `(seed, split, index)`; a larger world begins with the smaller.

mod config;
mod problem;
mod templates;
#[cfg(test)]
mod tests;
mod trace;

use std::collections::{BTreeMap, BTreeSet};

use stepwell_tree::{Demonstration, Environment as _, Key, Purpose, Task};

pub use config::WorldConfig;
use problem::{Problem, templates};
pub use trace::TraceMix;

use super::{CalculatorEnvironment, markup, prompt};
use crate::Split;

/// Draws of a problem before a split is taken to be exhausted.
const DRAWS: u64 = 100;

/// Tasks of all splits, and demonstrations on numbers of training.
pub struct World {
    config: WorldConfig,
    tasks: [Vec<Task>; 3],
}

/// Places of draws below a demonstration's key.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Place {
    Problem,
    Script,
    Trace,
}

/// Draws the world. Panics where [`WorldConfig::problems`] has any.
pub fn build(config: &WorldConfig) -> World {
    let problems = config.problems();
    assert!(problems.is_empty(), "a world was asked for out of range: {}", problems.join("; "));
    let tasks = Split::ALL.map(|split| draw_split(config, split));
    World { config: config.clone(), tasks }
}

/// Distinct problems; fewer than asked for where the numbers give no more.
fn draw_split(config: &WorldConfig, split: Split) -> Vec<Task> {
    let mut seen = BTreeSet::new();
    let mut tasks = Vec::new();
    for index in 0..config.count(split) {
        let key = Key::new(config.seed, Purpose::World).with(split.offset() + index as u64);
        let fresh = (0..DRAWS)
            .filter_map(|draw| config.draw(key.with(draw), split))
            .find(|problem| seen.insert(problem.question.clone()));
        let Some(problem) = fresh else { break };
        tasks.push(problem.task(format!("{}-{index:04}", split.word().replace('_', "-"))));
    }
    tasks
}

impl WorldConfig {
    fn draw(&self, key: Key, split: Split) -> Option<Problem> {
        Problem::draw(key, self.seed, split, (self.difficulty, self.number_max))
    }
}

impl World {
    /// The tasks of a split: `train-0012` is the thirteenth.
    pub fn tasks(&self, split: Split) -> &[Task] {
        &self.tasks[split as usize]
    }

    /// How often the commonest answer of a split is right; 0 where the split has no task.
    pub fn guess_level(&self, split: Split) -> f64 {
        let mut count = BTreeMap::<&str, usize>::new();
        for task in self.tasks(split) {
            *count.entry(task.field("answer").unwrap_or_default()).or_default() += 1;
        }
        let most = count.values().max().copied().unwrap_or(0);
        most as f64 / self.tasks(split).len().max(1) as f64
    }

    /// The demonstration of this index: a fresh problem on numbers of training, worked by a script
    /// that the mix draws. The prompt and the observations are what `environment` would say.
    pub fn demonstration(&self, index: u64, environment: &CalculatorEnvironment) -> Demonstration {
        let key = Key::new(self.config.seed, Purpose::Demonstration).with(index);
        let problem = self.drawn(key.with(Place::Problem as u64));
        let script = self.config.mix.script(key.with(Place::Script as u64), &problem);
        let opening = environment.opening(&problem.task(String::new()));
        let key = key.with(Place::Trace as u64);
        let segments = trace::demonstrate(key, &problem, script, self.config.number_max);
        Demonstration { opening, segments }
    }

    fn drawn(&self, key: Key) -> Problem {
        (0..u64::MAX)
            .find_map(|draw| self.config.draw(key.with(draw), Split::Train))
            .expect("seven of ten combinations of numbers belong to training")
    }
}

/// Texts that hold every word a world can say, numbers aside: for a tokenizer over words.
pub fn texts() -> Vec<String> {
    let templates = [1, 2].into_iter().flat_map(templates).map(|t| t.text.replace(['{', '}'], " "));
    let words = templates::NAMES.iter().chain(&templates::THINGS).map(|word| (*word).to_owned());
    let own = ["+ - * / ( ) . % error : division by zero".to_owned(), prompt::asked("")];
    templates.chain(words).chain(markup::tags()).chain(own).collect()
}
