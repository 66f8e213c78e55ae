//! Task files and other files of the user that are wrong, as a user meets them: through the binary,
//! by the rows of the table of bad inputs (docs/BAD_INPUTS.md).

mod support;

use std::fs;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::refused::{bounded, harmless, refused};

const RECIPE: &str = r#"
[model.scratch]
hidden = 8
layers = 1
heads = 1
context = 64
tokenizer = "bytes"
[environment]
type = "math_answer"
prompt = "{question}"
[environment.files]
train = "train.jsonl"
held_out = "held_out.jsonl"
[[stage]]
[stage.sft]
data = "talks.jsonl"
steps = 1
batch = 1
[[stage]]
[stage.rl]
steps = 1
tasks = 1
max_tokens = 4
grow = { type = "independent", attempts = 2 }
credit = { type = "group_mean" }
[[stage]]
[stage.preference]
pairs = { type = "file", path = "pairs.jsonl" }
steps = 1
batch = 1
[[stage]]
[stage.evaluate]
max_tokens = 4
"#;

const TRAIN: &str = "{\"id\":\"a\",\"question\":\"2+2\",\"answer\":4}\n";
const HELD_OUT: &str = "{\"id\":\"b\",\"question\":\"2+3\",\"answer\":5}\n";

fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("recipe.toml", RECIPE),
        ("train.jsonl", TRAIN),
        ("held_out.jsonl", HELD_OUT),
        ("talks.jsonl", "{\"prompt\":\"2+2\",\"completion\":\"4\"}\n"),
        ("pairs.jsonl", "{\"prompt\":\"2+2\",\"chosen\":\"4\",\"rejected\":\"5\"}\n"),
    ] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const CHECK: [&str; 3] = ["recipe", "check", "recipe.toml"];

#[test]
fn the_good_files_are_good() {
    let folder = workplace();
    bounded(folder.path(), &CHECK).fine();
}

#[test]
fn rows_20_to_31_task_files() {
    let long = format!("{{\"id\":\"c\",\"question\":\"{}\",\"answer\":1}}\n", "9+".repeat(40));
    let named =
        format!("{{\"id\":\"c\",\"question\":\"q\",\"answer\":1,\"{}\":1}}", "x".repeat(5000));
    let twice = format!("{{\"id\":\"{}\",\"question\":\"q\",\"answer\":1}}\n", "i".repeat(5000));
    let rows: &[(&str, &str, Vec<u8>, &str)] = &[
        ("20", "train.jsonl", b"\n \n".to_vec(), "train.jsonl: holds no tasks; expected one"),
        ("20 empty", "talks.jsonl", Vec::new(), "talks.jsonl: holds no demonstrations"),
        ("20 pairs", "pairs.jsonl", b"\n".to_vec(), "pairs.jsonl: holds no pairs"),
        (
            "21",
            "train.jsonl",
            format!("{TRAIN}{{\"question\": \"What is\" 5").into(),
            "train.jsonl:2:24: expected `,` or `}` (line starts: {\"question\": \"What i…)",
        ),
        (
            "21 pairs",
            "pairs.jsonl",
            b"[1]\n".to_vec(),
            "pairs.jsonl:1: expected an object, got: [1]",
        ),
        (
            "22 missing",
            "train.jsonl",
            b"{\"id\":\"a\",\"question\":\"q\"}".to_vec(),
            "train.jsonl:1: `answer` is missing",
        ),
        (
            "22 type",
            "train.jsonl",
            b"{\"id\":\"a\",\"question\":[1],\"answer\":1}".to_vec(),
            "train.jsonl:1: `question` must be text, got: [1]",
        ),
        (
            "23",
            "train.jsonl",
            b"{\"id\":\"\xff\"}".to_vec(),
            "train.jsonl:1: byte 0xff at column 8 is not UTF-8",
        ),
        (
            "24",
            "train.jsonl",
            TRAIN.replace("answer", "anwser").into(),
            "train.jsonl:1: unknown field `anwser`; did you mean `answer`?",
        ),
        (
            "24 a name of kilobytes",
            "train.jsonl",
            named.into(),
            "xxx…`; to allow it: extra = [\"xxx",
        ),
        (
            "25 by name",
            "train.jsonl",
            twice.repeat(2).into(),
            "train.jsonl:2: `id` must be unique, got: `iii",
        ),
        (
            "26",
            "held_out.jsonl",
            TRAIN.into(),
            "1 eval tasks also appear in training (first: eval:1 = train:1); set",
        ),
        (
            "27",
            "train.jsonl",
            (TRAIN.to_owned() + &long).into(),
            "1 of 2 tasks are too long, first `c`; shorten them, lower `max_tokens` or take a model \
             with a longer context",
        ),
        (
            "28",
            "train.jsonl",
            TRAIN.replace("4}", "\"\"}").into(),
            "train.jsonl:1: `answer` must be text that is not empty, got: \"\"",
        ),
        (
            "28 kilobytes",
            "train.jsonl",
            TRAIN.replace("4}", &format!("\"{}\"}}", "4".repeat(5000))).into(),
            "4…` (it is longer than 500 bytes)",
        ),
        (
            "24 kilobytes of a pair",
            "pairs.jsonl",
            format!("{{\"prompt\":\"q\",\"{}\":1}}", "k".repeat(5000)).into(),
            "kkk…`; a pair has `prompt`, `chosen` and `rejected`; take it out",
        ),
        (
            "28 digits",
            "train.jsonl",
            TRAIN.replace("4}", "\"４\"}").into(),
            "train.jsonl:1: `answer` is not one the grader accepts: `４`",
        ),
    ];
    for (row, name, bytes, expected) in rows {
        println!("row {row}");
        let folder = workplace();
        fs::write(folder.path().join(name), bytes).unwrap();
        refused(folder.path(), &CHECK, 2, expected);
        refused(folder.path(), &["train", "recipe.toml"], 2, expected);
    }
}

#[test]
fn rows_25_29_and_31_what_is_odd_is_said_and_refused_when_strict() {
    let folder = workplace();
    let here = folder.path();
    let same = TRAIN.replace("\"a\"", "\"c\"");
    let leak = "{\"id\":\"d\",\"question\":\"is it 3.14 ?\",\"answer\":\"3.14\"}";
    fs::write(here.join("train.jsonl"), format!("{TRAIN}{same}\r\n{leak}")).unwrap();
    let said = bounded(here, &CHECK).fine();
    let warnings = "warning: train.jsonl:2: the same task as line 1; drop one of them\nwarning: \
                    train.jsonl:4: leak: the answer `3.14` stands in the question\n";
    assert!(said.err.contains(warnings), "{}", said.err);
    let strict = ["tasks", "check", "train.jsonl", "--environment", "math_answer", "--strict"];
    refused(here, &strict, 2, "train.jsonl:2: the same task as line 1; drop one of them");
}

/// Row 30, and what no file of the user may be: a pipe that waits for a writer, a device without
/// end, a folder.
#[test]
fn row_30_files_that_are_none() {
    let folder = workplace();
    fs::write(folder.path().join("train.jsonl.gz"), "\u{1f}").unwrap();
    let recipe = RECIPE.replace("train.jsonl", "train.jsonl.gz");
    fs::write(folder.path().join("recipe.toml"), recipe).unwrap();
    let expected = "train.jsonl.gz: compressed files are not read; unpack it first";
    refused(folder.path(), &CHECK, 2, expected);
    type Make = fn(&Path);
    let kinds: [(&str, Make, &str); 3] = [
        ("pipe", |path| mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap(), "a pipe or a"),
        ("device", |path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(), "a pipe or a"),
        ("folder", |path| fs::create_dir(path).unwrap(), "a folder"),
    ];
    for (kind, make, what) in kinds {
        for name in ["train.jsonl", "held_out.jsonl", "talks.jsonl", "pairs.jsonl"] {
            println!("{kind} {name}");
            let folder = workplace();
            fs::remove_file(folder.path().join(name)).unwrap();
            make(&folder.path().join(name));
            let expected = format!("{name}: cannot be read: it is {what}");
            refused(folder.path(), &CHECK, 2, &expected);
        }
        let folder = workplace();
        let here = folder.path();
        make(&here.join("file"));
        let said = refused(here, &["train", "file"], 2, "file: cannot read recipe: it is ");
        assert!(said.err.contains("it is not a regular file") || kind == "folder", "{}", said.err);
        let expected = format!("file: cannot be read: it is {what}");
        refused(here, &["import", "gsm8k", "file", "out"], 2, &expected);
        refused(here, &["tasks", "check", "file", "--environment", "calculator"], 2, &expected);
        let templated = RECIPE.replacen(
            "[model.scratch]",
            "[model]\nchat_template = \"file\"\n\
             [model.scratch]",
            1,
        );
        fs::write(here.join("recipe.toml"), templated).unwrap();
        let what = if kind == "folder" { "a folder" } else { "not a regular file" };
        refused(here, &CHECK, 2, &format!("file: cannot be read: it is {what}"));
        // Each file of a model, and the model itself.
        let rest = &RECIPE[RECIPE.find("[environment]").unwrap()..];
        fs::write(here.join("recipe.toml"), format!("[model]\npath = \"m\"\n{rest}")).unwrap();
        fs::create_dir(here.join("m")).unwrap();
        make(&here.join("m/config.json"));
        refused(here, &CHECK, 2, "config.json` cannot be read: expected a regular file");
        fs::remove_dir_all(here.join("m")).unwrap();
        fs::create_dir(here.join("m")).unwrap();
        make(&here.join("m/only.gguf"));
        refused(here, &CHECK, 2, "only.gguf` cannot be read: expected a regular file");
    }
}

/// A name that a person chose for a file or a word of the command line moves no cursor.
#[test]
fn names_and_words_are_shown_without_harm() {
    let folder = workplace();
    let here = folder.path();
    let evil = "a\u{1b}]52;c;QQ==\u{7}\u{202e}\u{9b}2J\r.toml";
    fs::write(here.join(evil), "seed = x").unwrap();
    for words in [
        &["train", evil][..],
        &["train", "recipe.toml", "--set", evil],
        &["train", "recipe.toml", "--run", "recipe.toml", evil],
        &[evil],
        &["inspect", evil],
        &["eval", "--split", evil, "r"],
        &["methods", evil],
        &["tasks", "check", evil],
        &["export", "r", "--format", evil, "x"],
        &["sweep", "recipe.toml", "--seeds", evil, "--out", "o"],
        &["env", "check", evil],
    ] {
        let said = bounded(here, words);
        assert!(matches!(said.code, Some(1..=3)), "{words:?}: {said:?}");
        harmless(&(said.out + &said.err));
    }
}
