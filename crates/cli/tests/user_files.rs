//! The user's own databases, tasks and conversations, through the binary: what is read, what is
//! refused, and what hostile text does to a terminal.

mod support;

use std::fs;

use support::refused::{harmless, refused};
use support::run;

/// Text that would move a cursor, set a title, write to a clipboard, reverse a line.
const HOSTILE: &str =
    "how many \\u001b]52;c;QQ==\\u0007books\\u001b[2J\\r are \\u009b1m there \\u202e? \\u0000";

const RECIPE: &str = r#"
seed = 1

[model.scratch]
hidden = 16
layers = 1
heads = 2

[environment]
type = "sql"
max_interactions = 1

[environment.files]
train = "train.jsonl"
held_out = "held_out.jsonl"
databases = "databases"

[[stage]]
[stage.sft]
data = "talks.jsonl"
steps = 3
batch = 2
warmup_steps = 1

[[stage]]
[stage.rl]
steps = 2
tasks = 2
max_tokens = 8
warmup_steps = 1
grow = { type = "independent", attempts = 3 }
credit = { type = "leave_one_out" }

[[stage]]
[stage.evaluate]
max_tokens = 8
"#;

fn task(id: &str, question: &str, gold: &str) -> String {
    format!(
        "{{\"id\": \"{id}\", \"question\": \"{question}\", \"database\": \"library\", \
         \"gold\": \"{gold}\"}}\n"
    )
}

/// A library of two tables, three tasks and a conversation.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::create_dir(here.join("databases")).unwrap();
    let database = rusqlite::Connection::open(here.join("databases/library.sqlite")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT);
             CREATE TABLE book (id INTEGER PRIMARY KEY, title TEXT, pages INTEGER,
                                author_id INTEGER REFERENCES author(id));
             INSERT INTO author VALUES (1, 'Ada'), (2, 'Bo'), (3, 'Cy');
             INSERT INTO book VALUES (1, 'Sand', 120, 1), (2, 'Sea', 340, 2), (3, 'Sky', 90, 1);",
        )
        .unwrap();
    database.close().unwrap();
    let train = [
        task("a", "which books are long ?", "SELECT title FROM book WHERE pages > 100"),
        task("b", HOSTILE, "SELECT COUNT(*) FROM book"),
    ];
    fs::write(here.join("train.jsonl"), train.concat()).unwrap();
    let held_out = task("c", "who wrote a book ?", "SELECT DISTINCT author_id FROM book");
    fs::write(here.join("held_out.jsonl"), held_out).unwrap();
    let talk = "{\"messages\": [{\"role\": \"user\", \"content\": \"which books are long ?\"}, \
                {\"role\": \"assistant\", \"content\": \"SELECT title FROM book\"}]}\n";
    fs::write(here.join("talks.jsonl"), talk.repeat(2)).unwrap();
    fs::write(here.join("recipe.toml"), RECIPE).unwrap();
    folder
}

#[test]
fn own_files_are_trained_on_and_shown_without_harm() {
    let folder = workplace();
    let here = folder.path();
    let said = run(here, &["train", "recipe.toml", "--run", "r"]).fine();
    harmless(&(said.out + &said.err));
    let drawn = run(here, &["inspect", "r", "--task", "b"]).fine();
    assert!(drawn.out.contains("task `b`") && drawn.out.contains("␛]52;c;QQ==␇books"), "{drawn:?}");
    harmless(&drawn.out);
    harmless(&run(here, &["inspect", "r", "--task", "b", "--step", "0"]).fine().out);
    harmless(&run(here, &["eval", "r", "--split", "train", "--decoding", "sample"]).fine().out);
}

#[test]
fn faulty_task_files_are_refused_before_anything_is_written() {
    let good = task("c", "who wrote a book ?", "SELECT DISTINCT author_id FROM book");
    let trained = task("x", "which books are long ?", "SELECT title FROM book WHERE pages > 100");
    let rows: &[(&str, Vec<u8>, &str)] = &[
        ("20", b"\n\n".to_vec(), "held_out.jsonl: holds no tasks"),
        ("21", b"{\"id\": \"a\", x}\n".to_vec(), "held_out.jsonl:1:13: key must be a string"),
        ("22", good.replace("\"SELECT DISTINCT author_id FROM book\"", "null").into(), "`gold`"),
        ("23", b"{\"id\": \"\xff\"}\n".to_vec(), "byte 0xff at column 9 is not UTF-8"),
        ("24", good.replace("\"gold\"", "\"golt\"").into(), "unknown field `golt`; did you mean"),
        ("24 extra", good.replace("}", ", \"hardness\": 3}").into(), "extra = [\"hardness\"]"),
        ("database", good.replace("library", "librery").into(), "did you mean `library`?"),
        (
            "a database of megabytes",
            good.replace("library", &"x".repeat(4 << 20)).into(),
            "there is no database `xxxx",
        ),
        ("26", (good.clone() + &trained).into(), "1 eval tasks also appear in training"),
        ("twice", good.repeat(2).into(), "`id` must be unique, got: `c` as in line 1"),
    ];
    for (row, bytes, expected) in rows {
        let folder = workplace();
        let here = folder.path();
        fs::write(here.join("held_out.jsonl"), bytes).unwrap();
        println!("row {row}");
        let said = refused(here, &["train", "recipe.toml"], 2, expected);
        assert!(said.err.len() < 2000, "row {row}: {} bytes of error", said.err.len());
    }
    for (name, bytes, expected) in [
        ("databases/library.sqlite", &b"not a database at all, truly"[..], "not a database"),
        ("talks.jsonl", b"{}\n", "talks.jsonl:1"),
    ] {
        let folder = workplace();
        fs::write(folder.path().join(name), bytes).unwrap();
        refused(folder.path(), &["train", "recipe.toml"], 2, expected);
    }
}

#[test]
fn overlong_lines_windows_line_ends_and_marks() {
    let folder = workplace();
    let here = folder.path();
    let windows = fs::read_to_string(here.join("train.jsonl")).unwrap().replace('\n', "\r\n");
    fs::write(here.join("train.jsonl"), "\u{feff}".to_owned() + windows.trim_end()).unwrap();
    run(here, &["recipe", "check", "recipe.toml"]).fine();
    let long = task("d", &"x".repeat(9 << 20), "SELECT 1");
    fs::write(here.join("held_out.jsonl"), long).unwrap();
    let overlong = "held_out.jsonl:1: line longer than 8 MiB";
    for words in [&["recipe", "check", "recipe.toml"][..], &["train", "recipe.toml"]] {
        assert!(refused(here, words, 2, overlong).err.len() < 1000);
    }
}

#[test]
fn tasks_are_checked_against_their_databases() {
    let folder = workplace();
    let here = folder.path();
    let words = ["tasks", "check", "train.jsonl", "--databases", "databases"];
    let said = run(here, &words).fine();
    assert!(said.out.contains("2 tasks, 1 databases; 0 cannot be judged"), "{}", said.out);
    let bad = task("x", "what ?", "SELECT name FROM nowhere");
    fs::write(here.join("train.jsonl"), bad).unwrap();
    let said = run(here, &words);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.starts_with("x: the gold query fails: no such table: nowhere"),
        "{}",
        said.out
    );
}

#[test]
fn data_sets_become_task_files() {
    let folder = workplace();
    let here = folder.path();
    let spider = "[{\"db_id\": \"library\", \"question\": \"How many books?\", \
                  \"query\": \"SELECT count(*) FROM book\"}]";
    fs::write(here.join("dev.json"), spider).unwrap();
    run(here, &["import", "spider", "dev.json", "dev.jsonl"]).fine();
    run(here, &["tasks", "check", "dev.jsonl", "--databases", "databases"]).fine();
    let said = run(here, &["import", "spider", "dev.json", "dev.jsonl"]);
    assert_eq!((said.code, said.err.contains("`dev.jsonl` exists")), (Some(2), true));
    let said = run(here, &["import", "gsm8k", "dev.json", "other.jsonl"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(!here.join("other.jsonl").exists());
    let said = run(here, &["import", "chat", "gone.json", "other.jsonl"]);
    assert!(said.err.contains("gone.json: cannot be read"), "{}", said.err);
}
