//! Faults at the system calls of a real process, injected by strace.

use std::path::Path;
use std::process::Command;

use super::Said;

/// The calls by which a run changes what is on the disk.
pub(crate) const EFFECTS: [&str; 10] = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "ftruncate",
];

/// What happens to a process when it makes a call for the k-th time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) call: &'a str,
    /// As strace says it: `signal=SIGKILL`, `error=EIO`.
    pub(crate) what: &'a str,
    /// Counts from 1.
    pub(crate) when: usize,
    /// At every later call, too.
    pub(crate) onward: bool,
}

impl std::fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let onward = if self.onward { "+" } else { "" };
        write!(f, "{}:{}:when={}{onward}", self.call, self.what, self.when)
    }
}

/// One call of a trace: its name, and its arguments with the paths of descriptors.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    pub(crate) arguments: String,
}

fn strace(folder: &Path, words: &[&str], options: &[&str]) -> Said {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq"]).args(options);
    command.arg(env!("CARGO_BIN_EXE_stepwell")).args(words).current_dir(folder);
    command.env_remove("COLUMNS").stdin(std::process::Stdio::null()).output().unwrap().into()
}

/// True where this machine cannot inject faults: whoever counts the tests counts this too.
pub(crate) fn cannot_inject(test: &str) -> bool {
    let tried = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).output();
    let reason = match tried {
        Ok(output) if output.status.success() => return false,
        Ok(output) => format!("strace: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => format!("strace: {error}; on Debian: apt-get install strace"),
    };
    super::count_skip(test, &reason);
    true
}

/// Runs the binary until the fault, or past it.
pub(crate) fn injected(folder: &Path, words: &[&str], fault: Fault<'_>) -> Said {
    let [trace, inject] = [format!("trace={}", fault.call), format!("inject={fault}")];
    strace(folder, words, &["-o", "/dev/null", "-e", &trace, "-e", &inject])
}

/// Runs the binary to its end; the calls of these names that its first thread made, in order.
pub(crate) fn traced(folder: &Path, words: &[&str], calls: &[&str]) -> Vec<Call> {
    let trace = format!("trace={}", calls.join(","));
    // Paths of descriptors; texts long enough for a path.
    let options = ["-o", "calls.strace", "-y", "-s", "200", "-e", &trace];
    strace(folder, words, &options).fine();
    let log = std::fs::read_to_string(folder.join("calls.strace")).unwrap();
    let first = log.split_whitespace().next().unwrap().to_owned();
    let own =
        log.lines().filter_map(|line| line.strip_prefix(&first)?.trim_start().split_once('('));
    own.map(|(name, rest)| Call { name: name.to_owned(), arguments: rest.to_owned() }).collect()
}

/// `few` of the numbers 1 to `count`, evenly spread, the first and the last among them; all where
/// the long form of the tests is asked for.
pub(crate) fn spread(count: usize, few: usize) -> Vec<usize> {
    if long() || few >= count {
        return (1..=count).collect();
    }
    (0..few).map(|i| 1 + i * (count - 1) / (few - 1).max(1)).collect()
}

/// True where every case is asked for, not a sample.
pub(crate) fn long() -> bool {
    std::env::var_os("STEPWELL_LONG").is_some_and(|value| value == "1")
}
