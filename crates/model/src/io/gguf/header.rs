//! The header of a GGUF file: metadata and the places of tensors, checked before a weight is read.

use std::collections::BTreeSet;

use super::{
    quant::{self, Kind},
    reader::Reader,
    value::{self, Metadata, Value},
};
use crate::io::{error::IoError, header};

const MAGIC: &[u8] = b"GGUF";
/// What tensors begin at a multiple of, unless the file says otherwise.
const ALIGNMENT: u64 = 32;
/// Longest tensor name; the format's own limit is shorter.
pub const NAME_BYTES_MAX: u64 = 512;
/// Most dimensions of a tensor.
pub const SIDES_MAX: u32 = 4;
/// Bytes of the shortest tensor entry: an empty name, no side, type and offset.
const ENTRY_BYTES_MIN: u64 = 8 + 4 + 4 + 8;

/// One tensor's place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Row-major, as in a Hugging Face folder: the file lists sides from the innermost out.
    pub(super) shape: Vec<u64>,
    /// First byte, counted from the start of the file.
    pub(super) begin: u64,
    /// Bytes of data.
    pub(super) size: u64,
}

/// What the file says about itself.
pub(super) struct Header {
    pub(super) metadata: Metadata,
    /// In the order of their data.
    pub(super) tensors: Vec<Entry>,
}

impl Header {
    pub(super) fn tensor(&self, name: &str) -> Option<&Entry> {
        self.tensors.iter().find(|entry| entry.name == name)
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Result<Header, IoError> {
    version(reader)?;
    let tensor_count = reader.u64("number of tensors")?;
    let entry_count = reader.u64("number of metadata entries")?;
    let metadata = value::read(reader, entry_count)?;
    let alignment = alignment(&metadata).map_err(|problem| reader.damaged(problem))?;
    reader.room("tensors", tensor_count, ENTRY_BYTES_MIN)?;
    let mut raw = Vec::new();
    let mut names = BTreeSet::new();
    for _ in 0..tensor_count {
        let entry = tensor(reader)?;
        if !names.insert(entry.name.clone()) {
            return Err(reader.damaged(format!("tensor `{}` appears twice", entry.name)));
        }
        raw.push(entry);
    }
    let tensors = place(raw, reader.at(), alignment, reader.length());
    Ok(Header { metadata, tensors: tensors.map_err(|problem| reader.damaged(problem))? })
}

fn version(reader: &mut Reader<'_>) -> Result<(), IoError> {
    let length = reader.length();
    let start = reader.data(0, length.min(64))?;
    header::recognise(reader.file(), "GGUF", &start)?;
    if !start.starts_with(MAGIC) {
        let got: String = start.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        return Err(reader.damaged(format!("got bytes {got} at its start, expected `GGUF`")));
    }
    reader.data(0, MAGIC.len() as u64)?;
    let version = reader.u32("version")?;
    let foreign = |got, next| {
        let file = reader.file().to_owned();
        Err(IoError::Foreign { file, expected: "GGUF version 2 or 3", got, next })
    };
    match version {
        2 | 3 => Ok(()),
        1 => foreign("version 1", "convert the model again with a present-day converter"),
        other if matches!(other.swap_bytes(), 1..=99) => {
            foreign("big-endian", "convert it with `gguf-convert-endian FILE little`")
        }
        other => Err(IoError::problems(
            reader.file(),
            vec![format!("version: got {other}, expected 2 or 3")],
        )),
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, String> {
    let Some(value) = metadata.get("general.alignment") else { return Ok(ALIGNMENT) };
    match value {
        Value::Whole(size) if (1..=1 << 30).contains(size) && size.count_ones() == 1 => {
            Ok(*size as u64)
        }
        other => Err(format!(
            "`general.alignment`: got {}, expected a power of two up to 2^30",
            other.shown()
        )),
    }
}

/// One entry of the list; `begin` still counts from the start of the data.
fn tensor(reader: &mut Reader<'_>) -> Result<Entry, IoError> {
    let name = reader.text("tensor name", NAME_BYTES_MAX)?;
    header::check_name(&name).map_err(|problem| reader.damaged(problem))?;
    let what = format!("tensor `{name}`");
    let sides = reader.u32(&what)?;
    if !(1..=SIDES_MAX).contains(&sides) {
        let problem = format!("{what} has {sides} dimensions, expected 1 to {SIDES_MAX}");
        return Err(reader.damaged(problem));
    }
    let mut shape = Vec::new();
    for _ in 0..sides {
        shape.push(reader.u64(&what)?);
    }
    let number = reader.u32(&what)?;
    let begin = reader.u64(&what)?;
    let kind = match quant::named(number) {
        Some((_, Some(kind))) => kind,
        Some((got, None)) => {
            let expected = quant::names();
            return Err(IoError::problems(
                reader.file(),
                vec![format!("{what} has type {got}, expected one of {expected}")],
            ));
        }
        None => return Err(reader.damaged(format!("{what} has an unknown type: got {number}"))),
    };
    let size = size(&what, kind, &shape).map_err(|problem| reader.damaged(problem))?;
    shape.reverse();
    Ok(Entry { name, kind, shape, begin, size })
}

/// Bytes of a tensor; its innermost side comes first.
fn size(what: &str, kind: Kind, shape: &[u64]) -> Result<u64, String> {
    let (values, bytes) = kind.block();
    if !shape[0].is_multiple_of(values) {
        return Err(format!(
            "{what}: got rows of {} values, expected a multiple of {values} for its type",
            shape[0]
        ));
    }
    if shape.contains(&0) {
        return Err(format!("{what}: shape {shape:?} holds nothing"));
    }
    let count = shape.iter().try_fold(1, |count: u64, side| count.checked_mul(*side));
    // A model's own arithmetic counts in f32: those bytes must not overflow either.
    let count = count.filter(|count| *count < 1 << 60);
    let size = count.and_then(|count| (count / values).checked_mul(bytes));
    size.ok_or_else(|| format!("{what}: shape {shape:?} overflows"))
}

/// Data lies aligned, in the file, without overlap or hole.
fn place(
    mut tensors: Vec<Entry>,
    header_end: u64,
    alignment: u64,
    length: u64,
) -> Result<Vec<Entry>, String> {
    let data = header_end.next_multiple_of(alignment);
    for entry in &mut tensors {
        let (name, offset) = (&entry.name, entry.begin);
        if !offset.is_multiple_of(alignment) {
            return Err(format!(
                "tensor `{name}`: got offset {offset}, expected a multiple of {alignment}"
            ));
        }
        let begin = data.checked_add(offset);
        let end = begin.and_then(|begin| begin.checked_add(entry.size));
        let (Some(begin), Some(end)) = (begin, end) else {
            return Err(format!("tensor `{name}`: offset {offset} overflows"));
        };
        if end > length {
            return Err(format!("truncated: tensor `{name}` ends at {end}, file has {length}"));
        }
        entry.begin = begin;
    }
    tensors.sort_by_key(|entry| (entry.begin, entry.size));
    check_gaps(&tensors, data, alignment, length)?;
    Ok(tensors)
}

fn check_gaps(tensors: &[Entry], data: u64, alignment: u64, length: u64) -> Result<(), String> {
    let (mut end, mut before) = (data, "the header");
    for entry in tensors {
        if entry.begin < end {
            let byte = entry.begin - data;
            return Err(format!("tensors `{before}` and `{}` overlap at byte {byte}", entry.name));
        }
        // Alignment leaves gaps of its own; a larger one hides something.
        let expected = end.next_multiple_of(alignment);
        if entry.begin != expected {
            let hole = entry.begin - expected;
            return Err(format!("{hole} unused bytes before tensor `{}`", entry.name));
        }
        (end, before) = (entry.begin + entry.size, &entry.name);
    }
    if length > end.next_multiple_of(alignment) {
        return Err(format!("{} bytes after the last tensor", length - end));
    }
    Ok(())
}
