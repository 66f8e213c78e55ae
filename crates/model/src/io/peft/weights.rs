//! `adapter_model.safetensors` into an adapter.

use std::collections::BTreeMap;

use super::{CONFIG, WEIGHTS};
use crate::{
    adapter::{Adapter, LoraSettings},
    config::Config,
    io::{
        dtype,
        error::IoError,
        header::{self, Entry},
        source::Source,
        weights::{non_finite, unfit},
    },
};

pub(super) fn read(
    source: &Source<'_>,
    config: &Config,
    settings: LoraSettings,
) -> Result<Adapter, IoError> {
    let Some(mut opened) = source.open(WEIGHTS)? else { return Err(missing(source)?) };
    let entries = header::read(WEIGHTS, &mut opened)?;
    let mut adapter = Adapter::zeros(config, settings);
    compare(&adapter, &entries)?;
    let mut problems = Vec::new();
    for entry in &entries {
        let bytes = header::data(WEIGHTS, &mut opened, entry)?;
        let values = dtype::to_f32(&entry.dtype, &bytes).unwrap_or_default();
        problems.extend(non_finite(&entry.name, &values));
        if let Err(wrong) = adapter.set_parameter(&entry.name, &values) {
            problems.push(wrong.to_string());
        }
    }
    if problems.is_empty() { Ok(adapter) } else { Err(IoError::problems(WEIGHTS, problems)) }
}

fn missing(source: &Source<'_>) -> Result<IoError, IoError> {
    let pickle = "adapter_model.bin";
    Ok(match source.open(pickle)? {
        Some(_) => IoError::Foreign {
            file: pickle.to_owned(),
            expected: "safetensors",
            got: "a PyTorch pickle",
            next: "pickle files can run code and are not read: convert to safetensors",
        },
        None => IoError::Missing {
            file: WEIGHTS.to_owned(),
            next: "give a folder that PEFT's `save_pretrained` or this program wrote",
        },
    })
}

/// The file must hold every tensor that settings and shape claim, and nothing else.
fn compare(adapter: &Adapter, entries: &[Entry]) -> Result<(), IoError> {
    let views = adapter.parameters();
    let expected: BTreeMap<&str, Vec<u64>> = views
        .iter()
        .map(|view| (view.name(), view.shape().iter().map(|side| *side as u64).collect()))
        .collect();
    let by = "the model and adapter_config.json";
    let mut problems = Vec::new();
    for entry in entries {
        match expected.get(entry.name.as_str()) {
            Some(shape) => problems.extend(unfit(entry, shape, by)),
            None => problems
                .push(format!("`{}` is unexpected: {by} describe no such tensor", entry.name)),
        }
    }
    for name in expected.keys().filter(|name| !entries.iter().any(|entry| entry.name == **name)) {
        problems.push(format!("`{name}` is missing: {CONFIG} targets it"));
    }
    if problems.is_empty() { Ok(()) } else { Err(IoError::problems(WEIGHTS, problems)) }
}
