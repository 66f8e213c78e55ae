//! The `sql` environment over the small shop, its tasks, and the laws with every cheat.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use std::collections::BTreeMap;

use stepwell_env::laws::{self, Case};
use stepwell_env::sql::{Config, Source, SqlEnvironment};
use stepwell_tree::Task;

use crate::programs::{cheats, steps};
use crate::world;

/// The environment over a file that lives as long as it: files are read in place.
pub(crate) struct Shop {
    pub(crate) environment: SqlEnvironment,
    pub(crate) folder: tempfile::TempDir,
}

impl std::ops::Deref for Shop {
    type Target = SqlEnvironment;

    fn deref(&self) -> &SqlEnvironment {
        &self.environment
    }
}

pub(crate) fn environment(config: Config) -> Shop {
    let folder = tempfile::tempdir().unwrap();
    let source = Source::file(&world::write(folder.path()));
    let databases = BTreeMap::from([("shop".to_owned(), source)]);
    let environment = SqlEnvironment::new(databases, &tasks(), config).unwrap();
    Shop { environment, folder }
}

pub(crate) fn task(id: &str, gold: &str) -> Task {
    let fields = [("database", "shop"), ("gold", gold)];
    let fields: BTreeMap<String, String> =
        fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Task { id: id.to_owned(), question: format!("question {id}"), fields }
}

/// The tasks that cheats name.
pub(crate) fn tasks() -> Vec<Task> {
    vec![
        task("count", "SELECT count(*) FROM customer WHERE state_code = 'CA'"),
        task("names", "SELECT name FROM customer WHERE state_code = 'CA'"),
        task("order", "SELECT name FROM customer ORDER BY age"),
        task("states", "SELECT state_code FROM customer"),
    ]
}

pub(crate) fn solution(task: &Task) -> Vec<String> {
    let gold = task.field("gold").unwrap();
    steps(&format!(
        "<think> look </think> <intermediate_sql> {gold} </intermediate_sql>\n---\n\
         <think> so </think> <final_sql> {gold} </final_sql>"
    ))
}

/// Fails unless the laws hold and no cheat of `tests/cheats/sql` pays; gives how many were tried.
pub(crate) fn obey(environment: &SqlEnvironment) -> usize {
    let mut tried = 0;
    for task in tasks() {
        let cheats = cheats("sql", &task.id);
        tried += cheats.len();
        laws::environment(&Case {
            environment,
            task: &task,
            solution: &solution(&task),
            cheats: &cheats,
            words: &[
                "<think>",
                "</think>",
                "<final_sql>",
                "<intermediate_sql>",
                "<result>",
                "SELECT",
                "FROM",
                "customer",
                "name",
                "age",
                "count(*)",
                "5",
                "'CA'",
                ",",
                "WHERE",
                "=",
            ],
        });
    }
    assert!(tried >= 17, "only {tried} cheats were found");
    tried
}
