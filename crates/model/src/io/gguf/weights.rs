//! Tensors of a GGUF file into a model, one at a time.

use std::collections::BTreeMap;

use super::{
    header::{Entry, Header},
    reader::Reader,
};
use crate::{
    config::{Config, Family},
    io::{error::IoError, weights},
    model::Model,
};

/// The rotary factors, read apart: they say which rule the frequencies follow.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// Names of whole-model tensors: ours, the file's.
const WHOLE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// Names within a layer.
const LAYER: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The name of a parameter in the file.
fn stored_name(name: &str) -> Option<String> {
    if let Some((_, stored)) = WHOLE.iter().find(|(ours, _)| *ours == name) {
        return Some((*stored).to_owned());
    }
    let (layer, tail) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (place, end) = tail.rsplit_once('.')?;
    let (_, stored) = LAYER.iter().find(|(ours, _)| *ours == place)?;
    Some(format!("blk.{layer}.{stored}.{end}"))
}

/// Reads every parameter. The file is compared with the shape before the model takes memory.
pub(super) fn read(
    reader: &mut Reader<'_>,
    header: &Header,
    config: Config,
) -> Result<Model, IoError> {
    let expected = weights::expected(&config);
    let mut names = BTreeMap::new();
    for (name, shape) in &expected {
        if let Some(stored) = stored_name(name) {
            names.insert(stored, (name.as_str(), shape.as_slice()));
        }
    }
    compare(reader.file(), header, &names)?;
    fill(reader, header, &names, Model::zeros(config))
}

type Names<'a> = BTreeMap<String, (&'a str, &'a [u64])>;

fn compare(file: &str, header: &Header, names: &Names<'_>) -> Result<(), IoError> {
    let mut problems = Vec::new();
    for entry in &header.tensors {
        let name = &entry.name;
        match names.get(name) {
            Some((_, shape)) if *shape != entry.shape => problems.push(format!(
                "`{name}` has shape {:?}, expected {shape:?} by the metadata",
                entry.shape
            )),
            Some(_) => {}
            None if name == ROPE_FACTORS => {}
            None => problems
                .push(format!("`{name}` is unexpected: the metadata describes no such tensor")),
        }
    }
    let missing = names.keys().filter(|name| header.tensor(name).is_none());
    problems.extend(missing.map(|name| format!("`{name}` is missing: the metadata describes it")));
    if problems.is_empty() { Ok(()) } else { Err(IoError::problems(file, problems)) }
}

fn fill(
    reader: &mut Reader<'_>,
    header: &Header,
    names: &Names<'_>,
    mut model: Model,
) -> Result<Model, IoError> {
    let config = model.config().clone();
    let mut problems = Vec::new();
    for entry in &header.tensors {
        let Some((name, _)) = names.get(&entry.name) else { continue };
        let mut bytes = reader.data(entry.begin, entry.size)?;
        if config.family == Family::Llama
            && (name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight"))
        {
            bytes = halves(entry, &bytes, config.head_dim);
        }
        let values = entry.kind.to_f32(&bytes);
        problems.extend(weights::non_finite(&entry.name, &values));
        if let Err(wrong) = model.set_parameter(name, &values) {
            problems.push(wrong.to_string());
        }
    }
    if problems.is_empty() { Ok(model) } else { Err(IoError::problems(reader.file(), problems)) }
}

/// Converters of the Llama architecture put the two rows of a rotary pair side by side; here, as
/// in transformers, the second of each pair lies half a head further. A row's blocks stay whole.
fn halves(entry: &Entry, bytes: &[u8], head_dim: usize) -> Vec<u8> {
    let rows = entry.shape[0] as usize;
    let width = bytes.len() / rows;
    let mut out = Vec::with_capacity(bytes.len());
    for row in 0..rows {
        let (head, within) = (row / head_dim, row % head_dim);
        let (half, pair) = (within / (head_dim / 2), within % (head_dim / 2));
        let from = head * head_dim + 2 * pair + half;
        out.extend_from_slice(&bytes[from * width..(from + 1) * width]);
    }
    out
}
