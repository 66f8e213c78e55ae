//! The header of a safetensors file, read and checked before a byte of data is.
//!
//! The `safetensors` crate wants the whole file in memory and accepts a name that occurs twice;
//! a model may be larger than memory twice over, so the header is read here and tensors are then
//! read one by one. Writing goes through the crate.

use std::{
    fmt,
    io::{Read, Seek},
};

use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};

use super::{error::IoError, source::Opened};

/// The format's own limit on a header.
pub const HEADER_BYTES_MAX: u64 = 100_000_000;
/// Longest tensor name accepted.
pub const NAME_BYTES_MAX: usize = 512;

/// One tensor's place in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) dtype: String,
    pub(crate) shape: Vec<u64>,
    /// First byte, counted from the start of the file.
    pub(crate) begin: u64,
    /// Bytes of data.
    pub(crate) size: u64,
}

/// Reads and checks the header of `opened`.
pub(crate) fn read(file: &str, opened: &mut Opened<'_>) -> Result<Vec<Entry>, IoError> {
    let length = opened.length;
    let mut start = vec![0; length.min(64) as usize];
    read_exactly(file, opened, &mut start)?;
    recognise(file, "safetensors", &start)?;
    let Some(first) = start.first_chunk::<8>() else {
        return Err(IoError::damaged(
            file,
            format!("got {length} bytes, expected at least 8 for the header's length"),
        ));
    };
    let claimed = u64::from_le_bytes(*first);
    if claimed > length - 8 {
        return Err(IoError::damaged(
            file,
            format!("header claims {claimed} bytes, file has {length}"),
        ));
    }
    if claimed > HEADER_BYTES_MAX {
        return Err(IoError::damaged(
            file,
            format!("header claims {claimed} bytes, expected at most {HEADER_BYTES_MAX}"),
        ));
    }
    let mut text = vec![0; claimed as usize];
    seek(file, opened, 8)?;
    read_exactly(file, opened, &mut text)?;
    let raw: Vec<(String, Option<RawEntry>)> = serde_json::from_slice::<Entries>(&text)
        .map_err(|wrong| IoError::damaged(file, format!("header is not valid JSON: {wrong}")))?
        .0;
    let data = 8 + claimed;
    check(raw, data, length).map_err(|problem| IoError::damaged(file, problem))
}

/// Reads one tensor's bytes. The header was checked against the file's length, so the
/// allocation is bounded by it.
pub(crate) fn data(file: &str, opened: &mut Opened<'_>, entry: &Entry) -> Result<Vec<u8>, IoError> {
    seek(file, opened, entry.begin)?;
    let mut bytes = vec![0; entry.size as usize];
    read_exactly(file, opened, &mut bytes)?;
    Ok(bytes)
}

fn seek(file: &str, opened: &mut Opened<'_>, place: u64) -> Result<(), IoError> {
    let moved = opened.reader.seek(std::io::SeekFrom::Start(place));
    moved.map(drop).map_err(|source| IoError::reading(file.as_ref(), source))
}

fn read_exactly(file: &str, opened: &mut Opened<'_>, into: &mut [u8]) -> Result<(), IoError> {
    opened.reader.read_exact(into).map_err(|source| IoError::reading(file.as_ref(), source))
}

/// Tells what a file is when it is not what its name says.
pub(crate) fn recognise(file: &str, expected: &'static str, start: &[u8]) -> Result<(), IoError> {
    let trimmed = start.trim_ascii_start();
    let lower: Vec<u8> = trimmed.iter().take(14).map(u8::to_ascii_lowercase).collect();
    let (got, next) = if start.is_empty() {
        ("empty", "fetch or write it again")
    } else if start.starts_with(b"version https://git-lfs") {
        ("a Git-LFS pointer", "run `git lfs pull`")
    } else if lower.starts_with(b"<!doctype html") || lower.starts_with(b"<html") {
        ("an HTML page", "the download was redirected: fetch the file itself")
    } else if start.starts_with(b"GGUF") && expected != "GGUF" {
        ("a GGUF file", "give it a name that ends in .gguf")
    } else if start.starts_with(b"PK\x03\x04") || start.starts_with(&[0x80, 0x02, b'}']) {
        ("a PyTorch pickle", "pickle files can run code and are not read: convert to safetensors")
    } else {
        return Ok(());
    };
    Err(IoError::Foreign { file: file.to_owned(), expected, got, next })
}

/// A tensor as the header spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Entries in order, names kept even when they repeat.
struct Entries(Vec<(String, Option<RawEntry>)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tensor names")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<serde::de::IgnoredAny>()?;
                        entries.push((name, None));
                    } else {
                        let entry = map.next_value::<RawEntry>()?;
                        entries.push((name, Some(entry)));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// Bits of one value; `None` for a type this program has never heard of.
fn bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

fn check(
    raw: Vec<(String, Option<RawEntry>)>,
    data: u64,
    length: u64,
) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::with_capacity(raw.len());
    let mut names = std::collections::BTreeSet::new();
    for (name, entry) in raw {
        if !names.insert(name.clone()) {
            return Err(format!("tensor `{}` appears twice", name.escape_debug()));
        }
        let Some(entry) = entry else { continue };
        check_name(&name)?;
        entries.push(check_entry(name, &entry, data)?);
    }
    entries.sort_by_key(|entry| (entry.begin, entry.size));
    check_offsets(&entries, data, length)?;
    Ok(entries)
}

/// Names end up in messages and in files of ours: plain ones only.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty()
        || name.len() > NAME_BYTES_MAX
        || !name.chars().all(plain)
        || name.contains("..")
    {
        let shown: String = name.chars().take(80).collect();
        return Err(format!("tensor name is not plain: \"{}\"", shown.escape_debug()));
    }
    Ok(())
}

fn check_entry(name: String, raw: &RawEntry, data: u64) -> Result<Entry, String> {
    let [begin, end] = raw.data_offsets;
    let bits = bits(&raw.dtype).ok_or_else(|| {
        format!("tensor `{name}` has an unknown type: got {}", raw.dtype.escape_debug())
    })?;
    let size = raw
        .shape
        .iter()
        .try_fold(bits / 8, |size, side| size.checked_mul(*side))
        .ok_or_else(|| format!("tensor `{name}`: shape {:?} overflows", raw.shape))?;
    if begin.checked_add(size) != Some(end) {
        return Err(format!(
            "tensor `{name}`: shape {:?} of {} needs {size} bytes, offsets are {begin}..{end}",
            raw.shape, raw.dtype
        ));
    }
    let begin = begin.checked_add(data).ok_or_else(|| format!("tensor `{name}` overflows"))?;
    Ok(Entry { name, dtype: raw.dtype.clone(), shape: raw.shape.clone(), begin, size })
}

/// Data lies without overlap, hole or remainder, and all of it is there.
fn check_offsets(entries: &[Entry], data: u64, length: u64) -> Result<(), String> {
    let mut end = data;
    let mut before = "the header";
    for entry in entries {
        if entry.begin < end {
            let byte = entry.begin - data;
            return Err(format!("tensors `{before}` and `{}` overlap at byte {byte}", entry.name));
        }
        if entry.begin > end {
            let hole = entry.begin - end;
            return Err(format!("{hole} unused bytes before tensor `{}`", entry.name));
        }
        end = entry
            .begin
            .checked_add(entry.size)
            .ok_or_else(|| format!("tensor `{}` overflows", entry.name))?;
        before = &entry.name;
    }
    if end > length {
        return Err(format!("truncated: header needs {end} bytes, file has {length}"));
    }
    if end < length {
        return Err(format!("{} bytes after the last tensor", length - end));
    }
    Ok(())
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
