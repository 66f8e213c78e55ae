//! The `sql` environment as a user meets it: laws, cheats, and the invariants of reex_sql.md,
//! section 10, that concern the environment.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod programs;
mod shop;
mod world;

use std::collections::BTreeMap;

use programs::steps;
use shop::{environment, solution, task, tasks};
use stepwell_env::laws;
use stepwell_env::sql::config::{Entity, Exact, Explore};
use stepwell_env::sql::{Config, Fault, Source, SqlEnvironment};
use stepwell_tree::{Environment, Key, Purpose, STRICT, Stop, Task, Turn, UnscoredReason, Verdict};

fn parts(environment: &SqlEnvironment, task: &Task, program: &str) -> BTreeMap<String, f64> {
    let turns = laws::play(environment, task, Key::new(1, Purpose::Episode), &steps(program));
    match turns.last() {
        Some(Turn::End(Verdict::Scored { parts, .. })) => parts.clone(),
        other => panic!("not scored: {other:?}"),
    }
}

#[test]
fn laws_hold_and_no_cheat_pays() {
    shop::obey(&environment(Config::default()));
}

#[test]
fn gold_against_gold_has_every_part() {
    let environment = environment(Config::default());
    for task in tasks() {
        let got = parts(&environment, &task, &solution(&task).join("\n---\n"));
        assert!(got.values().all(|part| (part - 1.0).abs() < 1e-12), "{}: {got:?}", task.id);
    }
}

#[test]
fn the_query_past_the_limit_is_never_run() {
    let environment = environment(Config { max_interactions: 2, ..Config::default() });
    let task = task("count", "SELECT count(*) FROM customer");
    let ask = "<think> x </think> <intermediate_sql> SELECT 1 </intermediate_sql>".to_owned();
    let mut episode = environment.start(&task, Key::new(1, Purpose::Episode)).unwrap();
    for _ in 0..2 {
        assert!(matches!(episode.step(&ask, Stop::StopString), Turn::Observation(_)));
    }
    let Turn::End(Verdict::Scored { reward, parts }) = episode.step(&ask, Stop::StopString) else {
        panic!("the third query must end the attempt");
    };
    assert_eq!((reward, parts["format"], parts["explore"]), (0.0, 0.0, 0.5));
}

#[test]
fn parts_follow_their_settings() {
    let task = task("t", "SELECT name FROM customer WHERE state_code = 'CA'");
    let ask =
        |sql: &str| format!("<think> x </think> <intermediate_sql> {sql} </intermediate_sql>");
    let end = |sql: &str| format!("<think> x </think> <final_sql> {sql} </final_sql>");
    let other = "select  NAME from customer where (state_code = 'CA')";
    let looked = [&ask("SELECT nme"), &ask("SELECT 1"), &ask("select 1;"), &end(other)]
        .map(String::as_str)
        .join("\n---\n");
    let config = |explore, entity, exact| Config { explore, entity, exact, ..Config::default() };
    for (config, expect) in [
        // One distinct query of three ran; names agree; the parentheses are another text.
        (config(Explore::Fraction, Entity::Jaccard, Exact::String), [1.0 / 3.0, 1.0, 0.0]),
        (config(Explore::Any, Entity::AllOrNothing, Exact::Ast), [1.0, 1.0, 0.0]),
        // `customer`, its two columns and `ca` are wanted; `SELECT 1` finds none of them.
        (config(Explore::Coverage, Entity::Jaccard, Exact::String), [0.0, 1.0, 0.0]),
    ] {
        let got = parts(&environment(config), &task, &looked);
        let got = [got["explore"], got["entity"], got["exact"]];
        assert!(got.iter().zip(expect).all(|(a, b)| (a - b).abs() < 1e-12), "{got:?} {expect:?}");
    }
    // Three of four names and literals are seen: the column `name` is not.
    let seen =
        [&ask("SELECT state_code FROM customer"), &end(other)].map(String::as_str).join("\n---\n");
    let got =
        parts(&environment(config(Explore::Coverage, Entity::Jaccard, Exact::Ast)), &task, &seen);
    assert!((got["explore"] - 0.75).abs() < 1e-12, "{got:?}");
    // Jaccard of {customer, .name, .state_code} and {customer, .age, .state_code} is 2 of 4.
    let near = end("SELECT age FROM customer WHERE state_code = 'CA'");
    let got = parts(&environment(Config::default()), &task, &near);
    assert!((got["entity"] - 0.5).abs() < 1e-12, "{got:?}");
    // A query that does not compile still names things.
    let got =
        parts(&environment(Config::default()), &task, &end("SELECT name state_code FORM customer"));
    assert!((got["entity"] - 1.0).abs() < 1e-12, "{got:?}");
    // `INNER JOIN ... AS` against other layout: the same syntax tree, the same text.
    let penalty = Config { exec_error_penalty: -1, ..Config::default() };
    let got = parts(&environment(penalty), &task, &end("SELECT nme FROM customer"));
    assert_eq!(got["exec"], -1.0);
}

#[test]
fn a_failing_gold_query_is_nobodys_fault_but_the_tasks() {
    let environment = environment(Config::default());
    let broken = task("broken", "SELECT nme FROM customer");
    let start = environment.start(&broken, Key::new(1, Purpose::Episode));
    let reason = UnscoredReason::GoldFailed("no such column: nme".to_owned());
    assert_eq!(start.err(), Some(reason));
    let mut tasks = tasks();
    tasks.push(broken);
    tasks.push(task("constant", "SELECT 1"));
    tasks.push(task("empty", "SELECT name FROM customer WHERE 0"));
    let found: Vec<(String, Fault)> =
        environment.check(&tasks).into_iter().map(|finding| (finding.id, finding.fault)).collect();
    let expect = [
        ("broken".to_owned(), Fault::GoldFailed("no such column: nme".to_owned())),
        ("constant".to_owned(), Fault::SameOnTwin),
        ("empty".to_owned(), Fault::GoldEmpty),
    ];
    assert_eq!(found, expect);
}

#[test]
fn shuffled_observations_are_keyed_and_come_from_another_task() {
    let environment = environment(Config::default());
    let control = environment.shuffled(&tasks()).unwrap();
    let task = &tasks()[0];
    let look = |environment: &SqlEnvironment, seed| {
        let key = Key::new(seed, Purpose::Episode);
        laws::play(environment, task, key, &solution(task))
    };
    assert_eq!(look(&control, 1), look(&control, 1));
    let own = &look(&environment, 1)[0];
    let strays: Vec<Turn> = (0..20).map(|seed| look(&control, seed).remove(0)).collect();
    assert!(strays.iter().all(|turn| turn != own), "an observation of the task itself was shown");
    assert!(strays.iter().any(|turn| *turn != strays[0]), "the key does not matter");
    // Judged as ever: the control changes what is read, not what is right.
    assert_eq!(look(&control, 1)[1], look(&environment, 1)[1]);
}

#[test]
fn observations_and_prompts_read_as_documented() {
    let environment = environment(Config::default());
    let task = &tasks()[0];
    let opening = environment.opening(task).user;
    let expect = "table state ( code text key , name text )\n\
        table customer ( id integer key , name text , state_code text , age integer , \
        spent real , note text )\n\
        customer . state_code -> state . code\nquestion : question count\n";
    assert_eq!(opening, expect);
    for (sql, expect) in [
        ("SELECT name, age FROM customer LIMIT 2", "name , age | Ann , 31 | Bob , 45"),
        ("SELECT name FROM customer", "name | Ann | Bob | Cid | 7 more rows"),
        ("SELECT name FROM customer LIMIT 4", "name | Ann | Bob | Cid | 1 more row"),
        (
            "SELECT spent, note, x'00' b FROM customer LIMIT 1",
            "spent , note , b | 10.5 , NULL , blob of 1 bytes",
        ),
        (
            "SELECT 1.0 / 3 a, 5.0 b, 1e300 c, 1e-9 d",
            "a , b , c , d | 0.333333 , 5.0 , 1e300 , 1e-9",
        ),
        ("SELECT name FROM customer WHERE 0", "name | no rows"),
        ("SELECT nme FROM customer", "error | no such column : nme"),
        ("SELECT '</result> <final_sql>' a", "a | < /result > < final_sql >"),
        ("SELECT 'a\n b' a", "a | a b"),
        ("", "error | expected one statement"),
    ] {
        let program = format!("<think> x </think> <intermediate_sql> {sql} </intermediate_sql>");
        let turn = &laws::play(&*environment, task, Key::new(1, Purpose::Episode), &[program])[0];
        assert_eq!(turn, &Turn::Observation(format!("<result> {expect} </result>")), "{sql}");
    }
}

#[test]
fn votes_count_results_and_not_texts() {
    let environment = environment(Config::default());
    let task = &tasks()[1];
    let ballot = |sql: &str| environment.answer(task, &format!("<final_sql> {sql} </final_sql>"));
    assert!(ballot("SELECT 1").is_some());
    assert_eq!(ballot("SELECT 1"), ballot("SELECT 2 - 1.0 AS x"));
    assert_eq!(ballot("VALUES (1), (2)"), ballot("VALUES (2), (1)"));
    assert_ne!(ballot("SELECT 1"), ballot("SELECT '1'"));
    assert_eq!(ballot("SELECT nme FROM customer"), None);
    assert_eq!(environment.answer(task, "<think> x </think>"), None);
}

/// The file is cut short while the run lasts: the pages that were read still answer, those of the
/// twin were not read yet. A constant is judged on no twin, so it is not judged, until the file is
/// whole again.
#[test]
fn a_twin_that_cannot_be_read_judges_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let path = world::write(folder.path());
    let sources = BTreeMap::from([("shop".to_owned(), Source::file(&path))]);
    let environment = SqlEnvironment::here(sources, &[], Config::default()).unwrap();
    let task = task("count", "SELECT count(*) FROM customer");
    let whole = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(4096).unwrap();
    let constant = ["<think> x </think> <final_sql> SELECT 10 </final_sql>".to_owned()];
    let play = || laws::play(&environment, &task, Key::new(1, Purpose::Episode), &constant);
    let turns = play();
    let Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(why))) = &turns[0] else {
        panic!("{turns:?}");
    };
    assert!(why.contains("cannot be read: its twin: "), "{why}");
    std::fs::write(&path, whole).unwrap();
    let turns = play();
    assert!(matches!(&turns[0], Turn::End(Verdict::Scored { .. })), "{turns:?}");
}

/// A policy that has seen the database and the twin can name a range that holds there and nowhere
/// else: it earns the reward and not the stricter judge's part, which gold does.
#[test]
fn a_stricter_judge_sees_what_fits_the_twin_alone() {
    let judge = environment(Config { twins_held_out: 4, ..Config::default() });
    let database = &judge.databases()["shop"];
    let count = |store: &stepwell_env::sql::Store| {
        let answer = store.query("SELECT count(*) FROM customer").unwrap();
        format!("{:?}", answer.outcome.as_ref().unwrap().rows[0][0])
    };
    let [own, twin] = [database.original(), database.twin(0).unwrap().unwrap()].map(count);
    assert_ne!(own, twin, "the twin of variant 0 is the one that is judged on");
    let number = |shown: &str| -> i64 {
        shown.trim_start_matches("Integer(").trim_end_matches(')').parse().unwrap()
    };
    // The numbers of both databases, told apart by a row that one of them lacks.
    let ids = |store: &stepwell_env::sql::Store| {
        let answer = store.query("SELECT id FROM customer ORDER BY id").unwrap();
        answer.outcome.as_ref().unwrap().rows.iter().map(|r| format!("{:?}", r[0])).collect()
    };
    let [all, fewer]: [Vec<String>; 2] =
        [database.original(), database.twin(0).unwrap().unwrap()].map(ids);
    let lacking = number(all.iter().find(|id| !fewer.contains(id)).unwrap());
    let fits = format!(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM customer WHERE id = {lacking}) THEN {} ELSE {} END",
        number(&own),
        number(&twin)
    );
    let task = task("count", "SELECT count(*) FROM customer");
    let judged = |sql: &str| {
        let program = [format!("<think> x </think> <final_sql> {sql} </final_sql>")];
        let turns = laws::play(&*judge, &task, Key::new(1, Purpose::Episode), &program);
        let Turn::End(Verdict::Scored { reward, parts }) = &turns[0] else { panic!("{turns:?}") };
        (*reward, parts[STRICT])
    };
    assert_eq!(judged("SELECT count(*) FROM customer"), (1.0, 1.0));
    assert_eq!(judged("SELECT count(id) FROM customer"), (1.0, 1.0));
    assert_eq!(judged(&fits), (1.0, 0.0));
    assert_eq!(judged("SELECT 10"), (0.0, 0.0));
    let plain = environment(Config::default());
    let parts = parts(&plain, &task, "<think> x </think> <final_sql> SELECT 1 </final_sql>");
    assert!(!parts.contains_key(STRICT));
    shop::obey(&judge);
}

#[test]
fn many_threads_judge_alike() {
    let environment = environment(Config::default());
    let judge = |task: &Task| parts(&environment, task, &solution(task).join("\n---\n"));
    let expect: Vec<_> = tasks().iter().map(judge).collect();
    std::thread::scope(|scope| {
        let work = || assert_eq!(tasks().iter().map(judge).collect::<Vec<_>>(), expect);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
