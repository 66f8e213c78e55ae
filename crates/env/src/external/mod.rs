//! # `external`: an environment or a grader in any language
//!
//! Idea: whoever has an environment keeps it as it is, and a page of code lets it speak JSON lines
//! over standard input and output (`docs/EXTERNAL.md` is the protocol).
//!
//! Tasks: `id`, `question` and any other fields in a JSONL file ([`load`]), or the program's own,
//! asked for by split and index ([`ExternalEnvironment::tasks`]).
//!
//! Action: text, up to one of the program's stop strings.
//!
//! Judged: by the program, in the range and with the parts that it declared, which are the
//! recipe's. Whatever else it does (hangs, dies, says something that is no reply, a reward that is
//! none) leaves the attempt unscored, with the reason.
//!
//! Cheats and what stops them: the program is a stranger, and so is the text that a policy makes
//! it handle. A text that the program prints to its output as it is could pass for a reply: a
//! verdict counts only if the program answers exactly once and then answers `end`. What the judge
//! itself believes is the program's business.
//!
//! Not covered: there is no sandbox. The program runs with the rights of the run; a process of it
//! that leaves its group outlives it.

mod check;
mod config;
mod door;
mod episode;
mod process;
mod protocol;

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use stepwell_tree::{Environment, Episode, Key, Opening, Task, UnscoredReason};

use crate::tasks::{self, Loaded, Options, Schema, line};
use crate::{EnvError, Split};
use door::{Door, Fault};
use episode::{Attempt, Graded, Shared};

pub use check::{Checked, Finding, Law, check};
pub use config::{Config, KEPT, Limits, Mode};
pub use process::{LINES_WAITING, STDERR_BYTES};
#[doc(hidden)]
pub use protocol::meanings;
pub use protocol::{Hello, NAME_BYTES_MAX, NAMES_MAX, Offer};

/// Tasks asked for at once.
const TASKS_AT_ONCE: usize = 100;

/// The environment. Cheap to share: attempts hold the program together with it.
pub struct ExternalEnvironment {
    shared: Arc<Shared>,
}

/// Reads a task file: `id`, `question` and any other fields. A field that is not text is passed on
/// as its JSON.
///
/// Errors: what [`tasks::load`] refuses.
pub fn load(file: &Path, options: &Options) -> Result<Loaded, EnvError> {
    tasks::load(file, &Schema::open(), options)
}

impl ExternalEnvironment {
    /// Starts the program and hears what it is.
    ///
    /// Errors: a setting outside its range; a program that cannot be started, that does not speak
    /// the protocol, or whose parts and range of rewards are not those of the settings.
    pub fn open(config: Config) -> Result<ExternalEnvironment, EnvError> {
        config.check()?;
        let (door, hello) =
            Door::open(&config).map_err(|why| EnvError::Data(fault(&config, &why)))?;
        agree(&config, &hello).map_err(|why| EnvError::Data(fault(&config, &why)))?;
        Ok(ExternalEnvironment { shared: Arc::new(Shared { door, config, hello }) })
    }

    /// Starts a program to see what it declares: the settings' parts and range become its own, and
    /// a program that only grades is a grader.
    ///
    /// Errors: as [`ExternalEnvironment::open`].
    pub fn discover(mut config: Config) -> Result<ExternalEnvironment, EnvError> {
        config.check()?;
        let (door, hello) =
            Door::open(&config).map_err(|why| EnvError::Data(fault(&config, &why)))?;
        config.parts.clone_from(&hello.parts);
        config.reward = hello.reward;
        let plays = hello.offers.contains(&Offer::Episodes);
        if !plays && hello.offers.contains(&Offer::Grade) {
            config.mode = Mode::Grader;
        }
        agree(&config, &hello).map_err(|why| EnvError::Data(fault(&config, &why)))?;
        Ok(ExternalEnvironment { shared: Arc::new(Shared { door, config, hello }) })
    }

    /// What the program said of itself.
    pub fn hello(&self) -> &Hello {
        &self.shared.hello
    }

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The first `count` tasks of a split, from the program.
    ///
    /// Errors: a program that has no tasks, or gives something else.
    pub fn tasks(&self, split: Split, count: usize) -> Result<Loaded, EnvError> {
        let config = &self.shared.config;
        let name = format!("`{}`: tasks of `{}`", config.command.join(" "), split.word());
        if count > 0 && !self.shared.hello.offers.contains(&Offer::Tasks) {
            let why = "has no tasks of its own: `offers` in hello lacks `tasks`; name task files";
            return Err(EnvError::Data(fault(config, why)));
        }
        let mut lines = String::new();
        for from in (0..count).step_by(TASKS_AT_ONCE) {
            let some = TASKS_AT_ONCE.min(count - from);
            let params = json!({ "split": split.word(), "from": from, "count": some });
            let asked = self.shared.door.connect().and_then(|mut door| door.ask("tasks", params));
            let reply = asked.map_err(|why| EnvError::Data(fault(config, &why.text())))?;
            lines += &protocol::tasks(&reply, from, some)
                .map_err(|why| EnvError::Data(fault(config, &why)))?;
        }
        if count == 0 {
            return Ok(Loaded::default());
        }
        tasks::parse(&name, lines.as_bytes(), &Schema::open(), &Options::default())
    }

    /// Asks for something that no program knows; true where it refuses and lives on.
    fn refuses_strangers(&self) -> Result<(), String> {
        let mut door = self.shared.door.connect().map_err(Fault::text)?;
        match door.ask("no_such_request", json!({})) {
            Err(Fault::Refused(_)) => Ok(()),
            Err(Fault::Broken(why)) => Err(why),
            Ok(reply) => {
                let got = line::shown(&Value::Object(reply).to_string());
                Err(format!("an unknown request must get an `error`, got: {got}"))
            }
        }
    }
}

/// What the settings say of the program is what it says itself, and it can do what they need.
fn agree(config: &Config, hello: &Hello) -> Result<(), String> {
    let needed = match config.mode {
        Mode::Environment => Offer::Episodes,
        Mode::Grader => Offer::Grade,
    };
    if !hello.offers.contains(&needed) {
        let (word, mode) = (needed.word(), config.mode.name());
        return Err(format!("`offers` in hello must hold `{word}` for the mode `{mode}`"));
    }
    if config.parts != hello.parts {
        return Err(format!(
            "declares the parts {:?} and the recipe {:?}; set `environment.parts` to the program's",
            hello.parts, config.parts
        ));
    }
    if config.reward != hello.reward {
        let ((least, most), (low, high)) = (hello.reward, config.reward);
        return Err(format!(
            "declares rewards from {least} to {most} and the recipe from {low} to {high}; set \
             `environment.reward_min` and `environment.reward_max` to the program's"
        ));
    }
    Ok(())
}

fn fault(config: &Config, why: &str) -> String {
    format!("`{}`: {why}", config.command.join(" "))
}

impl Environment for ExternalEnvironment {
    fn name(&self) -> &'static str {
        "external"
    }

    fn opening(&self, task: &Task) -> Opening {
        let value = |name: &str| match name {
            "id" => Some(task.id.as_str()),
            "question" => Some(task.question.as_str()),
            other => task.field(other),
        };
        Opening { system: String::new(), user: self.shared.config.prompt.fill(value) }
    }

    fn stop_strings(&self) -> Vec<String> {
        let mut stops = self.shared.hello.stop.clone();
        if self.shared.config.mode == Mode::Grader {
            stops.extend(self.shared.config.step.stop().map(str::to_owned));
        }
        stops
    }

    fn reward_range(&self) -> (f64, f64) {
        self.shared.config.reward
    }

    fn parts(&self) -> Vec<String> {
        self.shared.config.parts.clone()
    }

    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        match self.shared.config.mode {
            Mode::Environment => Ok(Box::new(Attempt::begin(&self.shared, task, key)?)),
            Mode::Grader => Ok(Box::new(Graded {
                shared: Arc::clone(&self.shared),
                task: task.clone(),
                opening: self.opening(task),
                key,
                steps: Vec::new(),
                ended: false,
            })),
        }
    }

    /// None: what an attempt answers is the program's to know, so answers cannot be counted.
    fn answer(&self, _: &Task, _: &str) -> Option<String> {
        None
    }
}
