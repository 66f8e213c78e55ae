//! Known inputs of a target: files as they are, or hexadecimal in a `.hex.txt`.

use std::path::{Path, PathBuf};

const HEX: &str = ".hex.txt";

/// Where a target's inputs are.
pub(crate) fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// All of a target, in the order of their names.
pub(crate) fn read(target: &str) -> Vec<Vec<u8>> {
    let folder = folder(target);
    let list = std::fs::read_dir(&folder);
    let list = list.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(|path| decode(path)).collect();
    assert!(inputs.len() >= 3, "{}: a corpus of {} inputs", folder.display(), inputs.len());
    inputs
}

fn decode(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if !path.to_string_lossy().ends_with(HEX) {
        return bytes;
    }
    let digits: Vec<u8> = bytes.into_iter().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The bytes in lines of 48.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let line = |part: &[u8]| part.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    bytes.chunks(48).map(line).collect::<Vec<_>>().join("\n") + "\n"
}

/// Writes an input of a target under a name, as it is where it is text for people.
pub(crate) fn write(target: &str, name: &str, bytes: &[u8]) -> PathBuf {
    let folder = folder(target);
    std::fs::create_dir_all(&folder).unwrap();
    let is_file = name.contains('.');
    let path = folder.join(if is_file { name.to_owned() } else { format!("{name}{HEX}") });
    let hex = || hex(bytes).into_bytes();
    std::fs::write(&path, if is_file { bytes.to_vec() } else { hex() }).unwrap();
    path
}

/// Keeps an input that failed, so that it is tried first from now on.
pub(crate) fn keep(target: &str, bytes: &[u8]) -> PathBuf {
    let mark = mark(bytes.iter().map(|byte| u64::from(*byte)));
    write(target, &format!("crash-{mark:016x}"), bytes)
}

/// A number that tells sequences apart (FNV-1a).
pub(crate) fn mark(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0xcbf2_9ce4_8422_2325, |hash, word| (hash ^ word).wrapping_mul(0x0100_0000_01b3))
}
