//! Files that are damaged, foreign or hostile, by the rows of the reliability plan. Each is
//! refused with a message that names it, in bounded time, and leaves nothing behind.
//!
//! Rows told elsewhere: 35 to 41 in detail in `src/io/header_tests.rs`, 49 in `gguf.rs` and
//! `gguf_memory.rs`, 54 to 56 in `src/template/tests.rs`, 57 by the engine.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use stepwell_model::{io, tokenizer::Tokenizer};

type Files = Vec<(String, Vec<u8>)>;

fn files() -> Files {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama_tied");
    let names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    names.map(|name| (name.to_owned(), std::fs::read(folder.join(name)).unwrap())).to_vec()
}

fn file<'f>(files: &'f mut Files, name: &str) -> &'f mut Vec<u8> {
    &mut files.iter_mut().find(|(other, _)| other == name).unwrap().1
}

/// Lays values over a JSON file.
fn edit(files: &mut Files, name: &str, changes: &Value) {
    let bytes = file(files, name);
    let mut document: Value = serde_json::from_slice(bytes).unwrap();
    for (place, value) in changes.as_object().unwrap() {
        match document.pointer_mut(place) {
            Some(old) => *old = value.clone(),
            None => document[place.trim_start_matches('/')] = value.clone(),
        }
    }
    *bytes = document.to_string().into_bytes();
}

/// Rewrites the header of the weights; data stays as it is.
fn header(files: &mut Files, change: impl FnOnce(&mut Value)) {
    let bytes = file(files, "model.safetensors");
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let mut document: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut document);
    let text = document.to_string().into_bytes();
    let data = bytes.split_off(8 + length);
    *bytes = [&(text.len() as u64).to_le_bytes(), text.as_slice(), &data].concat();
}

/// A row, a change of a good folder, and what the message must hold.
type Case = (u32, fn(&mut Files), &'static str);

#[track_caller]
fn check(cases: &[Case]) {
    io::from_bytes(&files()).unwrap();
    for (row, change, expected) in cases {
        let mut files = files();
        change(&mut files);
        let began = Instant::now();
        let message = io::from_bytes(&files).unwrap_err().to_string();
        assert!(message.contains(expected), "row {row}:\n got {message}\nwant {expected}");
        assert!(began.elapsed().as_secs_f64() < 1.0, "row {row}: {:?}", began.elapsed());
    }
}

#[test]
fn rows_33_to_41_weights_that_are_no_weights() {
    const WEIGHTS: &str = "model.safetensors";
    check(&[
        (33, |f| file(f, WEIGHTS).clear(), "it is empty"),
        (33, |f| file(f, WEIGHTS).truncate(7), "got 7 bytes, expected at least 8"),
        (33, |f| *file(f, WEIGHTS) = b"<html>404".to_vec(), "it is an HTML page"),
        (
            33,
            |f| *file(f, WEIGHTS) = b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "it is a Git-LFS pointer; run `git lfs pull`",
        ),
        (
            34,
            |f| file(f, WEIGHTS)[..8].fill(0xff),
            "header claims 18446744073709551615 bytes, file has 98920",
        ),
        (
            35,
            |f| drop(file(f, WEIGHTS).split_off(98_919)),
            "truncated: header needs 98920 bytes, file has",
        ),
        (36, |f| file(f, WEIGHTS).extend([0; 8]), "8 bytes after the last tensor"),
        (
            37,
            |f| {
                header(f, |h| {
                    h["model.norm.weight"]["shape"] = json!([0]);
                    let begin = h["model.norm.weight"]["data_offsets"][0].clone();
                    h["model.norm.weight"]["data_offsets"][1] = begin;
                });
            },
            // The bytes it gives up belong to nobody.
            "128 bytes after the last tensor",
        ),
        (
            37,
            |f| header(f, |h| h["model.norm.weight"]["data_offsets"] = json!([0, 128])),
            "overlap at byte",
        ),
        (
            38,
            |f| {
                header(f, |h| {
                    h["model.norm.weight"]["shape"] = json!([4_194_305, 4_194_305, 4_194_305])
                })
            },
            "tensor `model.norm.weight`: shape [4194305, 4194305, 4194305] overflows",
        ),
        (
            40,
            |f| {
                let bytes = file(f, WEIGHTS);
                let end = bytes.len();
                bytes[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
            },
            "holds 1 non-finite values (first at ",
        ),
        (
            41,
            |f| {
                header(f, |h| {
                    let entry = h.as_object_mut().unwrap().remove("model.norm.weight").unwrap();
                    h["../../x"] = entry;
                })
            },
            "tensor name is not plain: \"../../x\"",
        ),
        (
            42,
            |f| header(f, |h| h["model.norm.weight"]["dtype"] = json!("I32")),
            "`model.norm.weight` has type I32, expected F32, F16 or BF16",
        ),
        (
            45,
            |f| {
                f.iter_mut().filter(|(n, _)| n == WEIGHTS).for_each(|(n, _)| *n = "a.pt".to_owned())
            },
            "pickle files can run code and are not read: convert to safetensors",
        ),
    ]);
}

/// Row 34: a header within the file and beyond the format's limit, in a file with holes.
#[test]
fn row_34_a_header_may_not_be_larger_than_the_format_allows() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files() {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let mut file = std::fs::File::create(folder.path().join("model.safetensors")).unwrap();
    file.write_all(&100_000_001_u64.to_le_bytes()).unwrap();
    file.set_len(100_000_100).unwrap();
    let message = io::load_folder(folder.path()).unwrap_err().to_string();
    let expected = "header claims 100000001 bytes, expected at most 100000000";
    assert!(message.contains(expected), "{message}");
}

#[test]
fn rows_47_and_48_shapes_that_no_model_has() {
    const CONFIG: &str = "config.json";
    check(&[
        (
            47,
            |f| edit(f, CONFIG, &json!({ "/num_attention_heads": 0 })),
            "`heads` must lie in 1..=1024: 0",
        ),
        (
            47,
            |f| edit(f, CONFIG, &json!({ "/num_attention_heads": 3, "/head_dim": null })),
            "`num_attention_heads`: got 3, expected a divisor of `hidden_size` (32)",
        ),
        (
            47,
            |f| edit(f, CONFIG, &json!({ "/vocab_size": 1_000_000_000_000_u64 })),
            "`vocabulary` must lie in 1..=2097152: 1000000000000",
        ),
        (
            47,
            |f| edit(f, CONFIG, &json!({ "/num_hidden_layers": -1 })),
            "`num_hidden_layers`: got -1, expected a whole number",
        ),
        (
            47,
            |f| edit(f, CONFIG, &json!({ "/rope_parameters/rope_theta": -1.0 })),
            "`rope_base` must be finite and above 1: -1",
        ),
        (
            48,
            |f| edit(f, CONFIG, &json!({ "/vocab_size": 271 })),
            "got 272 ids, expected at most the model's 271 rows",
        ),
        (
            42,
            |f| edit(f, CONFIG, &json!({ "/num_hidden_layers": 3 })),
            "`model.safetensors` has 9 problems:",
        ),
    ]);
}

#[test]
fn rows_50_to_53_tokenizers_that_would_fail_later() {
    const FILE: &str = "tokenizer.json";
    let token = |id: u64, name: &str| json!({ "id": id, "content": name, "special": true });
    let long = "x".repeat(40);
    let cases = [
        (
            50,
            json!({ "/model/merges": [["Ġ", long]] }),
            format!("merge 0 makes `{long}`, which is not in the vocabulary"),
        ),
        (52, json!({ "/added_tokens": [token(1 << 40, "<a>")] }), "expected 0 to 2097151".into()),
        (
            52,
            json!({ "/added_tokens": [token(300, "<a>"), token(300, "<b>")] }),
            "added token \"<b>\": it or its id 300 is listed twice".into(),
        ),
        (52, json!({ "/added_tokens": [token(300, "")] }), "the text of id 300 is empty".into()),
        (
            53,
            json!({ "/model/vocab": { "a": 0 }, "/model/merges": [] }),
            "cannot encode byte 0x09".into(),
        ),
    ];
    for (row, changes, expected) in cases {
        let mut files = files();
        edit(&mut files, FILE, &changes);
        let message = io::from_bytes(&files).unwrap_err().to_string();
        assert!(message.contains(&expected), "row {row}:\n got {message}\nwant {expected}");
    }
}

/// Row 51: patterns that backtrack or look ahead without end are refused, or never lose text.
#[test]
fn row_51_patterns_cannot_hang_or_swallow_text() {
    let patterns = [
        r"(a+)+$",
        r"(?=(a+)+b)a|(?=(a+)+c)a|(?=(a+)+d)a|a",
        r"((a|aa)+)(?!a)b|a",
        r"(a*)*(?<=b)c",
        r"(x+x+)+y|(?!z)a+",
    ];
    for pattern in patterns {
        let mut files = files();
        let steps = json!([
            {
                "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated",
                "invert": false
            },
            {
                "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                "use_regex": false
            },
        ]);
        let sequence = json!({ "type": "Sequence", "pretokenizers": steps });
        edit(&mut files, "tokenizer.json", &json!({ "/pre_tokenizer": sequence }));
        let read = Tokenizer::from_json(file(&mut files, "tokenizer.json"));
        if pattern.starts_with("(?=") {
            let message = read.unwrap_err().to_string();
            let expected = "its pattern takes longer than 0.3 s to cut 16 kB of \"a\"";
            assert!(message.contains(expected), "{message}");
            continue;
        }
        let tokenizer = read.unwrap().0;
        for text in ["a".repeat(1 << 16) + "x", "xa".repeat(1 << 15), "a x ".repeat(1 << 14)] {
            let began = Instant::now();
            let ids = tokenizer.encode(&text);
            let seconds = began.elapsed().as_secs_f64();
            assert!(seconds < 10.0, "{pattern}: {seconds} s");
            assert!(tokenizer.decode(&ids) == text, "{pattern}: text was lost");
        }
    }
}
