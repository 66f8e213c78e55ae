//! Metadata of a GGUF file: named values, of which those that are needed are kept.

use std::collections::BTreeMap;

use super::reader::Reader;
use crate::io::error::IoError;

/// Longest key, as the format says.
pub const KEY_BYTES_MAX: u64 = 65_535;
/// Longest string: a chat template may be long, nothing needed is longer.
pub const TEXT_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the shortest entry: an empty key, its type, one byte.
const ENTRY_BYTES_MIN: u64 = 8 + 4 + 1;

const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// A value that was kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Whole(i128),
    Number(f64),
    Flag(bool),
    Text(String),
    Texts(Vec<String>),
    Numbers(Vec<f64>),
    /// An array that nobody needs was read over.
    Skipped,
}

impl Value {
    /// The value in a message; long ones by their kind.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Whole(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::Flag(value) => value.to_string(),
            Self::Text(text) => {
                let start: String = text.chars().take(80).collect();
                format!("\"{}\"", start.escape_debug())
            }
            Self::Texts(_) | Self::Numbers(_) | Self::Skipped => "an array".to_owned(),
        }
    }
}

/// Every value by its key.
pub(super) type Metadata = BTreeMap<String, Value>;

/// Arrays that are kept: those of the vocabulary.
const KEPT: [&str; 4] = [
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
];

pub(super) fn read(reader: &mut Reader<'_>, count: u64) -> Result<Metadata, IoError> {
    reader.room("metadata entries", count, ENTRY_BYTES_MIN)?;
    let mut metadata = Metadata::new();
    for number in 0..count {
        let key = reader.text(&format!("key {number}"), KEY_BYTES_MAX)?;
        let shown: String = key.chars().take(80).collect();
        let what = format!("`{}`", shown.escape_debug());
        let kind = reader.u32(&what)?;
        let value = match kind {
            ARRAY => array(reader, &key, &what)?,
            kind => scalar(reader, kind, &what)?,
        };
        if metadata.insert(key, value).is_some() {
            return Err(reader.damaged(format!("key {what} appears twice")));
        }
    }
    Ok(metadata)
}

/// Bytes of a number or flag; `None` for strings, arrays and types that do not exist.
fn size(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

fn scalar(reader: &mut Reader<'_>, kind: u32, what: &str) -> Result<Value, IoError> {
    Ok(match kind {
        0 => Value::Whole(i128::from(u8::from_le_bytes(reader.array(what)?))),
        1 => Value::Whole(i128::from(i8::from_le_bytes(reader.array(what)?))),
        2 => Value::Whole(i128::from(u16::from_le_bytes(reader.array(what)?))),
        3 => Value::Whole(i128::from(i16::from_le_bytes(reader.array(what)?))),
        4 => Value::Whole(i128::from(reader.u32(what)?)),
        5 => Value::Whole(i128::from(i32::from_le_bytes(reader.array(what)?))),
        6 => Value::Number(decimal(f32::from_le_bytes(reader.array(what)?))),
        7 => match reader.array(what)? {
            [0] => Value::Flag(false),
            [1] => Value::Flag(true),
            [other] => {
                return Err(reader.damaged(format!("{what}: got {other}, expected 0 or 1")));
            }
        },
        TEXT => Value::Text(reader.text(what, TEXT_BYTES_MAX)?),
        10 => Value::Whole(i128::from(reader.u64(what)?)),
        11 => Value::Whole(i128::from(i64::from_le_bytes(reader.array(what)?))),
        12 => Value::Number(f64::from_le_bytes(reader.array(what)?)),
        other => {
            let problem =
                format!("{what} has an unknown value type: got {other}, expected 0 to 12");
            return Err(reader.damaged(problem));
        }
    })
}

/// The file holds `f32`; the decimal that was meant is the shortest that rounds to it. So an
/// epsilon of 1e-5 is 1e-5, as in the `config.json` it came from.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn array(reader: &mut Reader<'_>, key: &str, what: &str) -> Result<Value, IoError> {
    let kind = reader.u32(what)?;
    let count = reader.u64(what)?;
    let kept = KEPT.contains(&key);
    match (kind, size(kind)) {
        (ARRAY, _) => {
            Err(reader.damaged(format!("{what} is an array of arrays: expected one level")))
        }
        (TEXT, _) => {
            // A string takes at least its length.
            reader.room(what, count, 8)?;
            let mut texts = Vec::new();
            for _ in 0..count {
                if kept {
                    texts.push(reader.text(what, TEXT_BYTES_MAX)?);
                } else {
                    let length = reader.u64(what)?;
                    reader.skip(what, length, 1)?;
                }
            }
            Ok(if kept { Value::Texts(texts) } else { Value::Skipped })
        }
        (kind, Some(size)) => {
            reader.room(what, count, size)?;
            if !kept {
                reader.skip(what, count, size)?;
                return Ok(Value::Skipped);
            }
            let mut numbers = Vec::new();
            for _ in 0..count {
                numbers.push(match scalar(reader, kind, what)? {
                    Value::Whole(value) => value as f64,
                    Value::Number(value) => value,
                    other => {
                        let got = other.shown();
                        return Err(reader.damaged(format!("{what}: got {got}, expected numbers")));
                    }
                });
            }
            Ok(Value::Numbers(numbers))
        }
        (other, None) => Err(reader
            .damaged(format!("{what} has an unknown value type: got {other}, expected 0 to 12"))),
    }
}
