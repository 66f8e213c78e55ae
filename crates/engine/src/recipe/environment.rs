//! The world a recipe's tasks come from.

use serde::Serialize;

use super::calculator::Calculator;
use super::evaluate::Split;
use super::external::{External, ExternalSource};
use super::macros::{Entry, Settings, settings};
use super::math_answer::{MathAnswer, StepEnd};
use super::nearest::{list, nearest};
use super::prompt::PromptText;
use super::python::PythonSettings;
use super::section::Section;
use super::setting::{Limit, Setting, shown};
use super::sql::Sql;

/// What answers the policy and judges it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Questions about SQLite databases, answered with queries that run.
    Sql(Sql),
    /// Word problems, answered with numbers that a calculator helps to find.
    Calculator(Calculator),
    /// Questions with an answer that a program can compare, answered in free text.
    MathAnswer(MathAnswer),
    /// Programs that run while the policy reasons, and functions that hidden cases test.
    Python(PythonSettings),
    /// A program of the user's that answers and judges.
    External(External),
}

const KNOWN: [&str; 5] = ["sql", "calculator", "math_answer", "python", "external"];

impl Environment {
    /// The word a recipe uses.
    pub fn name(&self) -> &'static str {
        match self {
            Environment::Sql(_) => "sql",
            Environment::Calculator(_) => "calculator",
            Environment::MathAnswer(_) => "math_answer",
            Environment::Python(_) => "python",
            Environment::External(_) => "external",
        }
    }

    /// Most actions that are answered before the last one.
    pub fn max_interactions(&self) -> usize {
        match self {
            Environment::Sql(sql) => sql.max_interactions,
            Environment::Calculator(calculator) => calculator.max_interactions,
            Environment::MathAnswer(math) if math.step == StepEnd::Answer => 0,
            Environment::MathAnswer(math) => math.max_steps - 1,
            Environment::Python(python) => python.max_interactions,
            Environment::External(external) => external.max_steps - 1,
        }
    }

    /// Names of a verdict's parts, in the order its judge gives them.
    pub fn parts(&self) -> Vec<&str> {
        match self {
            Environment::Sql(_) => stepwell_env::sql::PARTS.to_vec(),
            Environment::Calculator(_) => stepwell_env::calculator::PARTS.to_vec(),
            Environment::MathAnswer(_) => stepwell_env::math_answer::PARTS.to_vec(),
            Environment::Python(_) => stepwell_env::python::PARTS.to_vec(),
            Environment::External(external) => external.parts.iter().map(String::as_str).collect(),
        }
    }

    /// A prompt of the user's own around what the environment itself would say.
    pub fn prompt(&self) -> Option<&PromptText> {
        match self {
            Environment::Sql(sql) => sql.prompt.as_ref(),
            Environment::Calculator(calculator) => calculator.prompt.as_ref(),
            Environment::MathAnswer(math) => math.prompt.as_ref(),
            Environment::Python(python) => python.prompt.as_ref(),
            // Its prompt is all there is, and part of its own settings.
            Environment::External(_) => None,
        }
    }

    /// True where a script writes demonstrations: the world is generated.
    pub fn is_scripted(&self) -> bool {
        matches!(
            self,
            Environment::Sql(Sql { source: Source::World(_), .. })
                | Environment::Calculator(Calculator { source: Source::World(_), .. })
        )
    }

    /// The user's files; `None` where tasks are generated.
    pub fn files(&self) -> Option<&Files> {
        match self {
            Environment::Sql(Sql { source: Source::Files(files), .. })
            | Environment::Calculator(Calculator { source: Source::Files(files), .. }) => {
                Some(files)
            }
            Environment::MathAnswer(math) => Some(&math.files),
            Environment::Python(python) => Some(&python.files),
            Environment::External(External { source: ExternalSource::Files(files), .. }) => {
                Some(files)
            }
            _ => None,
        }
    }

    /// How many members of a split are generated, or given by a program, and the key that says so;
    /// `None` where tasks are in the user's files.
    pub(super) fn generated(&self, split: Split) -> Option<(usize, &'static str)> {
        match self {
            Environment::Sql(Sql { source: Source::World(world), .. }) => Some(match split {
                Split::Train => (world.train_databases, "world.train_databases"),
                Split::Development => (world.development_databases, "world.development_databases"),
                Split::HeldOut => (world.held_out_databases, "world.held_out_databases"),
            }),
            Environment::Calculator(Calculator { source: Source::World(world), .. }) => {
                Some(match split {
                    Split::Train => (world.train_problems, "world.train_problems"),
                    Split::Development => {
                        (world.development_problems, "world.development_problems")
                    }
                    Split::HeldOut => (world.held_out_problems, "world.held_out_problems"),
                })
            }
            Environment::External(External { source: ExternalSource::Tasks(tasks), .. }) => {
                Some(tasks.of(split))
            }
            _ => None,
        }
    }
}

settings! {
    /// The user's own tasks. Paths are relative to the working folder.
    pub struct Files {
        /// Task file to train on, one JSON object per line.
        train: Option<String> = None, Limit::Any;
        /// Task file for `split = "held_out"`.
        held_out: Option<String> = None, Limit::Any;
        /// Task file for `split = "development"`.
        development: Option<String> = None, Limit::Any;
        /// Folder of the databases that tasks of `sql` name.
        databases: Option<String> = None, Limit::Any;
        /// Fields of the task files that are allowed and ignored.
        extra: Vec<String> = Vec::new(), Limit::Any;
        /// Held-out and development tasks may also be trained on; they are counted in a note.
        allow_overlap: bool = false, Limit::Any;
    }
}

/// Where tasks come from.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source<W> {
    /// Generated.
    World(W),
    /// Files of the user.
    Files(Files),
}

impl<W: Default> Default for Source<W> {
    fn default() -> Self {
        Source::World(W::default())
    }
}

impl<W: Settings + Default> Settings for Source<W> {
    fn read(section: &Section<'_>, default: Self) -> Self {
        let both = section.has("world") && section.has("files");
        let neither = !section.has("world") && !section.has("files");
        if both || neither {
            let found = if both { "both" } else { "neither" };
            let key = &section.path;
            let message =
                format!("`{key}` must hold exactly one of `world`, `files`; found: {found}");
            section.notes.error(section.offset, key, message);
        }
        let world = section.child("world").map(|table| {
            let world = W::read(&table, W::default());
            table.finish();
            Source::World(world)
        });
        let files = section.child("files").map(|table| {
            let files = Files::read(&table, Files::default());
            table.finish();
            Source::Files(files)
        });
        world.or(files).unwrap_or(default)
    }

    fn write(&self, section: &str, out: &mut Vec<Entry>) {
        match self {
            Source::World(world) => world.write(&format!("{section}.world"), out),
            Source::Files(files) => files.write(&format!("{section}.files"), out),
        }
    }
}

impl Default for Environment {
    fn default() -> Self {
        Environment::Sql(Sql::default())
    }
}

impl Settings for Environment {
    fn read(section: &Section<'_>, default: Self) -> Self {
        let Some(table) = section.child("environment") else {
            if !section.has("environment") {
                let message = "missing `environment`; write `[environment]` with `type = \"sql\"`";
                section.notes.error(section.offset, "environment", message);
            }
            return default;
        };
        let Some(name) = table.take("type") else {
            let message = format!("missing key `environment.type`; known: {}", list(&KNOWN));
            section.notes.error(table.offset, "environment.type", message);
            return default;
        };
        let got = name.get_ref().as_str().unwrap_or_default();
        if !KNOWN.contains(&got) {
            let near = nearest(got, &KNOWN).map(|near| format!("; nearest: `{near}`"));
            let (got, known) = (shown(name.get_ref()), list(&KNOWN));
            let near = near.unwrap_or_default();
            let message = format!("unknown environment {got}; known: {known}{near}");
            section.notes.error(name.span().start, "environment.type", message);
            return default;
        }
        let read = match got {
            "calculator" => {
                Environment::Calculator(Calculator::read(&table, Calculator::default()))
            }
            "math_answer" => {
                Environment::MathAnswer(MathAnswer::read(&table, MathAnswer::default()))
            }
            "python" => {
                Environment::Python(PythonSettings::read(&table, PythonSettings::default()))
            }
            "external" => Environment::External(External::read(&table, External::default())),
            _ => Environment::Sql(Sql::read(&table, Sql::default())),
        };
        table.finish();
        read
    }

    fn write(&self, _: &str, out: &mut Vec<Entry>) {
        let about = format!("What answers the policy. One of {}.", list(&KNOWN));
        let value = self.name().to_owned().text();
        out.push(Entry { section: "environment".into(), name: "type".into(), value, about });
        match self {
            Environment::Sql(sql) => sql.write("environment", out),
            Environment::Calculator(calculator) => calculator.write("environment", out),
            Environment::MathAnswer(math) => math.write("environment", out),
            Environment::Python(python) => python.write("environment", out),
            Environment::External(external) => external.write("environment", out),
        }
    }
}
