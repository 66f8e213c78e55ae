//! Writes the known inputs that are no text: `cargo run -p stepwell-fuzz --example seeds`. They
//! follow from the code, so that they can be made again where a format changes.

#[path = "../tests/fuzz/corpus.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "the harness's own, which reads them")]
mod corpus;
#[path = "../../model/tests/support/gguf.rs"]
#[allow(dead_code, clippy::allow_attributes, reason = "the writer of the model's own tests")]
mod gguf;

use gguf::Item;
use serde_json::{Value, json};
use stepwell_model::{Head, HeadShape, io};
use stepwell_store::{strangers, tensors_to_bytes};

/// Inputs by name.
type Seeds = Vec<(&'static str, Vec<u8>)>;

/// Changes the header of a safetensors file.
fn header(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let mut document: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut document);
    let text = document.to_string();
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes(), &bytes[8 + length..]].concat()
}

/// A file that reads, and the rows of the table of bad inputs.
fn safetensors(good: &[u8], name: &str) -> Seeds {
    let zero = |_: &mut Value| {};
    let with = |change: fn(&mut Value, &str)| header(good, |document| change(document, name));
    let mut infinite = good.to_vec();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    vec![
        ("good", header(good, zero)),
        ("34-largest", [&[0xff; 8][..], &good[8..good.len().min(200)]].concat()),
        ("34-beyond", [&9_000_000_u64.to_le_bytes()[..], &good[8..good.len().min(200)]].concat()),
        ("35-cut", good[..end - 1].to_vec()),
        ("36-more", [good, &[0; 8]].concat()),
        ("37-overlap", with(|d, name| d[name]["data_offsets"] = json!([0, 32]))),
        (
            "38-overflow",
            with(|d, name| d[name]["shape"] = json!([4_194_305, 4_194_305, 4_194_305])),
        ),
        ("40-nan", infinite),
        (
            "41-name",
            with(|d, name| {
                let entry = d.as_object_mut().unwrap().remove(name).unwrap();
                d["../../x"] = entry;
            }),
        ),
        ("42-type", with(|d, name| d[name]["dtype"] = json!("I32"))),
    ]
}

fn ggufs() -> Seeds {
    let good = gguf::of(&io::from_bytes(stepwell_fuzz::small_files()).unwrap());
    let with = |change: fn(&mut gguf::File)| {
        let mut file = good.clone();
        change(&mut file);
        file.bytes()
    };
    let array = |kind: u32, count: u64| {
        Item::Raw(9, [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat())
    };
    let mut nested = good.clone();
    nested.set("k", array(9, 1));
    let mut many = good.clone();
    many.set("k", array(8, 1 << 60));
    vec![
        ("good", good.bytes()),
        ("49-version", with(|file| file.version = 99)),
        ("49-items", with(|file| file.counts.1 = Some(1 << 60))),
        ("49-tensors", with(|file| file.counts.0 = Some(1 << 60))),
        ("49-alignment", with(|file| file.set("general.alignment", Item::U32(3)))),
        ("49-offset", with(|file| file.tensors[1].offset = Some(1 << 40))),
        ("49-type", with(|file| file.tensors[0].kind = 99)),
        ("49-arrays", nested.bytes()),
        ("49-count", many.bytes()),
    ]
}

/// Heads of a checkpoint: what is said of them, a line, and their tensors.
fn heads() -> Seeds {
    let of = |hidden: Option<usize>| {
        let head = Head::new(HeadShape { inputs: 2, hidden, outputs: 1 }, 1);
        let (step, moments) = head.optimizer();
        let named = |(name, shape, numbers)| (format!("value/{name}"), shape, numbers);
        let tensors: Vec<_> = head.parameters().into_iter().chain(moments).map(named).collect();
        let note = json!({"name": "value", "outputs": 1, "optimizer_step": step});
        (note, hidden, tensors_to_bytes(&tensors).unwrap())
    };
    let with = |(note, hidden, tensors): (Value, Option<usize>, Vec<u8>),
                more: &[(&str, Value)]| {
        let mut note = note;
        if let Some(hidden) = hidden {
            note["hidden"] = json!(hidden);
        }
        more.iter().for_each(|(name, value)| note[*name] = value.clone());
        [json!([note]).to_string().as_bytes(), b"\n", &tensors[..]].concat()
    };
    let huge = [("hidden", json!(1_u64 << 60))];
    vec![
        ("good", with(of(None), &[])),
        ("inner", with(of(Some(2)), &[])),
        ("none", with(of(None), &[("outputs", json!(0))])),
        ("huge", with(of(Some(2)), &huge)),
        ("wide", with(of(None), &[("outputs", json!(1_u64 << 40))])),
        ("other", with(of(Some(2)), &[("name", json!("score"))])),
    ]
}

fn main() {
    let files = stepwell_fuzz::small_files();
    let of = |name: &str| &files.iter().find(|(other, _)| other == name).unwrap().1;
    let mut all: Vec<(&str, Seeds)> = vec![
        ("safetensors", safetensors(of("model.safetensors"), "model.norm.weight")),
        ("gguf", ggufs()),
    ];
    let adapter = stepwell_fuzz::small_adapter();
    let (name, weights) = &adapter[1];
    assert!(name.ends_with(".safetensors"));
    let pair = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    all.push(("adapter_weights", safetensors(weights, pair)));
    let arrays = [("a".to_owned(), vec![2, 2], vec![1.0, -0.0, 1e-40, f32::MAX])];
    let tensors = tensors_to_bytes(&arrays).unwrap();
    all.push(("tensors", safetensors(&[&tensors[..], &[]].concat(), "a")));
    let tree = stepwell_tree::parse(
        "0 -  prompt q w e
         1 0  policy a b
         2 1  environment o
         3 2  policy c      r=1 part:format=0.1
         4 2  policy d e    r=0
         5 0  policy f      unscored=interrupted",
    );
    let rows = strangers::written(&tree);
    let half = rows[..rows.len() / 2].to_vec();
    let twice = rows.repeat(2);
    all.push(("record_trees", vec![("good", rows), ("half", half), ("twice", twice)]));
    all.push(("checkpoint_heads", heads()));
    let replies = stepwell_env::sql::sample_replies().into_iter().enumerate();
    let names = ["0", "1", "2", "3", "4", "5", "6", "7"];
    all.push(("sql_reply", replies.map(|(at, bytes)| (names[at], bytes)).collect()));
    for (target, inputs) in all {
        for (name, bytes) in inputs {
            corpus::write(target, name, &bytes);
        }
    }
    // What is text is written by hand; these two follow from the code.
    for (target, file, name) in [
        ("config", "config.json", "good.json"),
        ("tokenizer_config", "tokenizer_config.json", "good.json"),
        ("tokenizer", "tokenizer.json", "good.json"),
    ] {
        corpus::write(target, name, of(file));
    }
    corpus::write("adapter_config", "good.json", &adapter[0].1);
}
