//! LoRA adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! What is written here, PEFT, transformers and vLLM load beside the base model; what PEFT writes
//! is read if it is plain LoRA. A field that would change the arithmetic is refused by its name,
//! never ignored.

mod config;
#[cfg(test)]
mod tests;
mod weights;

use std::path::Path;

use super::{error::IoError, header, source::Source};
use crate::{adapter::Adapter, config::Config};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// An adapter folder in memory.
#[derive(Debug)]
pub struct LoadedAdapter {
    /// Settings and weights.
    pub adapter: Adapter,
    /// The base that the adapter was trained on, as its writer named it: a folder or a name.
    pub base: Option<String>,
    /// What was ignored, one sentence each.
    pub notes: Vec<String>,
}

/// Reads an adapter folder for a model of shape `config`.
///
/// # Errors
/// If a file is missing, damaged or foreign, is no plain LoRA, or does not fit the shape.
pub fn load_adapter(path: &Path, config: &Config) -> Result<LoadedAdapter, IoError> {
    load(&Source::folder(path)?, config)
}

/// Reads the same files from memory, as a checkpoint in the store holds them.
///
/// # Errors
/// As [`load_adapter`].
pub fn adapter_from_bytes(
    files: &[(String, Vec<u8>)],
    config: &Config,
) -> Result<LoadedAdapter, IoError> {
    load(&Source::memory(files), config)
}

fn load(source: &Source<'_>, config: &Config) -> Result<LoadedAdapter, IoError> {
    let bytes = source.text(CONFIG)?.ok_or_else(|| IoError::Missing {
        file: CONFIG.to_owned(),
        next: "give a folder that PEFT's `save_pretrained` or this program wrote",
    })?;
    header::recognise(CONFIG, "JSON", &bytes)?;
    let read = config::parse(&bytes)?;
    let adapter = weights::read(source, config, read.settings)?;
    Ok(LoadedAdapter { adapter, base: read.base, notes: read.notes })
}

/// Every file of an adapter folder by name, in a fixed order. `base` tells readers which model
/// the adapter belongs to: a folder or a published name.
///
/// # Errors
/// If the weights cannot be laid out as safetensors.
pub fn adapter_bytes(
    adapter: &Adapter,
    base: Option<&str>,
) -> Result<Vec<(String, Vec<u8>)>, IoError> {
    let weights = super::weights::serialize(WEIGHTS, &adapter.parameters())?;
    Ok(vec![
        (CONFIG.to_owned(), config::write(adapter.settings(), base)),
        (WEIGHTS.to_owned(), weights),
    ])
}
