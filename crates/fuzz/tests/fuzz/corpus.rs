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

/// Keeps an input that failed, so that it is tried first from now on.
pub(crate) fn keep(target: &str, bytes: &[u8]) -> PathBuf {
    let name = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder(target).join(format!("crash-{name:016x}{HEX}"));
    std::fs::write(&path, hex(bytes)).unwrap();
    path
}
