//! Tensors of one or several safetensors files into a model, and back into one file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    dtype,
    error::IoError,
    header::{self, Entry},
    source::{Opened, Source},
};
use crate::{
    config::Config,
    model::{Model, ParameterView},
    parameters,
};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Most shards an index may name.
pub const SHARDS_MAX: usize = 4096;

/// Reads every parameter of a model with this shape. Notes say what was in the files and is not
/// part of the model.
pub(crate) fn read(
    source: &Source<'_>,
    config: Config,
    notes: &mut Vec<String>,
) -> Result<Model, IoError> {
    let names = shard_names(source)?;
    let mut shards = Vec::new();
    for name in &names {
        let mut opened = source.open(name)?.ok_or_else(|| IoError::Missing {
            file: name.clone(),
            next: "the index names it: fetch all shards",
        })?;
        let entries = header::read(name, &mut opened)?;
        shards.push(Shard { name, opened, entries });
    }
    // Before the model is allocated: the files must hold what the shape claims.
    compare(&expected(&config), &shards, notes)?;
    fill(Model::zeros(config), shards)
}

struct Shard<'a> {
    name: &'a str,
    opened: Opened<'a>,
    entries: Vec<Entry>,
}

fn shard_names(source: &Source<'_>) -> Result<Vec<String>, IoError> {
    if source.open(SINGLE)?.is_some() {
        return Ok(vec![SINGLE.to_owned()]);
    }
    if let Some(bytes) = source.text(INDEX)? {
        return index_names(&bytes);
    }
    let pickles = source
        .names()?
        .into_iter()
        .find(|name| [".bin", ".pt", ".pth", ".ckpt"].iter().any(|ending| name.ends_with(ending)));
    Err(match pickles {
        Some(file) => IoError::Foreign {
            file,
            expected: "safetensors",
            got: "a PyTorch pickle",
            next: "pickle files can run code and are not read: convert to safetensors",
        },
        None => IoError::Missing {
            file: SINGLE.to_owned(),
            next: "give a Hugging Face folder with safetensors weights",
        },
    })
}

fn index_names(bytes: &[u8]) -> Result<Vec<String>, IoError> {
    let index: Value = serde_json::from_slice(bytes)
        .map_err(|wrong| IoError::damaged(INDEX, format!("not valid JSON: {wrong}")))?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        return Err(IoError::damaged(INDEX, "`weight_map` is missing".to_owned()));
    };
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().unwrap_or_default();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !file.ends_with(".safetensors") || file.starts_with('.') || !file.chars().all(plain) {
            return Err(IoError::damaged(
                INDEX,
                format!(
                    "shard path must be a plain file name ending in .safetensors: got \"{}\" \
                     for `{}`",
                    file.escape_debug(),
                    tensor.escape_debug()
                ),
            ));
        }
        names.insert(file.to_owned());
    }
    if names.is_empty() || names.len() > SHARDS_MAX {
        let count = names.len();
        return Err(IoError::damaged(
            INDEX,
            format!("got {count} shards, expected 1 to {SHARDS_MAX}"),
        ));
    }
    Ok(names.into_iter().collect())
}

/// The name and shape of every parameter, without allocating any.
pub(super) fn expected(config: &Config) -> BTreeMap<String, Vec<u64>> {
    let layout = parameters::Layout::new(config);
    let sides = |slot: &parameters::Slot| slot.shape().iter().map(|side| *side as u64).collect();
    layout.slots.iter().map(|slot| (slot.name.clone(), sides(slot))).collect()
}

fn compare(
    expected: &BTreeMap<String, Vec<u64>>,
    shards: &[Shard<'_>],
    notes: &mut Vec<String>,
) -> Result<(), IoError> {
    let mut problems = Vec::new();
    let mut found: BTreeMap<&str, &str> = BTreeMap::new();
    for shard in shards {
        for entry in &shard.entries {
            if let Some(other) = found.insert(&entry.name, shard.name) {
                let name = &entry.name;
                problems.push(format!("`{name}` is in two files: {other} and {}", shard.name));
            }
            match expected.get(&entry.name) {
                Some(shape) => problems.extend(unfit(entry, shape, "config.json")),
                None if is_harmless(&entry.name, expected) => notes.push(format!(
                    "{}: ignored `{}`: the model computes it itself",
                    shard.name, entry.name
                )),
                None => problems.push(format!(
                    "`{}` is unexpected: config.json describes no such tensor",
                    entry.name
                )),
            }
        }
    }
    for name in expected.keys().filter(|name| !found.contains_key(name.as_str())) {
        let why = if name == "lm_head.weight" {
            "config says untied embeddings"
        } else {
            "config.json describes it"
        };
        problems.push(format!("`{name}` is missing: {why}"));
    }
    let file = if shards.len() == 1 { shards[0].name } else { "the set of shards" };
    if problems.is_empty() { Ok(()) } else { Err(IoError::problems(file, problems)) }
}

/// Says what is wrong with a tensor that `by` describes as of `shape`.
pub(super) fn unfit(entry: &Entry, shape: &[u64], by: &str) -> Option<String> {
    if entry.shape != shape {
        let (name, got) = (&entry.name, &entry.shape);
        return Some(format!("`{name}` has shape {got:?}, expected {shape:?} by {by}"));
    }
    if !matches!(entry.dtype.as_str(), "F32" | "F16" | "BF16") {
        let (name, got) = (&entry.name, &entry.dtype);
        return Some(format!("`{name}` has type {got}, expected F32, F16 or BF16"));
    }
    None
}

/// Copies that old checkpoints carry: rotary tables, and the head of a tied model.
fn is_harmless(name: &str, expected: &BTreeMap<String, Vec<u64>>) -> bool {
    name.ends_with("rotary_emb.inv_freq")
        || (name == "lm_head.weight" && !expected.contains_key(name))
}

fn fill(mut model: Model, shards: Vec<Shard<'_>>) -> Result<Model, IoError> {
    let mut problems = Vec::new();
    for mut shard in shards {
        for entry in &shard.entries {
            if model.layout.find(&entry.name).is_none() {
                continue;
            }
            let bytes = header::data(shard.name, &mut shard.opened, entry)?;
            let values = dtype::to_f32(&entry.dtype, &bytes).unwrap_or_default();
            problems.extend(non_finite(&entry.name, &values));
            if let Err(wrong) = model.set_parameter(&entry.name, &values) {
                problems.push(wrong.to_string());
            }
        }
    }
    if problems.is_empty() { Ok(model) } else { Err(IoError::problems("the weights", problems)) }
}

pub(super) fn non_finite(name: &str, values: &[f32]) -> Option<String> {
    let first = values.iter().position(|value| !value.is_finite())?;
    let count = values.iter().filter(|value| !value.is_finite()).count();
    Some(format!("`{name}` holds {count} non-finite values (first at {first})"))
}

/// The whole `model.safetensors`, in f32, without an adapter.
pub(crate) fn write(model: &Model) -> Result<Vec<u8>, IoError> {
    serialize(SINGLE, &model.base_parameters())
}

/// The bytes of a safetensors file with these parameters, in f32.
pub(super) fn serialize(file: &str, views: &[ParameterView<'_>]) -> Result<Vec<u8>, IoError> {
    let damaged = |wrong: safetensors::SafeTensorError| IoError::damaged(file, wrong.to_string());
    let parameters: Vec<(String, Vec<usize>, Vec<u8>)> = views
        .iter()
        .map(|parameter| {
            let values = parameter.to_row_major();
            let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            (parameter.name().to_owned(), parameter.shape(), bytes)
        })
        .collect();
    let mut tensors = Vec::new();
    for (name, shape, bytes) in &parameters {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes)
                .map_err(damaged)?;
        tensors.push((name.as_str(), view));
    }
    // transformers refuses a file that does not say which framework wrote it.
    let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
    safetensors::serialize(tensors, Some(metadata)).map_err(damaged)
}
