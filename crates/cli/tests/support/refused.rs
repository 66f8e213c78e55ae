//! Words that must be refused, whatever they ask for: this code, this text, little time and memory,
//! no panic, and nothing written.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Said, contents};

/// Seconds of processor time: ten times what a refusal needs at most, so that a busy machine does
/// not matter, and far from a program that hangs.
const CPU_SECONDS: u32 = 5;
/// Address space, in KiB: a table of threads and a small model, and far from a file of gigabytes.
const MEMORY_KIB: u32 = 2 << 20;

/// How long it may take in all, on a machine however busy.
const PATIENCE: Duration = Duration::from_secs(60);

type File = (PathBuf, Vec<u8>);

/// Runs the binary under limits of time and memory; past one it is killed and has no exit code.
pub(crate) fn bounded(folder: &Path, words: &[&str]) -> Said {
    let limits = format!("ulimit -t {CPU_SECONDS} && ulimit -v {MEMORY_KIB} && exec \"$0\" \"$@\"");
    let mut child = Command::new("sh")
        .args(["-c", &limits, env!("CARGO_BIN_EXE_stepwell")])
        .args(words)
        .current_dir(folder)
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who waits for a pipe takes no processor time. What is said is short and fits into the pipes.
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap().into()
}

/// Fails on any byte that a terminal would act upon.
#[track_caller]
pub(crate) fn harmless(text: &str) {
    let acts = |c: char| {
        (c < ' ' && c != '\n' && c != '\t')
            || ('\u{7f}'..='\u{9f}').contains(&c)
            || ('\u{202a}'..='\u{202e}').contains(&c)
            || ('\u{2066}'..='\u{2069}').contains(&c)
    };
    assert!(!text.chars().any(acts), "{text:?}");
}

/// Runs words that must be refused with this code and this text.
#[track_caller]
pub(crate) fn refused(folder: &Path, words: &[&str], code: i32, text: &str) -> Said {
    let before = contents(folder);
    let said = bounded(folder, words);
    assert_eq!(said.code, Some(code), "{words:?}: {}\n{}", said.out, said.err);
    assert!(said.err.contains(text), "{words:?}:\n{}expected: {text}", said.err);
    assert!(said.err.contains("error: "), "{words:?}: {}", said.err);
    assert!(said.err.len() < 20_000, "{words:?}: {} bytes of errors", said.err.len());
    for word in ["panicked", "RUST_BACKTRACE", "Error {", "Os {", "bug: "] {
        assert!(!said.err.contains(word), "{words:?}: {}", said.err);
    }
    harmless(&said.err);
    // Opening a run for writing puts a name into its lock, whatever follows.
    let after = contents(folder);
    let same = |(old, new): (&File, &File)| old == new || old.0.ends_with("lock");
    let names = |found: &[File]| -> Vec<PathBuf> { found.iter().map(|(n, _)| n.clone()).collect() };
    assert_eq!(names(&before), names(&after), "{words:?} wrote something");
    assert!(before.iter().zip(&after).all(same), "{words:?} changed a file");
    said
}
