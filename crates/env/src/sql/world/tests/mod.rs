//! Laws of generated worlds, through the real executor and judge.

mod fairness;
mod judged;
mod repeatable;
mod spoken;

use std::collections::BTreeMap;

use stepwell_tree::{Environment as _, Episode, Key, Purpose, Stop, Task, Turn, Verdict};

use super::*;
use crate::sql::Config;

/// A world small enough to put into SQLite whole.
fn small(difficulty: u8) -> World {
    build(&WorldConfig {
        difficulty,
        train_databases: 25,
        development_databases: 5,
        held_out_databases: 10,
        ..WorldConfig::default()
    })
}

/// The environment over all databases of a world, with the prompt of policies made from scratch.
fn environment(world: &World) -> SqlEnvironment {
    let config = Config { instructions: false, ..Config::default() };
    SqlEnvironment::new(world.databases(&Split::ALL), &[], config).unwrap()
}

fn start(environment: &SqlEnvironment, task: &Task) -> Box<dyn Episode> {
    environment.start(task, Key::new(0, Purpose::Episode)).unwrap()
}

/// The reward of a query given as the answer at once.
fn reward(environment: &SqlEnvironment, task: &Task, sql: &str) -> f64 {
    let text = format!("<think> guess </think> <final_sql> {sql} </final_sql>");
    match start(environment, task).step(&text, Stop::StopString) {
        Turn::End(verdict) => verdict.reward().unwrap(),
        Turn::Observation(_) => panic!("an answer ends the attempt: {sql}"),
    }
}

/// Every task of a world with the plan and the question it was made from.
fn asked(world: &World) -> Vec<(&Plan, Question, Task)> {
    let plans = world.plans.iter().flatten();
    let questions = plans.flat_map(|plan| {
        let questions = plan.questions(world.config.difficulty, world.config.questions);
        questions.into_iter().enumerate().map(move |(number, question)| {
            let task = plan.task(&question, number);
            (plan, question, task)
        })
    });
    questions.collect()
}

/// All ways to read a question that the prompt leaves open: a column and a style per condition.
fn readings<'p>(plan: &'p Plan, question: &Question) -> Vec<Vec<(&'p str, &'p str)>> {
    let mut readings = vec![Vec::new()];
    for condition in &question.conditions {
        let stored = &condition.wording(&plan.schema).stored;
        let columns = plan.schema.candidates(condition.feature);
        let mut longer = Vec::new();
        for reading in &readings {
            for column in &columns {
                for text in stored {
                    let mut reading: Vec<(&str, &str)> = reading.clone();
                    reading.push((*column, text.as_str()));
                    longer.push(reading);
                }
            }
        }
        readings = longer;
    }
    readings
}
