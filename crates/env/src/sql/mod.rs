//! # `sql`: questions over databases, with queries while reasoning (ReEx-SQL)
//!
//! Paper: arXiv 2505.12768. The policy thinks, asks the database, reads at most three rows, thinks
//! again, and ends with a query whose result must equal the gold query's.
//!
//! Tasks: `id, question, database, gold, evidence?` in a JSONL file beside a folder of SQLite files
//! ([`load`]), or a generated world ([`Source::scripts`]).
//!
//! Action: the markup of [`markup`]. An action ends at `</intermediate_sql>` or `</final_sql>`.
//!
//! Judged: `reward` is 1 where the answer's result equals the gold query's ([`equality`]) on the
//! database and on its perturbed twin, else 0. Parts, each in [0, 1] (`exec` may be -1 where
//! `exec_error_penalty` says so): `format`, `exact`, `exec`, `entity`, `explore`. Weights and
//! gates are a credit's business (DECISIONS 8). With `twins_held_out` a further part, `strict`: 1
//! where the reward is 1 and the answer equals the gold query's on that many more derived
//! databases, too. Nothing trains on it, so a reward that rises without it shows an answer that
//! fits the judge.
//!
//! Cheats and what stops them: a constant equal to the gold result (the twin: same tables, other
//! rows); writing, attaching, leaking paths (an allow-list while SQLite compiles, read-only, no
//! attached databases); games with order and duplicates (multiset comparison, list where gold
//! orders); a `<result>` typed by the policy (never read as the executor's, `format` 0); queries
//! for their own sake raise `explore`, which is not the reward: gate it. Programs of these cheats
//! are in `tests/cheats/sql/`.
//!
//! Queries run in a child process that the kernel confines ([`mod@child`]), under limits of its own
//! on top ([`store`]). A query that costs more than it may is judged; one that was not answered
//! through no fault of its own leaves the attempt without a verdict.
//!
//! Not covered: a database that changes while the run lasts; what the kernel itself lets through.

mod answer;
mod check;
pub mod child;
pub mod config;
pub mod database;
mod entities;
mod episode;
pub mod equality;
mod file;
mod guarded;
mod judge;
mod lexer;
pub mod markup;
mod observation;
mod permission;
mod schema;
mod shelf;
mod source;
mod standing;
pub mod store;
mod tasks;
mod twin;
pub mod value;
pub mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use stepwell_tree::{Environment, Episode, Key, Opening, Task, UnscoredReason};

use crate::EnvError;
use child::Child;
use episode::{Attempt, Progress};

pub use answer::{Answer, Lost, QueryError};
pub use check::{Fault, Finding};
pub use child::CHILD;
pub use config::Config;
pub use database::Database;
pub use judge::PARTS;
pub use source::{Source, list_folder};
pub use standing::Standing;
pub use store::Store;
pub use tasks::{load, read, schema};
pub use twin::{HELD_OUT_MAX, TABLE_ROWS_MAX};
pub use value::{Table, Value};

/// What a model that was never trained on the markup has to be told.
const INSTRUCTIONS: &str = "\
Answer the question with one SQLite query. Reason between <think> and </think>. You may look at \
the database first: write a query between <intermediate_sql> and </intermediate_sql>, and its \
result follows between <result> and </result>, which you never write yourself. Think before each \
query. When you are sure, write the answer between <final_sql> and </final_sql> and stop.";

/// The environment. Cheap to share: attempts hold the databases together with it.
#[derive(Clone)]
pub struct SqlEnvironment {
    shared: Arc<Shared>,
}

/// What all attempts share.
pub(crate) struct Shared {
    open: Arc<Open>,
    config: Config,
    strays: Vec<Stray>,
}

/// Databases by name, and where their queries run.
struct Open {
    databases: BTreeMap<String, Database>,
    child: Option<Arc<Child>>,
    standing: Standing,
}

/// A task whose gold result can stand in for an observation in the control arm.
struct Stray {
    database: String,
    gold: String,
}

impl SqlEnvironment {
    /// An environment over databases by name, from files or from a generated world. Queries run in
    /// a confined child wherever this program can start itself (`stepwell_sandbox::enter`), else
    /// in this process.
    ///
    /// `tasks` are those whose results the control `shuffled_results` shows; without it they are
    /// not looked at.
    ///
    /// # Errors
    /// A setting outside its range; a database that cannot be used; a machine that cannot confine
    /// a child, where `sandbox` is full; the control without any task that runs.
    pub fn new(
        sources: BTreeMap<String, Source>,
        tasks: &[Task],
        config: Config,
    ) -> Result<SqlEnvironment, EnvError> {
        if !stepwell_sandbox::child::can_start() {
            return SqlEnvironment::here(sources, tasks, config);
        }
        config.check()?;
        SqlEnvironment::over(Arc::new(Open::child(sources, &config)?), tasks, config)
    }

    /// The same, with queries in this process: for a comparison, never for a stranger's bytes.
    ///
    /// # Errors
    /// As [`SqlEnvironment::new`].
    pub fn here(
        sources: BTreeMap<String, Source>,
        tasks: &[Task],
        config: Config,
    ) -> Result<SqlEnvironment, EnvError> {
        config.check()?;
        SqlEnvironment::over(Arc::new(Open::here(sources, &config)?), tasks, config)
    }

    /// The control of this environment: the same databases and settings, every observation the
    /// result of another task's gold query. `tasks` are those whose results are shown.
    ///
    /// # Errors
    /// No task has a gold query that runs.
    pub fn shuffled(&self, tasks: &[Task]) -> Result<SqlEnvironment, EnvError> {
        let config = Config { shuffled_results: true, ..self.shared.config.clone() };
        SqlEnvironment::over(Arc::clone(&self.shared.open), tasks, config)
    }

    fn over(open: Arc<Open>, tasks: &[Task], config: Config) -> Result<SqlEnvironment, EnvError> {
        let mut strays = Vec::new();
        for task in if config.shuffled_results { tasks } else { &[] } {
            let stray = stray(task, &open.databases);
            strays.extend(stray.map_err(|lost| EnvError::Process { cause: lost.to_string() })?);
        }
        if config.shuffled_results && strays.is_empty() {
            return Err(EnvError::Setting {
                name: "shuffled_results",
                expected: "false where no task has a gold query that runs",
                got: "true".to_owned(),
            });
        }
        Ok(SqlEnvironment { shared: Arc::new(Shared { open, config, strays }) })
    }

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// The databases by name.
    pub fn databases(&self) -> &BTreeMap<String, Database> {
        &self.shared.open.databases
    }

    /// What stands between a query and this machine.
    pub fn standing(&self) -> &Standing {
        &self.shared.open.standing
    }

    /// The number of the process that was started last to run queries; `None` where they run in
    /// this one.
    pub fn child_id(&self) -> Option<u32> {
        self.shared.open.child.as_ref().map(|child| child.id())
    }
}

impl Shared {
    pub(crate) fn databases(&self) -> &BTreeMap<String, Database> {
        &self.open.databases
    }
}

fn stray(task: &Task, databases: &BTreeMap<String, Database>) -> Result<Option<Stray>, Lost> {
    let (Some(database), Some(gold)) = (task.field("database"), task.field("gold")) else {
        return Ok(None);
    };
    let Some(found) = databases.get(database) else { return Ok(None) };
    let runs = found.original().query(gold)?.outcome.is_ok();
    Ok(runs.then(|| Stray { database: database.to_owned(), gold: gold.to_owned() }))
}

impl Environment for SqlEnvironment {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn opening(&self, task: &Task) -> Opening {
        let database = task.field("database").and_then(|name| self.shared.databases().get(name));
        let mut lines = Vec::new();
        lines.extend(database.map(|database| database.schema_text().to_owned()));
        lines.extend(task.field("evidence").map(|text| format!("evidence : {text}")));
        lines.push(format!("question : {}", task.question));
        let system = if self.shared.config.instructions { INSTRUCTIONS } else { "" };
        Opening { system: system.to_owned(), user: lines.join("\n") + "\n" }
    }

    fn stop_strings(&self) -> Vec<String> {
        vec!["</intermediate_sql>".to_owned(), "</final_sql>".to_owned()]
    }

    fn reward_range(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    fn parts(&self) -> Vec<String> {
        judge::PARTS.iter().map(|name| (*name).to_owned()).collect()
    }

    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        let field = |name: &str| {
            let missing = || UnscoredReason::EnvironmentFailed(format!("the task has no `{name}`"));
            task.field(name).ok_or_else(missing)
        };
        let (name, gold) = (field("database")?, field("gold")?);
        let Some(database) = self.shared.databases().get(name) else {
            let reason = format!("there is no database `{name}`");
            return Err(UnscoredReason::EnvironmentFailed(reason));
        };
        // A gold query that fails is the task's fault: nobody is scored on it (hack suite, row 76).
        if let Err(error) = &database.original().query(gold)?.outcome {
            return Err(UnscoredReason::GoldFailed(error.to_string()));
        }
        Ok(Box::new(Attempt {
            shared: Arc::clone(&self.shared),
            database: name.to_owned(),
            gold: gold.to_owned(),
            key,
            progress: Progress::default(),
        }))
    }

    /// The final query's rows, sorted, numbers to six digits; `None` where it does not run.
    fn answer(&self, task: &Task, text: &str) -> Option<String> {
        let database = self.shared.databases().get(task.field("database")?)?;
        let markup::Action::Final(sql) = markup::parse(text).action else { return None };
        let answer = database.original().query(&sql).ok()?;
        answer.outcome.as_ref().ok().map(equality::ballot)
    }

    /// The gold query.
    fn hint(&self, task: &Task) -> Option<String> {
        task.field("gold").map(|gold| format!("Hint: the answer is {gold}"))
    }

    fn weakness(&self) -> Option<String> {
        match self.standing() {
            Standing::Weak(missing) => Some(missing.clone()),
            Standing::Full | Standing::None => None,
        }
    }
}

/// What a query's text says without being run: for tests that invent queries.
#[doc(hidden)]
pub fn told_of(sql: &str) -> String {
    let fault = permission::one_select(&lexer::tokens(sql)).err();
    let fault = fault.map_or_else(String::new, |fault| fault.to_string());
    let same = entities::same_text(sql, "SELECT 1", config::Exact::Ast);
    let literals = entities::literals(sql).len();
    format!("{fault}; {same}; {literals}; {}", equality::is_ordered(sql))
}

/// What bytes would mean as messages of the process that runs queries.
#[doc(hidden)]
pub fn told_of_reply(bytes: &[u8]) -> String {
    child::message::meanings(bytes)
}

/// Messages of that process, one of each kind.
#[doc(hidden)]
pub fn sample_replies() -> Vec<Vec<u8>> {
    child::message::samples()
}
