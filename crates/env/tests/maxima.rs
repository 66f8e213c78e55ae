//! Named maxima of data, queries, calculations and programs: what is exactly as large as it may be
//! is accepted, and one more is refused with its limit named (P20).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod shell;
mod world;

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use shell::{Shell, reply_of};
use stepwell_env::calculator::{answer, expression};
use stepwell_env::external::{ExternalEnvironment, meanings};
use stepwell_env::limits;
use stepwell_env::math_answer;
use stepwell_env::sql::{self, Database, Store};
use stepwell_env::tasks::{Options, Schema, load, parse};
use stepwell_tree::{Environment, Key, Purpose, Stop, Task, Turn, UnscoredReason, Verdict};

#[test]
fn files_and_lines() {
    let line = |bytes: usize| {
        let empty = "{\"id\":\"a\",\"question\":\"\"}".len();
        format!("{{\"id\":\"a\",\"question\":\"{}\"}}", "q".repeat(bytes - empty))
    };
    let read = |bytes| parse("t", line(bytes).as_bytes(), &Schema::open(), &Options::default());
    assert_eq!(read(limits::LINE_BYTES_MAX).unwrap().tasks.len(), 1);
    let error = read(limits::LINE_BYTES_MAX + 1).unwrap_err().to_string();
    assert_eq!(error, "t:1: line longer than 8 MiB; is it one object per line?");
    // Sparse: it takes no room, and is refused before it is read. One of exactly the limit would
    // have to be read, which no test can afford.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    File::create(&path).unwrap().set_len(limits::FILE_BYTES_MAX + 1).unwrap();
    let error = load(&path, &Schema::open(), &Options::default()).unwrap_err().to_string();
    let expected = format!("4294967297 bytes, at most {}; split the file", limits::FILE_BYTES_MAX);
    assert!(error.ends_with(&expected), "{error}");
}

#[test]
fn cases_of_a_function() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let read = |cases: usize| {
        let cases = vec![r#"{"input":[1],"output":2}"#; cases].join(",");
        let line = format!(r#"{{"id":"a","question":"q","function":"f","cases":[{cases}]}}"#);
        std::fs::write(&path, line).unwrap();
        stepwell_env::python::load(&path, &Options::default())
    };
    assert_eq!(read(limits::PYTHON_CASES).unwrap().tasks.len(), 1);
    let error = read(limits::PYTHON_CASES + 1).unwrap_err().to_string();
    assert!(
        error.ends_with("t.jsonl:1: `cases` must hold at most 1000 cases, got: 1001"),
        "{error}"
    );
    let error = read(0).unwrap_err().to_string();
    assert!(error.ends_with("t.jsonl:1: `cases` must hold at least one case, got: []"), "{error}");
}

/// A float of the library ends at 309 digits, and Python's own conversion at 4,300.
#[test]
fn digits_of_a_number_in_a_task() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    let read = |digits: usize| {
        let number = "9".repeat(digits);
        let cases = format!("[{{\"input\":[{number}],\"output\":[-{number}]}}]");
        let line = format!(r#"{{"id":"a","question":"q","function":"f","cases":{cases}}}"#);
        std::fs::write(&path, line).unwrap();
        let loaded = stepwell_env::python::load(&path, &Options::default());
        loaded.map(|loaded| assert_eq!(loaded.tasks[0].field("cases"), Some(cases.as_str())))
    };
    read(308).unwrap();
    read(311).unwrap();
    read(limits::PYTHON_NUMBER_DIGITS).unwrap();
    let error = read(limits::PYTHON_NUMBER_DIGITS + 1).unwrap_err().to_string();
    let expected = "t.jsonl:1: `cases`: a whole number of 4001 digits, at most 4000";
    assert!(error.ends_with(expected), "{error}");
}

/// `store.query`'s message, or `N rows`.
fn message(store: &Store, sql: &str) -> String {
    match &store.query(sql).unwrap().outcome {
        Ok(table) => format!("{} rows", table.rows.len()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn queries_and_their_results() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&world::write(folder.path())).unwrap();
    let store = database.original();
    let most = sql::config::Limits::default();
    let query = |bytes: usize| format!("SELECT '{}'", "x".repeat(bytes - 9));
    assert_eq!(message(store, &query(most.query_bytes_max)), "1 rows");
    let expected = format!("query too long: 10001 bytes, at most {}", most.query_bytes_max);
    assert_eq!(message(store, &query(most.query_bytes_max + 1)), expected);
    let count = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT ";
    let rows = |n: usize| format!("{count}{n}) SELECT x FROM c");
    assert_eq!(message(store, &rows(most.rows_max)), format!("{} rows", most.rows_max));
    let expected = format!("result over {} rows", most.rows_max);
    assert_eq!(message(store, &rows(most.rows_max + 1)), expected);
    // Rows of 9,000 bytes: 111 of them are below a million, 112 above.
    let long = "replace(replace(replace('aaaaaaaaa', 'a', 'bbbbbbbbbb'), 'b', 'cccccccccc'), 'c', \
                'dddddddddd')";
    let bytes = |n: usize| format!("{count}{n}) SELECT {long} FROM c");
    assert_eq!(message(store, &bytes(110)), "110 rows");
    let expected = format!("result over {} bytes", most.result_bytes_max);
    assert_eq!(message(store, &bytes(112)), expected);
}

/// Instructions of SQLite's machine that a query takes, counted one by one.
fn steps(sql: &str) -> u64 {
    let counted = std::sync::Arc::new(AtomicU64::new(0));
    let own = std::sync::Arc::clone(&counted);
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    let one_more = move || {
        own.fetch_add(1, Ordering::Relaxed);
        false
    };
    connection.progress_handler(1, Some(one_more)).unwrap();
    let mut statement = connection.prepare(sql).unwrap();
    // Compiling does not count.
    counted.store(0, Ordering::Relaxed);
    statement.query_row([], |_| Ok(())).unwrap();
    counted.load(Ordering::Relaxed)
}

#[test]
fn steps_and_values_of_a_query() {
    /// Steps are looked at once in so many.
    const LOOK: u64 = 1000;
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&world::write(folder.path())).unwrap();
    let store = database.original();
    let most = sql::config::Limits::DEFAULT;
    let count = |n: u64| {
        format!(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {n}) SELECT \
             count(*) FROM c"
        )
    };
    // Each turn takes as many steps as any other.
    let each = (steps(&count(2000)) - steps(&count(1000))) / 1000;
    let turns = |steps_max: u64| (steps_max - (steps(&count(1000)) - 1000 * each)) / each;
    let (at, past) = (turns(most.steps_max), turns(most.steps_max + LOOK) + 1);
    assert!(each > 0 && steps(&count(at)) <= most.steps_max);
    assert!(steps(&count(at + 1)) > most.steps_max, "{each} steps a turn");
    assert_eq!(message(store, &count(at)), "1 rows");
    let expected = format!("query exceeded {} steps", most.steps_max);
    assert_eq!(message(store, &count(past)), expected);
    // A hundred times a thousand bytes.
    let long = format!(
        "replace(replace('{0}', 'a', '{1}'), 'b', '{2}')",
        "a".repeat(10),
        "b".repeat(10),
        "c".repeat(1000)
    );
    let value = |more: &str| format!("SELECT {long} || '{more}'");
    assert_eq!(message(store, &value("")), "1 rows");
    let expected = format!("result over {} bytes", most.value_bytes_max);
    assert_eq!(message(store, &value("d")), expected);
}

#[test]
fn expressions_and_answers() {
    let sum = |bytes: usize| format!("{}1", "1+".repeat(bytes / 2));
    assert!(expression::evaluate(&sum(limits::EXPRESSION_BYTES - 1)).is_ok());
    assert!(expression::evaluate(&format!("{} ", sum(limits::EXPRESSION_BYTES - 1))).is_ok());
    let error = expression::evaluate(&sum(limits::EXPRESSION_BYTES)).unwrap_err().to_string();
    assert_eq!(error, "too long");
    let digits = |n: usize| answer::read(&"9".repeat(n)).map_err(|error| error.to_string());
    assert!(digits(limits::NUMBER_DIGITS).is_ok());
    assert_eq!(digits(limits::NUMBER_DIGITS + 1).unwrap_err(), "number too large");
    let spaced = |n: usize| answer::read(&format!("{}{}", " ".repeat(n - 1), 7));
    assert!(spaced(limits::ANSWER_BYTES).is_ok());
    let padded = |n: usize| format!("7.{}", "0".repeat(n - 2));
    let error = answer::read(&padded(limits::ANSWER_BYTES + 1)).unwrap_err().to_string();
    assert_eq!(error, "it is longer than 100 bytes");
    let text = |n: usize| math_answer::read(&"a".repeat(n)).map_err(|error| error.to_string());
    assert!(text(limits::MATH_ANSWER_BYTES).is_ok());
    assert_eq!(text(limits::MATH_ANSWER_BYTES + 1).unwrap_err(), "it is longer than 500 bytes");
}

#[test]
fn names_of_a_program() {
    let hello = |list: &str| {
        meanings(&format!("{{\"protocol\":1,\"name\":\"t\",\"offers\":[],\"stop\":[{list}]}}"))
    };
    let many = |n: usize| vec!["\".\""; n].join(",");
    assert!(hello(&many(limits::NAMES_MAX)).starts_with("hello: t;"));
    let refused = "hello: `stop` must be a list of at most 64 texts of 1 to 256 bytes, got: ";
    assert!(hello(&many(limits::NAMES_MAX + 1)).starts_with(refused));
    let long = |n: usize| format!("\"{}\"", "x".repeat(n));
    assert!(hello(&long(limits::NAME_BYTES_MAX)).starts_with("hello: t;"));
    assert!(hello(&long(limits::NAME_BYTES_MAX + 1)).starts_with(refused));
}

#[test]
fn lines_of_a_program() {
    let task = Task { id: "t".into(), question: "q".into(), fields: Default::default() };
    for (bytes, expected) in [(4096, None), (4097, Some("reply over 4096 bytes"))] {
        let shell = Shell::stepping(&reply_of(bytes));
        let environment = ExternalEnvironment::open(shell.config()).unwrap();
        let mut episode = environment.start(&task, Key::new(3, Purpose::Episode)).unwrap();
        match (episode.step("a", Stop::StopString), expected) {
            (Turn::Observation(text), None) => assert!(text.starts_with("xxx"), "{text}"),
            (Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(why))), Some(said)) => {
                assert_eq!(why, said);
            }
            (other, _) => panic!("{bytes} bytes: {other:?}"),
        }
    }
}
