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
    SqlEnvironment::new(world.databases(&Split::ALL).unwrap(), &[], config).unwrap()
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
#[test]
fn timing_temporary() {
    let rss = || {
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .find(|l| l.starts_with("VmRSS"))
            .unwrap()
            .to_owned()
    };
    eprintln!("{}", rss());
    let t = std::time::Instant::now();
    let world = build(&WorldConfig::default());
    eprintln!("build {:?} {}", t.elapsed(), rss());
    let t = std::time::Instant::now();
    let environment = environment(&world);
    eprintln!("sqlite {:?} {}", t.elapsed(), rss());
    let t = std::time::Instant::now();
    let n: usize = (0..10000).map(|i| world.demonstration(i, &environment).segments.len()).sum();
    eprintln!("10k demos {:?} {} {n}", t.elapsed(), rss());
    let t = std::time::Instant::now();
    let r: f64 = Split::ALL
        .into_iter()
        .flat_map(|s| world.tasks(s))
        .map(|t| reward(&environment, t, &t.fields["gold"]))
        .sum();
    eprintln!("judge golds {:?} {} {r}", t.elapsed(), rss());
    eprintln!("words {}", words().len());
    for s in Split::ALL {
        eprintln!("{:?} {} {}", s, world.guess_level(s), world.tasks(s).len());
    }
    for d in 1..=3 {
        let w = small(d);
        eprintln!("d{d} {} of {}", w.tasks(Split::Train).len(), 100);
        let e = super::tests::environment(&w);
        for i in 0..3 {
            let x = w.demonstration(i, &e);
            eprintln!("{}", x.opening.user);
            for s in x.segments {
                eprintln!("   {}", s.text);
            }
        }
    }
    let (mut p, mut s) = (vec![], vec![]);
    for i in 0..2000 {
        let x = world.demonstration(i, &environment);
        p.push(vocabulary::pieces(&x.opening.user).len());
        s.push(
            p[p.len() - 1]
                + x.segments.iter().map(|y| vocabulary::pieces(&y.text).len()).sum::<usize>(),
        );
    }
    eprintln!(
        "prompt mean {} max {:?} whole mean {} max {:?}",
        p.iter().sum::<usize>() as f64 / 2000.,
        p.iter().max(),
        s.iter().sum::<usize>() as f64 / 2000.,
        s.iter().max()
    );
    // deterministic digest
    let mut h = 0u64;
    for pl in world.plans.iter().flatten() {
        for b in pl.original.script(&pl.schema).bytes() {
            h = h.wrapping_mul(31).wrapping_add(b as u64);
        }
    }
    eprintln!("{h}");
}
