//! Starting the built binary, and looking at what it left.
#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

pub(crate) mod faults;
pub(crate) mod refused;
pub(crate) mod terminal;
pub(crate) mod whole;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Fails unless the command was fine.
    #[track_caller]
    pub(crate) fn fine(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.out, self.err);
        self
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Said {
        let code = output.status.code();
        let text = |bytes: Vec<u8>| match code {
            Some(_) => String::from_utf8(bytes).unwrap(),
            // Who was killed may have been in the middle of a letter.
            None => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Said { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

/// The binary, in a folder of its own and without words of this machine.
pub(crate) fn stepwell(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepwell"));
    command.args(words).current_dir(folder).env_remove("COLUMNS").stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(folder: &Path, words: &[&str]) -> Said {
    stepwell(folder, words).output().unwrap().into()
}

/// Starts a command whose output can be read while it runs.
pub(crate) fn start(folder: &Path, words: &[&str]) -> Child {
    let mut command = stepwell(folder, words);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// A recipe that runs in a second: every stage, every kind of artefact, and nothing learnt.
pub(crate) const TINY: &str = include_str!("tiny.toml");

/// A folder with `tiny.toml`.
pub(crate) fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), TINY).unwrap();
    folder
}

/// Everything under a folder: path and bytes, in order.
pub(crate) fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let name = path.strip_prefix(folder).unwrap().to_owned();
            let plain = path.is_file();
            found.push((name, if plain { std::fs::read(&path).unwrap() } else { Vec::new() }));
        }
    }
    found.sort();
    found
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for (name, bytes) in contents(from) {
        std::fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        std::fs::write(to.join(name), bytes).unwrap();
    }
}

/// Every command that reads a run, each of which must be fine. What they write goes into a folder
/// `out`, made in `place`.
#[track_caller]
pub(crate) fn reading(here: &Path, name: &str, place: &Path, ask: impl Fn(&[&str]) -> Said) {
    let out = place.join("out");
    std::fs::create_dir(&out).unwrap();
    // Whoever asks may be another user.
    let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(&out, anybody).unwrap();
    let at = |file: &str| out.join(file).display().to_string();
    assert!(ask(&["inspect", name]).fine().out.contains("question: "));
    ask(&["inspect", name, "--checkpoint"]).fine();
    ask(&["runs", "."]).fine();
    ask(&["compare", name, name]).fine();
    ask(&["recipe", "show", &format!("{name}/recipe.toml")]).fine();
    assert!(ask(&["eval", name, "--questions", "1"]).fine().out.contains("greedy"));
    let played = ask(&["play", name, "--task", "0", "--attempts", "1"]).fine();
    assert!(played.out.contains("attempt 1 of 1"), "{}", played.out);
    let checked = ask(&["check", name]).fine();
    assert!(checked.out.contains("commits in an unbroken chain"), "{}", checked.out);
    for (option, format) in [
        ("--format", "jsonl"),
        ("--format", "parquet"),
        ("--format", "huggingface"),
        ("--metrics", "csv"),
        ("--metrics", "tensorboard"),
    ] {
        let file = at(format);
        ask(&["export", name, option, format, &file]).fine();
        assert!(Path::new(&file).exists(), "{}: {format}", here.display());
    }
}

/// True where a test needs packages of Python that `doctor` does not find: it says why, and whoever
/// counts the tests counts this too.
pub(crate) fn skipped(folder: &Path, package: &str, name: &str) -> bool {
    let said = run(folder, &["doctor", "--json"]).fine();
    let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    if found[package]["ok"] == true {
        return false;
    }
    count_skip(name, found[package]["found"].as_str().unwrap());
    true
}

/// Tells whoever counts the tests of one that cannot run here.
pub(crate) fn count_skip(name: &str, reason: &str) {
    use std::io::Write as _;
    let Some(list) = std::env::var_os("STEPWELL_SKIPPED") else { return };
    let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
    // One write: tests run side by side, and lines must not mix.
    list.write_all(format!("{name}: {reason}\n").as_bytes()).unwrap();
}
