//! The 52 attempts: where their control runs, and what proves that it worked.

/// Where a control runs: an ordinary process amid the canaries, without any jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// As the user that runs the test.
    Here,
    /// In a network of its own with two addresses of the world, a host name of its own and a
    /// runtime mounted read-only: what it would change or reach stands in for the real one.
    World,
    /// With a terminal of its own that it leads.
    Terminal,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) number: u8,
    pub(crate) name: &'static str,
    pub(crate) control: Where,
    /// True where success means that the canary's value is told.
    pub(crate) reads: bool,
}

const fn attempt(number: u8, name: &'static str, control: Where, reads: bool) -> Attempt {
    Attempt { number, name, control, reads }
}

use Where::{Here, Terminal, World};

pub(crate) const ATTEMPTS: [Attempt; 52] = [
    attempt(1, "read a file by its absolute path", Here, true),
    attempt(2, "read a file by ../..", Here, true),
    attempt(3, "a planted link that the host reads", Here, true),
    attempt(4, "write through a link", Here, false),
    attempt(5, "a hard link to a file of the host", Here, true),
    attempt(6, "a race of names while the host copies", Here, true),
    attempt(7, "roots, folders and words of other processes", Here, true),
    attempt(8, "inherited descriptors", Here, true),
    attempt(9, "magic links", Here, true),
    attempt(10, "a file by its handle", Here, true),
    attempt(11, "mounts and other roots", World, false),
    attempt(12, "mount again, writable", World, false),
    attempt(13, "write the runtime", Here, false),
    attempt(14, "a pipe, a socket or a device as the artifact", Here, false),
    attempt(15, "huge files, deep folders, strange names", Here, false),
    attempt(16, "programs that run as their owner", Here, false),
    attempt(17, "devices", Here, false),
    attempt(18, "settings of the kernel", World, false),
    attempt(19, "trace another process", Here, false),
    attempt(20, "another's memory", Here, false),
    attempt(21, "another's descriptors", Here, true),
    attempt(22, "signals to others", Here, false),
    attempt(23, "a bomb of processes", Here, false),
    attempt(24, "a bomb of threads", Here, false),
    attempt(25, "a daemon that outlives its time", Here, false),
    attempt(26, "stopped, and deaf to SIGTERM", Here, false),
    attempt(27, "words into the terminal", Terminal, false),
    attempt(28, "memory and messages shared with the host", Here, true),
    attempt(29, "keyrings", Here, false),
    attempt(30, "priorities", Here, false),
    attempt(31, "dumps of memory", Here, false),
    attempt(32, "new and other namespaces", World, false),
    attempt(33, "the kernel's back doors", World, false),
    attempt(34, "io_uring", Here, false),
    attempt(35, "calls of other conventions", Here, false),
    attempt(36, "segments and personalities", Here, false),
    attempt(37, "filters that undo filters", Here, false),
    attempt(38, "execute what has no name", Here, false),
    attempt(39, "code and words through the environment", Here, false),
    attempt(40, "TCP to the host", Here, true),
    attempt(41, "TCP to the world", World, true),
    attempt(42, "UDP", Here, false),
    attempt(43, "other families of sockets", Here, false),
    attempt(44, "abstract sockets of the host", Here, true),
    attempt(45, "sockets of the host with a path", Here, false),
    attempt(46, "the description of a cloud's machine", World, true),
    attempt(47, "be called from outside", Here, false),
    attempt(48, "memory", Here, false),
    attempt(49, "time", Here, false),
    attempt(50, "floods of output", Here, false),
    attempt(51, "a full disk", Here, false),
    attempt(52, "open files", Here, false),
];

/// The program of an attempt, with its name first: the parts beside it, put together.
pub(crate) fn program(number: u8) -> String {
    let part = match number {
        ..=18 => include_str!("programs/files.py"),
        19..=31 => include_str!("programs/processes.py"),
        32..=39 => include_str!("programs/kernel.py"),
        40..=47 => include_str!("programs/network.py"),
        _ => include_str!("programs/resources.py"),
    };
    format!("{}\n{part}\nmain()\n", include_str!("programs/lib.py"))
}

/// The interpreter that every attempt runs in.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
/// What every canary begins with. Programs know it; what follows they do not.
pub(crate) const MARK: &str = "CANARY-";

/// One line of a program: what came of one way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) what: String,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Escaped,
    Stopped,
    /// This machine has no such thing, or the host tells.
    Absent,
}

/// The ways in what a program and its judge on the host said.
pub(crate) fn ways(text: &str) -> Vec<Way> {
    let kinds =
        [("ESCAPED ", Kind::Escaped), ("stopped ", Kind::Stopped), ("absent ", Kind::Absent)];
    let line = |line: &str| {
        let (word, kind) = kinds.iter().find(|(word, _)| line.starts_with(word))?;
        let (name, what) = line[word.len()..].split_once(": ")?;
        Some(Way { kind: *kind, name: name.to_owned(), what: what.to_owned() })
    };
    text.lines().filter_map(line).collect()
}
