//! Questions in free text through the binary: task files are read as the grader reads them.

mod support;

use std::fs;

use support::run;

#[test]
fn task_files_are_checked_as_the_grader_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let tasks = r#"{"id": "a", "question": "A half of 7?", "answer": "3\\frac12"}
{"id": "b", "question": "Which one? (A) 1 (B) 2", "answer": "B"}
{"id": "c", "question": "A root of $x^2 = 3$?", "answer": "\\sqrt{3}"}
{"id": "d", "question": "The next prime after 7?", "answer": 11}
"#;
    fs::write(here.join("tasks.jsonl"), tasks).unwrap();
    let check = ["tasks", "check", "tasks.jsonl", "--environment", "math_answer"];
    let said = run(here, &check).fine();
    let expected = "c: the answer `sqrt(3)` is compared letter by letter\n\
                    tasks.jsonl: 4 tasks; 0 cannot be judged, 1 only weakly\n";
    assert_eq!(said.out, expected);

    let said = run(here, &[&check[..], &["--databases", "d"]].concat());
    assert_eq!(said.code, Some(2));
    let expected = "`math_answer` tasks name no databases; leave `--databases` out";
    assert!(said.err.contains(expected), "{}", said.err);

    fs::write(here.join("tasks.jsonl"), tasks.replace("11", "\"１１\"")).unwrap();
    let said = run(here, &check);
    assert_eq!(said.code, Some(2));
    let expected = "tasks.jsonl:4: `answer` is not one the grader accepts: `１１` (`\\u{ff11}` is \
                    none of the digits 0 to 9)";
    assert!(said.err.contains(expected), "{}", said.err);
}
