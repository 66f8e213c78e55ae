//! Children that are no children: programs that say something else, or nothing.

use std::process::Command;

use super::*;
use crate::sql::value::{Table, Value};

/// A child whose program is a shell's.
fn shell(script: &str) -> Child {
    let script = script.to_owned();
    let command = move || {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &script]);
        Some(command)
    };
    let source = Source::scripts("one", String::new(), String::new(), String::new());
    let mut child = Child::new(command, vec![source], &Limits::default(), Sandbox::Full);
    child.wall = Duration::from_millis(300);
    child
}

/// A message as a shell prints its frame.
fn frame(message: &impl serde::Serialize) -> String {
    let bytes = encode(message).unwrap();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let octal = |byte: &u8| format!("\\{byte:03o}");
    format!("printf '{}'; ", length.iter().chain(&bytes).map(octal).collect::<String>())
}

fn confined() -> String {
    frame(&Confined::Yes(Vec::new()))
}

fn ready() -> String {
    frame(&Reply::Prepared(Ok(true)))
}

fn lost(child: &Child) -> String {
    child.query(0, Which::Original, "SELECT 1").unwrap_err().to_string()
}

fn answer(cells: usize) -> String {
    let table = Table { columns: vec!["a".to_owned()], rows: vec![vec![Value::Null; cells]] };
    frame(&Reply::Answered(Answer { outcome: Ok(table), reads: None }))
}

#[test]
fn what_is_no_answer_is_never_a_verdict() {
    let begin = confined() + &ready();
    let whole = answer(1);
    // What would be an answer is one: else nothing below is shown.
    let fine = shell(&format!("{begin}{whole}sleep 9"));
    assert!(fine.query(0, Which::Original, "SELECT 1").is_ok());
    let at_start = "answered what is no answer";
    let late = "said nothing for 0.3 s and was ended";
    let cases = [
        ("exit 0".to_owned(), "ended (exit code 0)"),
        ("echo a word >&2; exit 3".to_owned(), "ended (exit code 3): a word"),
        ("kill -9 $$".to_owned(), "ended (signal 9)"),
        // The signal of spent time, and no time was spent.
        (format!("{begin}kill -XCPU $$"), "ended (signal 24)"),
        ("exec >&-; sleep 9".to_owned(), "closed its pipes and was ended"),
        (
            "printf '\\377\\377\\377\\377'; sleep 9".to_owned(),
            "began a message of 4294967295 bytes",
        ),
        ("printf '\\000\\000\\000\\002xx'; sleep 9".to_owned(), "began with what is no answer"),
        (format!("{}printf '\\000\\000\\000\\003xxx'; sleep 9", confined()), at_start),
        (format!("{begin}printf '\\000\\000\\000\\003xxx'; sleep 9"), at_start),
        // A frame that never ends.
        (format!("{begin}printf '\\000\\000\\000\\007'; sleep 9"), late),
        (format!("{begin}sleep 9"), late),
        (format!("{begin}kill -STOP $$"), late),
        (format!("{begin}{}sleep 9", answer(2)), "answered something else"),
        (format!("{begin}{}sleep 9", ready()), "answered something else"),
        (format!("{}{whole}sleep 9", confined()), "answered something else"),
        (
            format!("{}{}sleep 9", confined(), frame(&Reply::Prepared(Ok(false)))),
            "no longer has the database",
        ),
        (
            frame(&Confined::No("landlock unavailable: no".to_owned())) + "sleep 9",
            "is not confined: landlock unavailable: no",
        ),
    ];
    for (script, expect) in cases {
        let expect = format!("the process that runs queries: {expect}");
        assert_eq!(lost(&shell(&script)), expect, "{script}");
    }
}

#[test]
fn memory_that_is_refused_outside_sqlite_is_the_querys_too() {
    let begin = confined() + &ready();
    let child = shell(&format!("{begin}echo 'memory allocation of 9 bytes failed' >&2; exit 134"));
    let answer = child.query(0, Which::Original, "SELECT 1").unwrap();
    assert_eq!(answer.outcome, Err(QueryError::TooMuchMemory(1024)));
}

#[test]
fn a_query_is_tried_twice_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let note = format!("echo x >> {}; ", count.display());
    let begin = note + &confined() + &ready();
    let child = shell(&format!("{begin}exit 7"));
    assert!(lost(&child).ends_with("ended (exit code 7)"));
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\nx\n");
    assert!(lost(&child).ends_with("ended (exit code 7)"));
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\nx\nx\nx\n");
}

#[test]
fn what_cannot_be_started_says_so() {
    let source = Source::scripts("one", String::new(), String::new(), String::new());
    let limits = Limits::default();
    let absent = Child::new(|| None, vec![source.clone()], &limits, Sandbox::Full);
    assert!(lost(&absent).ends_with("cannot be started: this program has no such role"));
    let none = || Some(Command::new("/nothing/here"));
    let child = Child::new(none, vec![source], &limits, Sandbox::Full);
    assert!(lost(&child).contains("cannot be started: No such file"), "{}", lost(&child));
}
