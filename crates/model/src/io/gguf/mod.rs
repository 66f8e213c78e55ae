//! GGUF files, llama.cpp's one-file format: shape, weights, tokenizer and chat template of one
//! model, read into the same [`Loaded`] as a Hugging Face folder. What a run then writes is such a
//! folder.
//!
//! Weights become `f32` whatever they were stored as, so a quantised file is a starting point:
//! training goes on from the values that its blocks stand for.

/// Named maxima of GGUF files.
pub(crate) mod limits {
    pub use super::header::{NAME_BYTES_MAX as GGUF_NAME_BYTES, SIDES_MAX as GGUF_SIDES};
    pub use super::value::{KEY_BYTES_MAX as GGUF_KEY_BYTES, TEXT_BYTES_MAX as GGUF_TEXT_BYTES};
}
mod header;
mod merges;
mod quant;
mod reader;
mod rope;
mod settings;
#[cfg(test)]
mod tests;
mod tokenizer;
mod value;
mod weights;

use self::{header::Header, reader::Reader, value::Value};
use super::{Loaded, compare_vocabulary, error::IoError, source::Opened};
use crate::{
    template::{ChatTemplate, Controls},
    tokenizer::Tokenizer,
};

/// Reads an opened file; `file` is its name in messages.
pub(super) fn load(file: &str, opened: Opened<'_>) -> Result<Loaded, IoError> {
    let mut reader = Reader::new(file, opened);
    let header = header::read(&mut reader)?;
    refuse_parts(file, &header)?;
    let mut notes = Vec::new();
    let factors = rope_factors(&mut reader, &header)?;
    let config = settings::read(file, &header, factors.as_deref(), &mut notes)?;
    let (tokenizer, controls) = tokenizer(file, &header, config.vocabulary, &mut notes)?;
    let template = match header.metadata.get("tokenizer.chat_template") {
        Some(Value::Text(source)) => Some(ChatTemplate::new(source, controls)?),
        _ => None,
    };
    if let Some(template) = &template
        && let Err(wrong) = template.check(&tokenizer)
    {
        notes.push(wrong.to_string());
    }
    let model = weights::read(&mut reader, &header, config)?;
    Ok(Loaded { model, tokenizer, template, notes })
}

/// A model in several files has its weights elsewhere.
fn refuse_parts(file: &str, header: &Header) -> Result<(), IoError> {
    match header.metadata.get("split.count") {
        Some(Value::Whole(count)) if *count > 1 => Err(IoError::problems(
            file,
            vec![format!(
                "`split.count`: got {count}, expected one file; join them with \
                 `llama-gguf-split --merge`"
            )],
        )),
        _ => Ok(()),
    }
}

fn rope_factors(reader: &mut Reader<'_>, header: &Header) -> Result<Option<Vec<f32>>, IoError> {
    let Some(entry) = header.tensor(weights::ROPE_FACTORS) else { return Ok(None) };
    // One divisor per pair of a head; a larger tensor is something else and is not read.
    let most = 1 << 16;
    if entry.size > most {
        let name = &entry.name;
        let problem = format!("`{name}`: got {} bytes, expected at most {most}", entry.size);
        return Err(IoError::problems(reader.file(), vec![problem]));
    }
    let bytes = reader.data(entry.begin, entry.size)?;
    Ok(Some(entry.kind.to_f32(&bytes)))
}

fn tokenizer(
    file: &str,
    header: &Header,
    rows: usize,
    notes: &mut Vec<String>,
) -> Result<(Tokenizer, Controls), IoError> {
    let refused = |problem: String| IoError::problems(file, vec![problem]);
    let words = tokenizer::read(&header.metadata).map_err(refused)?;
    compare_vocabulary(file, words.size, rows, notes)?;
    let (mut tokenizer, said) = Tokenizer::from_json(words.document.to_string().as_bytes())
        .map_err(|wrong| refused(format!("its tokenizer, written as {wrong}")))?;
    notes.extend(words.notes.into_iter().map(|note| format!("{file}: {note}")));
    notes.extend(said);
    tokenizer.set_end_of_text(words.ends);
    Ok((tokenizer, words.controls))
}
