//! What was changed in a record is noticed and named (P10; rows 84, 86, 93 and 95 of the table of
//! bad inputs).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::fs;
use std::path::Path;

use rusqlite::Connection;
use stepwell_store::{RunFolder, RunReader};
use support::*;

const DROP_TRIGGERS: &str = "SELECT group_concat('DROP TRIGGER ' || name || ';', '') \
                             FROM sqlite_schema WHERE type = 'trigger'";

/// A finished small run in one file, opened by hand with its triggers dropped; afterwards they are
/// put back, so that only the edit is left to find.
fn after_edit(original: &Path, edit: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    copy_folder(original, place.path());
    let by_hand = Connection::open(place.path().join("run.sqlite")).unwrap();
    by_hand.pragma_update(None, "foreign_keys", "OFF").unwrap();
    let restore: String = by_hand
        .query_row(
            "SELECT group_concat(sql, ';') FROM sqlite_schema WHERE type = 'trigger'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let drop: String = by_hand.query_row(DROP_TRIGGERS, [], |row| row.get(0)).unwrap();
    by_hand.execute_batch(&drop).unwrap();
    by_hand.execute_batch(edit).unwrap_or_else(|error| panic!("{edit}: {error}"));
    by_hand.execute_batch(&restore).unwrap();
    by_hand.close().unwrap();
    match RunReader::open(place.path()).and_then(|reader| reader.verify()) {
        Ok(_) => "verified".to_owned(),
        Err(error) => error.to_string(),
    }
}

fn one_file(path: &Path) {
    let (_folder, record) = small_run(path, 2);
    record.close().unwrap();
}

#[test]
fn p10_each_column_edited_by_hand_is_named() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    one_file(&run);
    assert_eq!(after_edit(&run, ""), "verified");
    let connection = Connection::open(run.join("run.sqlite")).unwrap();
    let mut edited = 0;
    let tables = [
        "run",
        "task",
        "tree",
        "tree_column",
        "step",
        "verdict",
        "credit",
        "metric",
        "lineage",
        "sample",
        "chain",
    ];
    for table in tables {
        let sql = format!("SELECT name, type FROM pragma_table_info('{table}')");
        let mut statement = connection.prepare(&sql).unwrap();
        let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        for column in columns {
            let (column, kind): (String, String) = column.unwrap();
            let value = match kind.as_str() {
                "INTEGER" => "1234567",
                "REAL" => "1e300",
                "BLOB" => "zeroblob(32)",
                _ if column == "credit" => "CASE credit WHEN 'step' THEN 'absent' ELSE 'step' END",
                _ if column == "axis" => "CASE axis WHEN 'step' THEN 'token' ELSE 'step' END",
                _ if column == "outcome" => {
                    "CASE outcome WHEN 'scored' THEN 'unscored' ELSE 'scored' END"
                }
                _ => "'edited'",
            };
            let last = format!("(SELECT max(rowid) FROM {table})");
            let said = after_edit(
                &run,
                &format!("UPDATE {table} SET {column} = {value} WHERE rowid = {last}"),
            );
            assert!(said.starts_with("corrupt: "), "{table}.{column}: {said}");
            let named = match (table, column.as_str()) {
                // The commit is named by its number, or the one that is missing is.
                ("chain", _) => said.starts_with("corrupt: commit "),
                // A row in another commit's place is missed there, or belongs to none.
                (_, "commit_number") => {
                    said.contains("digest differs") || said.contains("no commit")
                }
                _ => said.contains(&format!("table `{table}`")) && said.contains("digest differs"),
            };
            assert!(named, "{table}.{column}: {said}");
            edited += 1;
        }
    }
    assert_eq!(edited, 79); // every column of the schema but those of `timing`
    let said = after_edit(
        &run,
        "UPDATE step SET tokens = x'00000000' WHERE commit_number = 4 AND tree = 1 AND step = 4",
    );
    let expected = "corrupt: commit 4, table `step`, tree 1, step 4: digest differs; restore";
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn p10_rows_that_are_dropped_swapped_or_added_are_named_with_their_commit() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    one_file(&run);
    let cases = [
        (
            "DELETE FROM metric WHERE commit_number = 3 AND name = 'loss'",
            "commit 3: digest differs",
        ),
        (
            "DELETE FROM credit WHERE commit_number = 4 AND tree = 0 AND step = 3",
            "commit 4: digest differs",
        ),
        (
            "UPDATE metric SET commit_number = 99 WHERE commit_number = 3;
             UPDATE metric SET commit_number = 3 WHERE commit_number = 5;
             UPDATE metric SET commit_number = 5 WHERE commit_number = 99",
            "commit 3, table `metric`, name `loss`: digest differs",
        ),
        (
            "INSERT INTO sample SELECT commit_number, 7, task, answer, outcome, reward,
             reward_shown, parts, reason, detail, digest FROM sample WHERE position = 0",
            "commit 6, table `sample`, position 7: digest differs",
        ),
        ("DELETE FROM chain WHERE number = 3", "commit 3: missing from the chain"),
        ("DELETE FROM chain WHERE number = 6", "table `tree`: 1 rows belong to no commit"),
        ("UPDATE chain SET previous = zeroblob(32) WHERE number = 2", "commit 2: does not follow"),
    ];
    for (edit, expected) in cases {
        let said = after_edit(&run, edit);
        assert!(said.starts_with(&format!("corrupt: {expected}")), "{edit}: {said}");
    }
}

#[test]
fn rows_of_a_commit_cannot_be_changed_removed_replaced_or_added() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    one_file(&run);
    let by_hand = Connection::open(run.join("run.sqlite")).unwrap();
    by_hand.pragma_update(None, "recursive_triggers", "ON").unwrap();
    for (sql, expected) in [
        ("UPDATE step SET stop = 'length'", "rows of a commit never change"),
        ("UPDATE timing SET seconds = 0", "rows of a commit never change"),
        ("DELETE FROM chain", "rows of a commit never change"),
        ("INSERT INTO timing VALUES (3, 'x', 1.0)", "the commit is finished"),
        ("INSERT OR REPLACE INTO chain SELECT * FROM chain WHERE number = 2", "never change"),
    ] {
        let error = by_hand.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains(expected), "{sql}: {error}");
    }
    by_hand.close().unwrap();
    let schema = Connection::open(run.join("run.sqlite")).unwrap();
    schema.execute_batch("DROP TRIGGER step_no_update").unwrap();
    schema.close().unwrap();
    let error = RunReader::open(&run).unwrap().verify().unwrap_err().to_string();
    assert!(error.starts_with("corrupt: schema: `step_no_update` is missing"), "{error}");
}

#[test]
fn p10_no_flipped_bit_goes_unnoticed_and_no_reader_panics() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    one_file(&run);
    let path = run.join("run.sqlite");
    let good = fs::read(&path).unwrap();
    let content = |reader: &RunReader| {
        let mut out = Vec::new();
        stepwell_store::export_jsonl(reader, stepwell_store::Lines::Trees, &mut out).unwrap();
        (out, reader.tasks().unwrap(), reader.commits().unwrap())
    };
    let expected = content(&RunReader::open(&run).unwrap());
    let (mut named, mut harmless) = (0, 0);
    let mut judge = |damaged: &[u8], what: &str| {
        fs::write(&path, damaged).unwrap();
        match RunReader::open(&run).and_then(|reader| reader.verify().map(|_| reader)) {
            Err(error) => {
                assert_eq!(error.exit_code(), 3, "{what}: {error}");
                named += 1;
            }
            Ok(reader) => {
                assert!(content(&reader) == expected, "{what}: other content, no error");
                harmless += 1;
            }
        }
    };
    // A prime stride and a moving bit: a sample that reaches every page; all where it is asked for.
    let stride = if std::env::var_os("STEPWELL_LONG").is_some() { 1 } else { 211 };
    for at in (0..good.len()).step_by(stride) {
        let mut damaged = good.clone();
        damaged[at] ^= 1 << (at % 8);
        judge(&damaged, &format!("byte {at}"));
    }
    for page in (0..good.len()).step_by(4096) {
        let mut damaged = good.clone();
        damaged[page..page + 4096].fill(0);
        judge(&damaged, &format!("page at {page}"));
    }
    assert!(named > 50 && harmless > 0, "{named} named, {harmless} harmless");
    for cut in (0..good.len()).step_by(4096) {
        fs::write(&path, &good[..cut]).unwrap();
        let error = RunReader::open(&run).and_then(|reader| reader.verify()).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
    }
}

#[test]
fn rows_86_and_93_foreign_and_newer_files_are_named() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    one_file(&run);
    let path = run.join("run.sqlite");
    let good = fs::read(&path).unwrap();
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&4u32.to_be_bytes());
    let mut other_program = good.clone();
    other_program[68..72].copy_from_slice(&0xabcdu32.to_be_bytes());
    for (bytes, expected) in [
        (vec![], "run.sqlite` is not a stepwell record (application id 0x0); "),
        (
            b"not a database".repeat(20),
            "run.sqlite` is not a stepwell record (application id 0x0); ",
        ),
        (other_program, "run.sqlite` is not a stepwell record (application id 0xabcd); "),
        (
            newer,
            "written by stepwell 0.1.0 (format 4); this is stepwell 0.1.0 (format 1); open it with",
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        let errors = [
            RunReader::open(&run).unwrap_err(),
            RunFolder::open_for_writing(&run).and_then(|folder| folder.record()).unwrap_err(),
        ];
        for error in errors {
            assert!(error.to_string().contains(expected), "got: {error}\nexpected: {expected}");
            assert_eq!(error.exit_code(), 3);
        }
    }
}

#[test]
fn row_95_a_lock_of_another_program_is_named_and_does_no_harm() {
    let place = tempfile::tempdir().unwrap();
    let (folder, mut record) = small_run(&place.path().join("run"), 1);
    let other = Connection::open(folder.path().join("run.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(
        grow(&mut record, 1).unwrap_err().to_string(),
        "`run.sqlite` is locked by another program for 5 s; close it and resume"
    );
    other.execute_batch("ROLLBACK").unwrap();
    grow(&mut record, 1).unwrap();
    record.read().verify().unwrap();
}
