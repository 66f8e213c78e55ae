//! Model, tokenizer and template files that are damaged, foreign or hostile, as a user meets them:
//! through the binary, by the rows of the table of bad inputs (docs/BAD_INPUTS.md). What each
//! reader says in detail is tested in `model`.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::refused::{bounded, refused};

const RECIPE: &str = r#"
[model]
path = "model"
[environment]
type = "math_answer"
prompt = "{question}"
[environment.files]
train = "train.jsonl"
held_out = "held_out.jsonl"
[[stage]]
[stage.rl]
steps = 1
tasks = 1
max_tokens = 4
grow = { type = "independent", attempts = 2 }
credit = { type = "group_mean" }
[[stage]]
[stage.evaluate]
max_tokens = 4
"#;

/// A folder with a recipe, tasks and a small model that is good.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("recipe.toml"), RECIPE).unwrap();
    for (name, question) in [("train", "2+2"), ("held_out", "2+3")] {
        let line = format!("{{\"id\":\"a\",\"question\":\"{question}\",\"answer\":4}}\n");
        fs::write(here.join(name).with_extension("jsonl"), line).unwrap();
    }
    fs::create_dir(here.join("model")).unwrap();
    let good = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/llama_tied");
    for name in [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        fs::copy(good.join(name), here.join("model").join(name)).unwrap();
    }
    folder
}

/// The model's folder, to be damaged.
struct Model<'f>(&'f Path);

impl Model<'_> {
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap()
    }

    /// Puts values into a JSON file; `null` takes a key out.
    fn edit(&self, name: &str, changes: &Value) {
        let mut document: Value = serde_json::from_slice(&self.read(name)).unwrap();
        for (place, value) in changes.as_object().unwrap() {
            let (above, key) = place.rsplit_once('/').unwrap();
            document.pointer_mut(above).unwrap()[key] = value.clone();
        }
        self.write(name, document.to_string());
    }

    /// Changes the header of the weights as text; the data stays.
    fn header(&self, change: impl FnOnce(String) -> String) {
        let bytes = self.read(WEIGHTS);
        let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let text = change(String::from_utf8(bytes[8..8 + length].to_vec()).unwrap());
        let length = (text.len() as u64).to_le_bytes();
        self.write(
            WEIGHTS,
            [&length[..], text.as_bytes(), &bytes[8 + length_of(&bytes)..]].concat(),
        );
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.0.join(from), self.0.join(to)).unwrap();
    }
}

fn length_of(bytes: &[u8]) -> usize {
    u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize
}

const WEIGHTS: &str = "model.safetensors";
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TEMPLATE: &str = "chat_template.jinja";

/// A row of the table, a change of a good folder, and what the message must hold.
type Case = (&'static str, fn(&Model<'_>), &'static str);

/// `recipe check` reads all that `train` does; both must refuse before anything is written.
#[track_caller]
fn check(cases: &[Case]) {
    for (row, change, expected) in cases {
        println!("row {row}");
        let folder = workplace();
        change(&Model(&folder.path().join("model")));
        refused(folder.path(), &["recipe", "check", "recipe.toml"], 2, expected);
    }
    // The last of them once more, as it would be started.
    let (_, change, expected) = cases.last().unwrap();
    let folder = workplace();
    change(&Model(&folder.path().join("model")));
    refused(folder.path(), &["train", "recipe.toml"], 2, expected);
}

#[test]
fn the_good_model_is_good() {
    let folder = workplace();
    bounded(folder.path(), &["recipe", "check", "recipe.toml"]).fine();
}

#[test]
fn rows_33_to_45_weights() {
    check(&[
        ("33 empty", |m| m.write(WEIGHTS, ""), "it is empty; fetch or write it again"),
        ("33 short", |m| m.write(WEIGHTS, "1234567"), "got 7 bytes, expected at least 8"),
        ("33 page", |m| m.write(WEIGHTS, "<!doctype html><html>404"), "it is an HTML page; the"),
        (
            "33 pointer",
            |m| m.write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"),
            "it is a Git-LFS pointer; run `git lfs pull`",
        ),
        (
            "34 largest",
            |m| m.write(WEIGHTS, [&[0xff; 8][..], &m.read(WEIGHTS)[8..]].concat()),
            "header claims 18446744073709551615 bytes, file has 98920",
        ),
        (
            "34 beyond the file",
            |m| m.write(WEIGHTS, [&200_000_u64.to_le_bytes()[..], &m.read(WEIGHTS)[8..]].concat()),
            "header claims 200000 bytes, file has 98920",
        ),
        (
            "35",
            |m| m.write(WEIGHTS, &m.read(WEIGHTS)[..98_919]),
            "truncated: header needs 98920 bytes, file has 98919",
        ),
        (
            "36",
            |m| m.write(WEIGHTS, [m.read(WEIGHTS), vec![0; 8]].concat()),
            "8 bytes after the last tensor",
        ),
        ("37 overlap", |m| m.header(|t| moved(&t, "model.norm.weight", 0)), "overlap at byte"),
        (
            "38",
            |m| m.header(|t| shaped(&t, "model.norm.weight", "[4194305,4194305,4194305]")),
            "shape [4194305, 4194305, 4194305] overflows",
        ),
        (
            "39",
            |m| {
                m.header(|t| {
                    t.replacen("\"model.norm.weight\"", "\"model.embed_tokens.weight\"", 1)
                })
            },
            "tensor `model.embed_tokens.weight` appears twice",
        ),
        (
            "40 NaN",
            |m| {
                let mut bytes = m.read(WEIGHTS);
                let end = bytes.len();
                bytes[end - 8..end - 4].copy_from_slice(&f32::NAN.to_le_bytes());
                bytes[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
                m.write(WEIGHTS, bytes);
            },
            "holds 2 non-finite values (first at ",
        ),
        (
            "41 a path",
            |m| m.header(|t| t.replacen("model.norm.weight", "../../x", 1)),
            "tensor name is not plain: \"../../x\"",
        ),
        (
            "41 control characters",
            |m| m.header(|t| t.replacen("model.norm.weight", "a\\u001b[2Jb", 1)),
            "tensor name is not plain: \"a\\u{1b}[2Jb\"",
        ),
        (
            "42 missing, unexpected",
            |m| m.header(|t| t.replacen("model.norm.weight", "model.norm.bias", 1)),
            "has 2 problems:\n  `model.norm.bias` is unexpected: config.json describes no such \
             tensor\n  `model.norm.weight` is missing: config.json describes it",
        ),
        (
            "42 shape",
            |m| m.edit(CONFIG, &json!({ "/intermediate_size": 64 })),
            "`model.layers.0.mlp.down_proj.weight` has shape [32, 48], expected [32, 64] by",
        ),
        (
            "42 type",
            |m| m.header(|t| t.replace("\"F32\"", "\"I32\"")),
            "`model.norm.weight` has type I32, expected F32, F16 or BF16",
        ),
        (
            "43",
            |m| {
                m.rename(WEIGHTS, "a.safetensors");
                let index = json!({ "weight_map": { "x": "/etc/passwd" } });
                m.write("model.safetensors.index.json", index.to_string());
            },
            "shard path must be a plain file name ending in .safetensors: got \"/etc/passwd\"",
        ),
        (
            "43 missing",
            |m| {
                m.rename(WEIGHTS, "a.safetensors");
                let index = json!({ "weight_map": { "x": "b.safetensors" } });
                m.write("model.safetensors.index.json", index.to_string());
            },
            "`b.safetensors` is missing: expected in the model folder; the index names it",
        ),
        (
            "44",
            |m| {
                m.write("b.safetensors", m.read(WEIGHTS));
                m.rename(WEIGHTS, "a.safetensors");
                let map = json!({ "x": "a.safetensors", "y": "b.safetensors" });
                let index = json!({ "weight_map": map });
                m.write("model.safetensors.index.json", index.to_string());
            },
            "`model.norm.weight` is in two files: a.safetensors and b.safetensors",
        ),
        (
            "45",
            |m| m.rename(WEIGHTS, "pytorch_model.bin"),
            "pickle files can run code and are not read: convert to safetensors",
        ),
    ]);
}

/// The header with a tensor's data said to begin elsewhere.
fn moved(header: &str, name: &str, to: u64) -> String {
    let mut document: Value = serde_json::from_str(header).unwrap();
    let offsets = document[name]["data_offsets"].clone();
    let size = offsets[1].as_u64().unwrap() - offsets[0].as_u64().unwrap();
    document[name]["data_offsets"] = json!([to, to + size]);
    document.to_string()
}

/// The header with another shape of a tensor.
fn shaped(header: &str, name: &str, shape: &str) -> String {
    let mut document: Value = serde_json::from_str(header).unwrap();
    document[name]["shape"] = serde_json::from_str(shape).unwrap();
    document.to_string()
}

#[test]
fn rows_46_to_48_shapes_and_notes() {
    check(&[
        (
            "47 heads",
            |m| m.edit(CONFIG, &json!({ "/num_attention_heads": 0 })),
            "`heads` must lie in 1..=1024: 0",
        ),
        (
            "47 vocabulary",
            |m| m.edit(CONFIG, &json!({ "/vocab_size": 1_000_000_000_000_u64 })),
            "`vocabulary` must lie in 1..=2097152: 1000000000000",
        ),
        (
            "47 layers, base: one line for each",
            |m| {
                m.edit(
                    CONFIG,
                    &json!({
                        "/num_hidden_layers": -1, "/max_position_embeddings": "long"
                    }),
                )
            },
            "`config.json` has 2 problems:\n  `num_hidden_layers`: got -1, expected a whole number\n  \
             `max_position_embeddings`: got \"long\", expected a whole number",
        ),
        (
            "47 base",
            |m| m.edit(CONFIG, &json!({ "/rope_parameters/rope_theta": -1.0 })),
            "`rope_base` must be finite and above 1: -1",
        ),
        (
            "48 smaller",
            |m| m.edit(CONFIG, &json!({ "/vocab_size": 271 })),
            "got 272 ids, expected at most the model's 271 rows",
        ),
    ]);
    // What is ignored is said.
    let folder = workplace();
    let model = Model(&folder.path().join("model"));
    model.edit(CONFIG, &json!({ "/auto_map": { "AutoModel": "evil.Model" } }));
    let note = "note: config.json: ignored `auto_map`: this program runs no model code\n";
    for words in [&["recipe", "check", "recipe.toml"][..], &["train", "recipe.toml", "--run", "r"]]
    {
        let said = bounded(folder.path(), words).fine();
        assert!(said.err.contains(note), "{words:?}: {}", said.err);
    }
}

/// Row 49: a GGUF file whose bytes are chosen; what each field may be is tested in `model`.
#[test]
fn row_49_gguf_files() {
    let count = |n: u64| n.to_le_bytes().to_vec();
    let start = |version: u32| [&b"GGUF"[..], &version.to_le_bytes()].concat();
    let three = |tensors: u64, items: u64| [start(3), count(tensors), count(items)].concat();
    let key = |name: &str, kind: u32, rest: &[u8]| {
        let name = [&count(name.len() as u64)[..], name.as_bytes()].concat();
        [three(0, 1), name, kind.to_le_bytes().to_vec(), rest.to_vec()].concat()
    };
    let array = |kind: u32, n: u64| [&kind.to_le_bytes()[..], &n.to_le_bytes()].concat();
    for (bytes, expected) in [
        (b"GGML\x03\0\0\0".to_vec(), "got bytes 47474d4c at its start, expected `GGUF`"),
        (start(99), "version: got 99, expected 2 or 3"),
        (three(1 << 60, 0), "tensors: got 1152921504606846976 of at least 24"),
        (three(0, 1 << 60), "metadata entries: got 1152921504606846976 of"),
        (key("k", 8, &count(1 << 63)), "`k`: got 9223372036854775808 of at least 1 bytes each"),
        (key("k", 9, &array(9, 1)), "`k` is an array of arrays: expected one level"),
        (key("k", 9, &array(8, 1 << 60)), "`k`: got 1152921504606846976 of at least 8"),
        (key("k", 77, &[]), "`k` has an unknown value type: got 77"),
        (
            key("general.alignment", 4, &0_u32.to_le_bytes()),
            "`general.alignment`: got 0, expected a power of two",
        ),
        (
            key("general.alignment", 4, &3_u32.to_le_bytes()),
            "`general.alignment`: got 3, expected a power of two",
        ),
    ] {
        let folder = workplace();
        fs::remove_dir_all(folder.path().join("model")).unwrap();
        fs::create_dir(folder.path().join("model")).unwrap();
        fs::write(folder.path().join("model/small.gguf"), bytes).unwrap();
        refused(folder.path(), &["recipe", "check", "recipe.toml"], 2, expected);
    }
}

#[test]
fn rows_50_to_53_tokenizers() {
    check(&[
        (
            "50",
            |m| m.edit(TOKENIZER, &json!({ "/model/merges": [["Ġ", "x".repeat(40)]] })),
            "tokenizer.json: merge 0 makes `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`, which is not",
        ),
        (
            "51",
            |m| {
                let pattern = "(?=(a+)+b)a|(?=(a+)+c)a|(?=(a+)+d)a|a";
                let steps = json!([
                    { "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated",
                      "invert": false },
                    { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                      "use_regex": false },
                ]);
                let all = json!({ "type": "Sequence", "pretokenizers": steps });
                m.edit(TOKENIZER, &json!({ "/pre_tokenizer": all }));
            },
            "its pattern takes longer than 0.3 s to cut 16 kB of \"a\"",
        ),
        (
            "52 out of range",
            |m| m.edit(TOKENIZER, &json!({ "/added_tokens": [added(1 << 40, "<a>")] })),
            "added token \"<a>\": got id 1099511627776, expected 0 to 2097151",
        ),
        (
            "52 twice",
            |m| {
                let twice = [added(300, "<a>"), added(300, "<b>")];
                m.edit(TOKENIZER, &json!({ "/added_tokens": twice }));
            },
            "added token \"<b>\": it or its id 300 is listed twice",
        ),
        (
            "52 empty",
            |m| m.edit(TOKENIZER, &json!({ "/added_tokens": [added(300, "")] })),
            "added token \"\": the text of id 300 is empty",
        ),
        (
            "53",
            |m| m.edit(TOKENIZER, &json!({ "/model/vocab": { "a": 0 }, "/model/merges": [] })),
            "cannot encode byte 0x09",
        ),
    ]);
}

fn added(id: u64, name: &str) -> Value {
    json!({ "id": id, "content": name, "special": true })
}

#[test]
fn rows_54_to_56_templates() {
    check(&[
        ("54 syntax", |m| m.write(TEMPLATE, "{% for x in %}"), "chat_template:1:13: syntax error"),
        ("54 filter", |m| m.write(TEMPLATE, "a\n{{ messages|nofilter }}"), "chat_template:2:"),
        (
            "54 undefined",
            |m| m.write(TEMPLATE, "[{{ messages[0].nope }}]"),
            "chat_template:1:5: `messages[0].nope` is undefined",
        ),
        (
            "55 loops",
            |m| {
                let three = "{% for a in range(300) %}{% for b in range(300) %}{% for c in \
                             range(300) %}{% endfor %}{% endfor %}{% endfor %}";
                m.write(TEMPLATE, three);
            },
            "template ran out of budget (100000 steps of 64 bytes)",
        ),
        (
            "55 doubling",
            |m| {
                let double = "{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(40) %}\
                              {% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}";
                m.write(TEMPLATE, double);
            },
            "chat_template",
        ),
        (
            "55 nested",
            |m| {
                let nested = "{% if 1 %}".repeat(10_000) + &"{% endif %}".repeat(10_000);
                m.write(TEMPLATE, nested);
            },
            "chat_template",
        ),
        (
            "55 recursion",
            |m| m.write(TEMPLATE, "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
            "chat_template",
        ),
        ("55 include", |m| m.write(TEMPLATE, "{% include '/etc/passwd' %}"), "chat_template:1:"),
        (
            "55 long",
            |m| m.write(TEMPLATE, "x".repeat((1 << 20) + 1)),
            "chat_template: got 1048577 bytes, expected at most 1048576",
        ),
        (
            "56 drops",
            |m| m.write(TEMPLATE, "{{ messages[-1].content[:1] }}"),
            "message 1 (user) is written 0 times, expected once; use another template",
        ),
        (
            "56 repeats",
            |m| {
                m.write(
                    TEMPLATE,
                    "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
                )
            },
            "message 1 (user) is written 2 times, expected once; use another template",
        ),
    ]);
    // Not append-only: it still serves for single turns, and is told.
    let folder = workplace();
    let model = Model(&folder.path().join("model"));
    model
        .write(TEMPLATE, "{{ messages|length }}{% for m in messages %}{{ m.content }}{% endfor %}");
    let said = bounded(folder.path(), &["recipe", "check", "recipe.toml"]).fine();
    let expected = "note: chat_template: template is not append-only: turn 2 rewrites tokens of \
                    turn 1 (first difference at 0)";
    assert!(said.err.contains(expected), "{}", said.err);
}
