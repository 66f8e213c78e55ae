//! Named maxima of data, queries, calculations and programs: what is exactly as large as it may be is
//! accepted, and one more is refused with its limit named (P20).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod shell;
mod world;

use std::fs::File;

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
        let environment =
            ExternalEnvironment::open(Shell::stepping(&reply_of(bytes)).config()).unwrap();
        let mut episode = environment.start(&task, Key::new(3, Purpose::Episode)).unwrap();
        match (episode.step("a", Stop::StopString), expected) {
            (Turn::Observation(text), None) => {
                assert!(text.ends_with(" [cut]") || !text.is_empty())
            }
            (Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(why))), Some(said)) => {
                assert_eq!(why, said);
            }
            (other, _) => panic!("{bytes} bytes: {other:?}"),
        }
    }
}
