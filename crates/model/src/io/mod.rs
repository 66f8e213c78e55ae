//! Models in and out: Hugging Face folders both ways, so that what is trained here loads in
//! transformers, vLLM, SGLang and llama.cpp's converter, and GGUF files in.
//!
//! Nothing in a folder runs: no pickle, no `auto_map`. Every file is checked against its own
//! length before memory is taken for it (P9), and a refused folder leaves nothing behind.

mod dtype;
mod error;
mod gguf;
mod header;
/// Named maxima of files.
pub(crate) mod limits {
    pub use super::gguf::limits::*;
    pub use super::header::{
        HEADER_BYTES_MAX as HEADER_BYTES, NAME_BYTES_MAX as TENSOR_NAME_BYTES,
    };
    pub use super::source::TEXT_BYTES_MAX as TEXT_BYTES;
    pub use super::weights::SHARDS_MAX as SHARDS;
}
mod peft;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod weights;

use std::path::Path;

use serde_json::{Value, json};

pub use self::error::IoError;
pub use self::peft::{LoadedAdapter, adapter_bytes, adapter_from_bytes, load_adapter};
use self::source::Source;
use crate::{
    model::Model,
    template::{ChatTemplate, Controls},
    tokenizer::Tokenizer,
};

/// A model folder in memory.
pub struct Loaded {
    /// Shape and weights.
    pub model: Model,
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// How messages become one text; `None` if the folder has none.
    pub template: Option<ChatTemplate>,
    /// What was ignored or is odd, one sentence each.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("config", self.model.config())
            .field("tokenizer", &self.tokenizer)
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// Reads a model: a GGUF file (`.gguf`), a Hugging Face folder, or a folder that holds one GGUF
/// file and no `config.json`.
///
/// # Errors
/// If a file is missing, damaged, foreign, or does not fit the others; if a folder holds several
/// GGUF files.
pub fn load(path: &Path) -> Result<Loaded, IoError> {
    match Source::gguf(path)? {
        None => load_folder(path),
        Some((name, opened)) => gguf::load(&name, opened),
    }
}

/// Reads a GGUF file from memory.
///
/// # Errors
/// As [`load`]; messages call it `model.gguf`.
pub fn from_gguf(bytes: &[u8]) -> Result<Loaded, IoError> {
    let reader = Box::new(std::io::Cursor::new(bytes));
    gguf::load("model.gguf", source::Opened { reader, length: bytes.len() as u64 })
}

/// Reads a Hugging Face folder.
///
/// # Errors
/// If a file is missing, damaged, foreign, or does not fit the others.
pub fn load_folder(path: &Path) -> Result<Loaded, IoError> {
    load_files(&Source::folder(path)?)
}

/// Reads the same files from memory, as a checkpoint in the store holds them.
///
/// # Errors
/// As [`load_folder`].
pub fn from_bytes(files: &[(String, Vec<u8>)]) -> Result<Loaded, IoError> {
    load_files(&Source::memory(files))
}

/// Reads config.json and weights only, for folders without a tokenizer.
///
/// # Errors
/// As [`load_folder`].
pub fn load_weights(path: &Path) -> Result<(Model, Vec<String>), IoError> {
    let source = Source::folder(path)?;
    let settings = read_settings(&source)?;
    let mut notes = settings.notes;
    Ok((weights::read(&source, settings.config, &mut notes)?, notes))
}

fn load_files(source: &Source<'_>) -> Result<Loaded, IoError> {
    let settings = read_settings(source)?;
    let mut notes = settings.notes;
    let tokenizer_config = json_file(source, "tokenizer_config.json")?;
    let mut tokenizer = read_tokenizer(source, &mut notes)?;
    let rows = settings.config.vocabulary;
    compare_vocabulary("tokenizer.json", tokenizer.vocabulary(), rows, &mut notes)?;
    let mut ends = settings.end_of_text;
    if let Some(generation) = json_file(source, "generation_config.json")? {
        ends.extend(settings::ids(generation.get("eos_token_id")));
    }
    let controls = Controls::from_config(tokenizer_config.as_ref());
    ends.extend(controls.end.as_deref().and_then(|name| tokenizer.control(name)));
    ends.sort_unstable();
    ends.dedup();
    if let Some(id) = ends.iter().find(|id| **id as usize >= rows) {
        let problem = format!("`eos_token_id`: got {id}, expected an id below {rows}");
        return Err(IoError::problems("config.json", vec![problem]));
    }
    tokenizer.set_end_of_text(ends);
    let template = read_template(source, tokenizer_config.as_ref(), controls)?;
    if let Some(template) = &template
        && let Err(wrong) = template.check(&tokenizer)
    {
        notes.push(wrong.to_string());
    }
    let model = weights::read(source, settings.config, &mut notes)?;
    Ok(Loaded { model, tokenizer, template, notes })
}

fn read_settings(source: &Source<'_>) -> Result<settings::Settings, IoError> {
    let bytes = source.text("config.json")?.ok_or_else(|| IoError::Missing {
        file: "config.json".to_owned(),
        next: "give a Hugging Face folder of a Llama, Qwen2 or Qwen3 model",
    })?;
    header::recognise("config.json", "JSON", &bytes)?;
    settings::parse(&bytes)
}

fn read_tokenizer(source: &Source<'_>, notes: &mut Vec<String>) -> Result<Tokenizer, IoError> {
    let bytes = source.text("tokenizer.json")?.ok_or_else(|| IoError::Missing {
        file: "tokenizer.json".to_owned(),
        next: "save the tokenizer with transformers' `AutoTokenizer(...).save_pretrained`",
    })?;
    header::recognise("tokenizer.json", "JSON", &bytes)?;
    let (tokenizer, said) = Tokenizer::from_json(&bytes)?;
    notes.extend(said);
    Ok(tokenizer)
}

fn compare_vocabulary(
    file: &str,
    ids: usize,
    rows: usize,
    notes: &mut Vec<String>,
) -> Result<(), IoError> {
    if ids > rows {
        let problem = format!("got {ids} ids, expected at most the model's {rows} rows");
        return Err(IoError::problems(file, vec![problem]));
    }
    if ids < rows {
        notes.push(format!(
            "tokenizer has {ids} ids, model has {rows} rows: ids from {ids} on stand for no text"
        ));
    }
    Ok(())
}

/// A template of its own file wins, then the field of tokenizer_config.json, as in transformers.
fn read_template(
    source: &Source<'_>,
    tokenizer_config: Option<&Value>,
    controls: Controls,
) -> Result<Option<ChatTemplate>, IoError> {
    let own = source.text("chat_template.jinja")?;
    let text = match &own {
        Some(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        None => tokenizer_config
            .and_then(|config| config.get("chat_template"))
            .and_then(default_template)
            .map(str::to_owned),
    };
    Ok(text.map(|text| ChatTemplate::new(&text, controls)).transpose()?)
}

/// The field is a string, or a list of named templates of which `default` is the one.
fn default_template(field: &Value) -> Option<&str> {
    match field {
        Value::String(text) => Some(text),
        Value::Array(list) => list
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template"))
            .and_then(Value::as_str),
        _ => None,
    }
}

fn json_file(source: &Source<'_>, name: &str) -> Result<Option<Value>, IoError> {
    let Some(bytes) = source.text(name)? else { return Ok(None) };
    header::recognise(name, "JSON", &bytes)?;
    let wrong = |wrong| IoError::damaged(name, format!("not valid JSON: {wrong}"));
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

/// Every file of a Hugging Face folder by name, in a fixed order; for the store, which writes
/// checkpoints whole or not at all. An adapter is merged into the weights.
///
/// # Errors
/// If the weights cannot be laid out as safetensors.
pub fn folder_bytes(
    model: &Model,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<Vec<(String, Vec<u8>)>, IoError> {
    let ends = tokenizer.end_of_text();
    let weights = match model.adapter() {
        Some(_) => weights::write(&model.merged())?,
        None => weights::write(model)?,
    };
    let mut files = vec![
        ("config.json".to_owned(), settings::write(model.config(), ends)),
        ("model.safetensors".to_owned(), weights),
        ("tokenizer.json".to_owned(), tokenizer.to_json().to_vec()),
        ("tokenizer_config.json".to_owned(), tokenizer_config(model, tokenizer, template)),
        ("generation_config.json".to_owned(), settings::pretty(&json!({ "eos_token_id": ends }))),
    ];
    if let Some(template) = template {
        files.push(("chat_template.jinja".to_owned(), template.source().as_bytes().to_vec()));
    }
    Ok(files)
}

fn tokenizer_config(
    model: &Model,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Vec<u8> {
    let name = |id: Option<&u32>| id.and_then(|id| tokenizer.control_name(*id));
    let end = template
        .and_then(|template| template.controls().end.as_deref())
        .or_else(|| name(tokenizer.end_of_text().first()));
    let mut document = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.config().context,
        "clean_up_tokenization_spaces": false,
        "eos_token": end,
        "pad_token": end,
        // Said even where there is none: transformers' Qwen2 tokenizer else adds one of its own.
        "unk_token": tokenizer.unknown(),
    });
    if let Some(begin) = template.and_then(|template| template.controls().begin.as_deref()) {
        document["bos_token"] = json!(begin);
    }
    settings::pretty(&document)
}

/// Writes the files of [`folder_bytes`] into a new or empty folder.
///
/// This is for exports by hand; a run's checkpoints go through the store.
///
/// # Errors
/// If the folder holds files already or the system refuses.
pub fn save_folder(
    path: &Path,
    model: &Model,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
) -> Result<(), IoError> {
    let wrong = |source| IoError::writing(path, source);
    std::fs::create_dir_all(path).map_err(wrong)?;
    if std::fs::read_dir(path).map_err(wrong)?.next().is_some() {
        return Err(wrong(std::io::Error::other("expected an empty folder; name another")));
    }
    for (name, bytes) in folder_bytes(model, tokenizer, template)? {
        let path = path.join(name);
        std::fs::write(&path, bytes).map_err(|source| IoError::writing(&path, source))?;
    }
    Ok(())
}
