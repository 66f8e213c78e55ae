//! What is right, what is wrong, and how often guessing is right.

use super::*;
use crate::sql::{Store, Value};

#[test]
fn gold_is_right_and_every_other_reading_is_wrong() {
    for difficulty in 1..=3 {
        let world = small(difficulty);
        let environment = environment(&world);
        for (plan, question, task) in asked(&world) {
            let gold = task.field("gold").unwrap();
            assert_eq!(reward(&environment, &task, gold), 1.0, "{task:?}");
            let all = readings(plan, &question);
            let right = all.iter().filter(|reading| {
                let sql = question.sql(&plan.schema, reading);
                let right = reward(&environment, &task, &sql) == 1.0;
                assert_eq!(right, sql == gold, "{sql} for {task:?}");
                right
            });
            let share = right.count() as f64 / all.len() as f64;
            assert!((share - question.guess_level(&plan.schema)).abs() < 1e-12);
            let without = question.sql(&plan.schema, &[]);
            assert_eq!(reward(&environment, &task, &without), 0.0, "{without} for {task:?}");
        }
    }
}

#[test]
fn gold_finds_rows_on_both_databases_and_a_constant_is_never_right() {
    for difficulty in 1..=3 {
        let world = small(difficulty);
        let environment = environment(&world);
        for (plan, _, task) in asked(&world) {
            let gold = task.field("gold").unwrap();
            let twin = Store::from_script("twin", &plan.twin.script(&plan.schema)).unwrap();
            let original = environment.databases()[&plan.name].original().query(gold).unwrap();
            for answer in [&original, &twin.query(gold).unwrap()] {
                let rows = &answer.outcome.as_ref().unwrap().rows;
                assert!(!rows.is_empty(), "{task:?}");
                assert!(!matches!(rows[0][0], Value::Null | Value::Integer(0)), "{task:?}");
            }
            let rows = original.outcome.as_ref().unwrap().rows.iter();
            let cells: Vec<String> = rows
                .map(|row| match row[0] {
                    Value::Integer(whole) => format!("({whole})"),
                    Value::Real(real) => format!("({real:?})"),
                    _ => panic!("results are numbers: {row:?}"),
                })
                .collect();
            let constant = format!("SELECT * FROM ( VALUES {} )", cells.join(","));
            assert_eq!(reward(&environment, &task, &constant), 0.0, "{constant} for {task:?}");
        }
    }
}

#[test]
fn who_guesses_is_right_a_quarter_of_the_time() {
    let world = build(&WorldConfig { train_databases: 150, ..WorldConfig::default() });
    let environment = environment(&world);
    let mut right = [0.0; 2];
    let asked = asked(&world);
    for (number, (plan, question, task)) in asked.iter().enumerate() {
        let all = readings(plan, question);
        let guess = &all[Key::new(9, Purpose::Sample).with(number as u64).below(all.len())];
        right[0] += reward(&environment, task, &question.sql(&plan.schema, guess));
        right[1] += question.guess_level(&plan.schema);
    }
    let [measured, expected] = right.map(|sum| sum / asked.len() as f64);
    // Three standard deviations of a mean over about 1,000 guesses.
    assert!((measured - expected).abs() < 0.042, "{measured} against {expected}");
    assert!((0.2..0.3).contains(&measured), "{measured}");
    assert!((0.2..0.3).contains(&world.guess_level(Split::HeldOut)));
}

#[test]
fn a_harder_world_is_harder_to_guess_and_asks_as_it_says() {
    let level = |difficulty| small(difficulty).guess_level(Split::Train);
    assert!((0.03..0.10).contains(&level(2)), "{}", level(2));
    assert!((0.2..0.3).contains(&level(3)), "{}", level(3));
    for (_, question, task) in asked(&small(2)) {
        assert_eq!(question.conditions.len(), 2);
        assert!(task.question.contains(" and "), "{task:?}");
    }
    for (_, _, task) in asked(&small(3)) {
        assert!(task.field("gold").unwrap().contains(" JOIN "), "{task:?}");
    }
}

#[test]
fn demonstrations_say_what_the_executor_says_and_only_careful_ones_are_always_right() {
    for difficulty in 1..=3 {
        let world = small(difficulty);
        let environment = environment(&world);
        let mut rewards: BTreeMap<trace::Script, Vec<f64>> = BTreeMap::new();
        for index in 0..600 {
            let key = Key::new(world.config.seed, Purpose::Demonstration).with(index);
            let (plan, question) = world.drawn(key);
            let script = world.config.mix.script(key.with(Place::Script as u64), question.kind);
            let task = plan.task(&question, 0);
            let demonstration = world.demonstration(index, &environment);
            assert_eq!(demonstration.opening, environment.opening(&task));
            let mut episode = start(&environment, &task);
            let mut ended = None;
            for pair in demonstration.segments.chunks(2) {
                assert!(pair[0].train && !pair[0].observation && ended.is_none());
                match (episode.step(&pair[0].text, Stop::StopString), pair.get(1)) {
                    (Turn::Observation(text), Some(shown)) => {
                        assert!(shown.observation && !shown.train);
                        assert_eq!(text, shown.text);
                    }
                    (Turn::End(verdict), None) => ended = Some(verdict),
                    (turn, _) => panic!("{turn:?} in {demonstration:?}"),
                }
            }
            let verdict = ended.unwrap_or(Verdict::Pending);
            assert_eq!(verdict.part("format"), Some(1.0), "{demonstration:?}");
            rewards.entry(script).or_default().push(verdict.reward().unwrap());
        }
        for (script, rewards) in rewards {
            let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
            let careful = script == trace::Script::Careful;
            assert!(if careful { mean == 1.0 } else { mean < 0.5 }, "{script:?}: {mean}");
        }
    }
}
