//! The child answers as this process does, and refuses what it refuses.

use std::collections::BTreeMap;

use stepwell_env::sql::world::{self as worlds, Split, WorldConfig};
use stepwell_env::sql::{Config, Source, SqlEnvironment, Standing};

use crate::{message, refusals, shop, world};

/// Rows 66 to 74, each twice: asked and remembered.
pub(crate) fn refusals_have_the_same_messages_and_leave_no_file() {
    let shop = shop::environment(Config::default());
    assert_eq!(*shop.standing(), Standing::Full);
    let folder = shop.folder.path();
    let before = std::fs::read(folder.join("shop.sqlite")).unwrap();
    let child = shop.child_id().unwrap();
    let evil = folder.join("evil.db").display().to_string();
    let store = shop.databases()["shop"].original();
    for (sql, expect) in refusals::cases(&evil) {
        let shown: String = sql.chars().take(80).collect();
        assert_eq!(message(store, &sql), expect, "`{shown}`");
        assert_eq!(message(store, &sql), expect, "again `{shown}`");
    }
    assert_eq!(shop.child_id(), Some(child), "a refusal cost a child");
    let files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(files, ["shop.sqlite"]);
    assert_eq!(std::fs::read(folder.join("shop.sqlite")).unwrap(), before);
}

/// Hacks 19 to 21.
pub(crate) fn laws_hold_and_no_cheat_pays() {
    let shop = shop::environment(Config::default());
    shop::obey(&shop);
    assert_eq!(*shop.standing(), Standing::Full);
}

pub(crate) fn every_gold_query_of_generated_worlds_answers_alike_here_and_there() {
    let mut asked = 0;
    for difficulty in 1..=3 {
        let config = WorldConfig {
            difficulty,
            train_databases: 20,
            development_databases: 5,
            held_out_databases: 5,
            ..WorldConfig::default()
        };
        let world = worlds::build(&config);
        let sources = || world.databases(&Split::ALL);
        let here = SqlEnvironment::here(sources(), &[], Config::default()).unwrap();
        let there = SqlEnvironment::new(sources(), &[], Config::default()).unwrap();
        assert_eq!((here.standing(), there.standing()), (&Standing::None, &Standing::Full));
        for task in Split::ALL.iter().flat_map(|split| world.tasks(*split)) {
            let (name, gold) = (task.field("database").unwrap(), task.field("gold").unwrap());
            let (here, there) = (&here.databases()[name], &there.databases()[name]);
            assert_eq!(here.schema_text(), there.schema_text());
            let answer = there.original().query(gold).unwrap();
            assert!(answer.outcome.is_ok(), "{gold}");
            assert_eq!(here.original().query(gold).unwrap(), answer, "{gold}");
            let twins = [here, there].map(|d| d.twin(0).unwrap().unwrap().query(gold).unwrap());
            assert_eq!(twins[0], twins[1], "{gold}");
            assert_ne!(twins[1].outcome, answer.outcome, "{gold}: the twin does not differ");
            asked += 2;
        }
        assert_eq!(here.check(world.tasks(Split::Train)), there.check(world.tasks(Split::Train)));
    }
    assert!(asked >= 600, "only {asked} answers were compared");
}

pub(crate) fn derived_twins_answer_alike_here_and_there() {
    let folder = tempfile::tempdir().unwrap();
    let sources =
        || BTreeMap::from([("shop".to_owned(), Source::file(&world::write(folder.path())))]);
    let source = sources();
    let here = SqlEnvironment::here(source.clone(), &[], Config::default()).unwrap();
    let there = SqlEnvironment::new(source, &[], Config::default()).unwrap();
    let (here, there) = (&here.databases()["shop"], &there.databases()["shop"]);
    let queries = [
        "SELECT * FROM customer",
        "SELECT state.name, avg(spent), 9e999, -0.0, x'00ff', NULL FROM customer JOIN state ON \
         code = state_code GROUP BY 1",
        "SELECT nme FROM customer",
        "SELECT count(*) FROM customer, customer, customer, customer, customer, customer, customer",
    ];
    let mut different = 0;
    for variant in 0..8 {
        let twins = [here, there].map(|database| database.twin(variant).unwrap().unwrap());
        for sql in queries {
            let answers = twins.map(|twin| twin.query(sql).unwrap());
            assert_eq!(answers[0], answers[1], "{sql} on twin {variant}");
            different += usize::from(answers[0] != here.original().query(sql).unwrap());
        }
    }
    assert!(different >= 16, "the twins are the original");
    assert!(there.twin(8).unwrap().is_none());
}

pub(crate) fn many_threads_are_answered_alike() {
    let shop = shop::environment(Config::default());
    let store = shop.databases()["shop"].original();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for number in 0..100 {
                    let sql = format!("VALUES ({}), ({number})", thread % 2);
                    assert_eq!(message(store, &sql), "2 rows");
                    let answer = store.query(&sql).unwrap();
                    let table = answer.outcome.as_ref().unwrap();
                    assert_eq!(table.rows[1][0], stepwell_env::sql::Value::Integer(number));
                }
            });
        }
    });
}
