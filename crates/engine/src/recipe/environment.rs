//! The world a recipe's tasks come from.

use serde::Serialize;

use super::macros::{Entry, Settings, choices, settings};
use super::nearest::{list, nearest};
use super::section::Section;
use super::setting::{Limit, Setting, shown};

/// What answers the policy and judges it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// Questions about SQLite databases, answered with queries that run.
    Sql(Sql),
}

const KNOWN: [&str; 1] = ["sql"];

choices! {
    /// How the verdict's part `explore` is counted (ReEx-SQL names the term, not its formula).
    pub enum Explore {
        /// 1 where some intermediate query ran without error and returned a row, else 0.
        Any = "any",
        /// Share of the intermediate queries that ran, repeats not counted; 0 where there are none.
        Fraction = "fraction",
        /// Share of gold's names and values that appear in intermediate queries and results.
        Coverage = "coverage",
    }
}

choices! {
    /// How the verdict's part `entity` compares the tables and columns of answer and gold.
    pub enum Entity {
        /// Size of the intersection by size of the union.
        Jaccard = "jaccard",
        /// 1 where the sets are equal, else 0.
        AllOrNothing = "all_or_nothing",
    }
}

choices! {
    /// How the verdict's part `exact` compares the answer with gold.
    pub enum Exact {
        /// Text, apart from case and white space.
        String = "string",
        /// Parsed trees.
        Ast = "ast",
    }
}

choices! {
    /// How rows are compared where gold has no order (DECISIONS 11).
    pub enum ResultCompare {
        /// Each row as often as gold has it.
        Multiset = "multiset",
        /// Duplicates count once.
        Set = "set",
    }
}

settings! {
    /// How often a scripted demonstration follows which script.
    pub struct Mix {
        /// Share of careful demonstrations of questions that count.
        careful_counting: f64 = 0.70, Limit::Real(0.0, 1.0);
        /// Share of careful demonstrations of all other questions.
        careful_otherwise: f64 = 0.25, Limit::Real(0.0, 1.0);
        /// Among the careless: guesses at once. The three careless shares sum to 1.
        blind: f64 = 0.55, Limit::Real(0.0, 1.0);
        /// Among the careless: looks at a column that does not matter, then guesses.
        useless: f64 = 0.35, Limit::Real(0.0, 1.0);
        /// Among the careless: looks as the careful script does, then answers something else.
        slip: f64 = 0.10, Limit::Real(0.0, 1.0);
    }
}

settings! {
    /// Generated databases and questions: nothing to download, and held-out databases are unseen.
    pub struct World {
        /// 1: one condition. 2: two conditions on one table. 3: a condition on a joined table.
        difficulty: usize = 1, Limit::Whole(1, 3);
        /// Databases to train on.
        train_databases: usize = 400, Limit::Whole(1, 100_000);
        /// Databases never trained on, for decisions during development.
        development_databases: usize = 60, Limit::Whole(0, 100_000);
        /// Databases never trained on, for the final evaluation.
        held_out_databases: usize = 60, Limit::Whole(0, 100_000);
        /// Questions per database; one with fewer distinct ones asks those.
        questions: usize = 10, Limit::Whole(1, 50);
        /// Seed of the world, apart from the run's, so that runs with other seeds share a world.
        seed: u64 = 1, Limit::Whole(0, u64::MAX);
        tables {
            /// How demonstrations are worked.
            mix: Mix = Mix::default();
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
        /// Folder of the databases that tasks name.
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
pub enum Source {
    /// Generated.
    World(World),
    /// Files of the user.
    Files(Files),
}

settings! {
    /// What one query may cost. All are counts, so a query that is refused once is refused always.
    pub struct QueryLimits {
        /// Instructions of SQLite's virtual machine; one second is about 5e7.
        steps_max: u64 = 10_000_000, Limit::Whole(1_000, 1_000_000_000);
        /// Rows of a result.
        rows_max: usize = 10_000, Limit::Whole(1, 1_000_000);
        /// Bytes of a result.
        result_bytes_max: usize = 1_000_000, Limit::Whole(1_000, 100_000_000);
        /// Bytes of one value or row.
        value_bytes_max: usize = 100_000, Limit::Whole(1_000, 10_000_000);
        /// Bytes of a query.
        query_bytes_max: usize = 10_000, Limit::Whole(100, 1_000_000);
    }
}

settings! {
    /// The SQL environment.
    pub struct Sql {
        /// Most exploratory queries that are run in an attempt, before the answer.
        max_interactions: usize = 4, Limit::Whole(0, 1000);
        /// How the verdict's part `explore` is counted.
        explore: Explore = Explore::Fraction, Limit::Any;
        /// How the verdict's part `entity` is counted.
        entity: Entity = Entity::Jaccard, Limit::Any;
        /// How the verdict's part `exact` is decided.
        exact: Exact = Exact::String, Limit::Any;
        /// The verdict's part `exec` where the answer does not run.
        exec_error_penalty: i8 = 0, Limit::Signed(-1, 0);
        /// How rows are compared where gold has no order.
        result_compare: ResultCompare = ResultCompare::Multiset, Limit::Any;
        /// Most rows an observation shows.
        rows_shown: usize = 3, Limit::Whole(1, 1000);
        /// Most bytes of an observation between its tags.
        observation_bytes_max: usize = 1000, Limit::Whole(64, 1_000_000);
        /// The prompt explains the tags: for models that were not trained on them.
        instructions: bool = false, Limit::Any;
        with {
            /// Where tasks come from.
            source: Source = Source::default();
        }
        tables {
            /// What one query may cost.
            limits: QueryLimits = QueryLimits::default();
        }
    }
}

impl Default for Source {
    fn default() -> Self {
        Source::World(World::default())
    }
}

impl Settings for Source {
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
            let world = World::read(&table, World::default());
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
            let message = "missing key `environment.type`; known: `sql`";
            section.notes.error(table.offset, "environment.type", message);
            return default;
        };
        let known = matches!(name.get_ref(), toml::de::DeValue::String(text) if text == "sql");
        if !known {
            let got = name.get_ref().as_str().unwrap_or_default();
            let near = nearest(got, &KNOWN).map(|near| format!("; nearest: `{near}`"));
            let (got, known) = (shown(name.get_ref()), list(&KNOWN));
            let near = near.unwrap_or_default();
            let message = format!("unknown environment {got}; known: {known}{near}");
            section.notes.error(name.span().start, "environment.type", message);
            return default;
        }
        let sql = Sql::read(&table, Sql::default());
        table.finish();
        Environment::Sql(sql)
    }

    fn write(&self, _: &str, out: &mut Vec<Entry>) {
        let Environment::Sql(sql) = self;
        let about = "What answers the policy: `sql`.".to_owned();
        let value = "sql".to_owned().text();
        out.push(Entry { section: "environment".into(), name: "type".into(), value, about });
        sql.write("environment", out);
    }
}
