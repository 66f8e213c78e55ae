//! What a task file may be (RELIABILITY 5.2, rows 20 to 32): exact messages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod world;

use std::path::Path;

use stepwell_env::sql::{self, Config};
use stepwell_env::tasks::{self, Field, Kind, Options, Overlap, Schema, changed, load, overlap};

fn arithmetic() -> Schema {
    Schema::new(&[
        Field::required("answer", Kind::Number),
        Field::optional("steps", Kind::List(&["expression", "value"])),
    ])
}

fn read(text: &[u8], options: &Options) -> Result<tasks::Loaded, String> {
    tasks::parse("t.jsonl", text, &arithmetic(), options).map_err(|error| error.to_string())
}

#[test]
fn faults_name_file_line_and_column() {
    let good = r#"{"id": "a", "question": "q", "answer": 1}"#;
    let mut long = vec![b' '; (8 << 20) + 1];
    long.push(b'\n');
    let cases: Vec<(Vec<u8>, &str)> = vec![
        // 20
        (b"".to_vec(), "t.jsonl: holds no tasks; expected one JSON object per line"),
        (b"\n \r\n\n".to_vec(), "t.jsonl: holds no tasks; expected one JSON object per line"),
        // 21
        (
            format!("{good}\n{{\"question\": \"What is\" 5").into_bytes(),
            "t.jsonl:2:24: expected `,` or `}` (line starts: {\"question\": \"What i…)",
        ),
        (b"[1]".to_vec(), "t.jsonl:1: expected an object, got: [1]"),
        // 22
        (br#"{"id": "a", "question": "q"}"#.to_vec(), "t.jsonl:1: `answer` is missing"),
        (
            br#"{"id": "a", "question": "q", "answer": null}"#.to_vec(),
            "t.jsonl:1: `answer` must be a number, got: null",
        ),
        (
            br#"{"id": 1, "question": "q", "answer": 1}"#.to_vec(),
            "t.jsonl:1: `id` must be text, got: 1",
        ),
        (
            br#"{"id": "a", "question": " ", "answer": 1}"#.to_vec(),
            "t.jsonl:1: `question` must be text that is not empty, got: \" \"",
        ),
        (
            br#"{"id": "a", "question": "q", "answer": 1, "steps": [{"expression": "1"}]}"#
                .to_vec(),
            "t.jsonl:1: `steps` must list objects with the texts `expression`, `value`, \
             got: {\"expression\":\"1\"}",
        ),
        // 23
        (
            [good.as_bytes(), b"\n{\"id\": \"\xff"].concat(),
            "t.jsonl:2: byte 0xff at column 9 is not UTF-8",
        ),
        // 24
        (
            br#"{"id": "a", "question": "q", "anwser": 1}"#.to_vec(),
            "t.jsonl:1: unknown field `anwser`; did you mean `answer`?",
        ),
        (
            br#"{"id": "a", "question": "q", "answer": 1, "hardness": 2}"#.to_vec(),
            "t.jsonl:1: unknown field `hardness`; to allow it: extra = [\"hardness\"]",
        ),
        // 25, by name
        (
            format!("{good}\n\n{good}").into_bytes(),
            "t.jsonl:3: `id` must be unique, got: `a` as in line 1",
        ),
        // 28
        (
            br#"{"id": "a", "question": "q", "answer": "NaN"}"#.to_vec(),
            "t.jsonl:1: `answer` is not a number the grader accepts: `NaN`",
        ),
        (
            r#"{"id": "a", "question": "q", "answer": "∞"}"#.as_bytes().to_vec(),
            "t.jsonl:1: `answer` is not a number the grader accepts: `∞`",
        ),
        (
            br#"{"id": "a", "question": "q", "answer": ""}"#.to_vec(),
            "t.jsonl:1: `answer` is not a number the grader accepts: ``",
        ),
        // 31
        (long, "t.jsonl:1: line longer than 8 MiB; is it one object per line?"),
    ];
    for (text, expect) in cases {
        assert_eq!(read(&text, &Options::default()).unwrap_err(), expect);
    }
}

/// A field is read for itself; its column is the line's.
#[test]
fn a_number_past_a_float_is_refused_at_its_column() {
    let number = "9".repeat(400);
    let line = format!(r#" {{"id": "a", "question": "é", "answer": {number}, "steps": []}}"#);
    let whole = serde_json::from_str::<serde_json::Value>(line.trim()).unwrap_err();
    let expect = format!(
        "t.jsonl:1:{}: number out of range (line starts: {{\"id\": \"a\", \"questio…)",
        whole.column()
    );
    assert_eq!(read(line.as_bytes(), &Options::default()).unwrap_err(), expect);
    let open = tasks::parse("t.jsonl", line.as_bytes(), &Schema::open(), &Options::default());
    assert_eq!(open.unwrap_err().to_string(), expect);
    // Of equal keys the last counts.
    let twice = br#"{"id": "a", "question": "q", "answer": 1, "answer": 2}"#;
    let loaded = read(twice, &Options::default()).unwrap();
    assert_eq!(loaded.tasks[0].field("answer"), Some("2"));
}

#[test]
fn layout_of_lines_does_not_matter() {
    let text = "\u{feff}{\"id\": \"a\", \"question\": \"q\", \"answer\": \"1,000\"}\r\n\r\n\
                {\"id\": \"b\", \"question\": \"r\", \"answer\": -2.5, \"note\": 1}";
    let options = Options { extra: vec!["note".to_owned()], strict: true };
    let loaded = read(text.as_bytes(), &options).unwrap();
    assert_eq!(loaded.line, [1, 3]);
    let answers: Vec<_> = loaded.tasks.iter().filter_map(|task| task.field("answer")).collect();
    assert_eq!(answers, ["1000", "-2.5"]);
    assert_eq!(loaded.tasks[1].field("note"), None);
}

#[test]
fn doubtful_tasks_warn_and_are_refused_when_strict() {
    let line = |id: &str, question: &str, answer: &str| {
        format!("{{\"id\": \"{id}\", \"question\": \"{question}\", \"answer\": \"{answer}\"}}\n")
    };
    let strict = Options { strict: true, ..Options::default() };
    for (text, expect) in [
        // 25, by content
        (
            line("a", "q", "1") + &line("b", "q", "1"),
            "t.jsonl:2: the same task as line 1; drop one of them",
        ),
        // 29
        (
            line("a", "is it 3.14 or so?", "3.14"),
            "t.jsonl:1: leak: the answer `3.14` stands in the question",
        ),
    ] {
        assert_eq!(read(text.as_bytes(), &Options::default()).unwrap().warnings, [expect]);
        assert_eq!(read(text.as_bytes(), &strict).unwrap_err(), expect);
    }
}

#[test]
fn shared_tasks_are_refused_or_counted() {
    let line = |id: &str, question: &str| {
        format!("{{\"id\": \"{id}\", \"question\": \"{question}\", \"answer\": 1}}\n")
    };
    let options = Options::default();
    let train =
        read((line("a", "q") + &line("b", "r") + &line("c", "s")).as_bytes(), &options).unwrap();
    let eval =
        read((line("a", "new") + &line("x", "s") + &line("y", "r")).as_bytes(), &options).unwrap();
    // 26
    assert_eq!(
        overlap(&train, &eval, Overlap::Refuse).unwrap_err().to_string(),
        "2 eval tasks also appear in training (first: eval:2 = train:3); \
         set `environment.files.allow_overlap = true` to accept"
    );
    assert_eq!(overlap(&train, &eval, Overlap::Allow), Ok(2));
}

#[test]
fn files_are_watched_and_packed_ones_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.jsonl");
    std::fs::write(&path, "{\"id\": \"a\", \"question\": \"q\", \"answer\": 1}").unwrap();
    let loaded = load(&path, &arithmetic(), &Options::default()).unwrap();
    assert_eq!(changed(&path, &loaded.digest), Ok(()));
    std::fs::write(&path, "other").unwrap();
    // 32
    let short = |bytes: &[u8]| bytes[..4].iter().map(|b| format!("{b:02x}")).collect::<String>();
    assert_eq!(
        changed(&path, &loaded.digest).unwrap_err().to_string(),
        format!(
            "{}: changed since the run began (hash {} -> {}); restore the file",
            path.display(),
            short(&loaded.digest),
            short(blake3::hash(b"other").as_bytes())
        )
    );
    // 30
    let error = load(Path::new("t.jsonl.gz"), &arithmetic(), &Options::default()).unwrap_err();
    assert_eq!(error.to_string(), "t.jsonl.gz: compressed files are not read; unpack it first");
    let error = load(Path::new("none.jsonl"), &arithmetic(), &Options::default()).unwrap_err();
    assert!(error.to_string().starts_with("none.jsonl: cannot be read: "), "{error}");
}

#[test]
fn a_task_names_a_database_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    world::write(folder.path());
    let file = folder.path().join("t.jsonl");
    let line = |database: &str| {
        format!(
            "{{\"id\": \"a\", \"question\": \"q\", \"database\": \"{database}\", \
             \"gold\": \"SELECT 1\"}}"
        )
    };
    let load = || sql::load(&file, folder.path(), &Options::default(), Config::default());
    std::fs::write(&file, line("shop")).unwrap();
    assert_eq!(load().unwrap().1.tasks.len(), 1);
    std::fs::write(&file, line("shp")).unwrap();
    let place = folder.path().display();
    assert_eq!(
        load().map(|_| ()).unwrap_err().to_string(),
        format!(
            "{}:1: there is no database `shp` in {place}; did you mean `shop`?",
            file.display()
        )
    );
}
