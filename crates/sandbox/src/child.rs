//! Other lives of this binary: `stepwell __child ROLE ...`.
//!
//! A child of a threaded engine must not allocate between fork and its lock-down, so it starts
//! anew, with one thread, as the same file under another role.

use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{cgroup, holes, jail, launch, probe};

/// The first word of a child's arguments.
const WORD: &str = "__child";

/// Set by [`enter`]: this process can start itself again.
static CAN_START: AtomicBool = AtomicBool::new(false);

/// What a child does under a name. `run` gets the words behind the name.
#[derive(Clone, Copy)]
pub struct Role {
    /// The word on its command line.
    pub name: &'static str,
    /// Its `main`.
    pub run: fn(&[String]) -> ExitCode,
}

/// The first line of `main`: where this process is a child, lives its life and gives its exit
/// code; else notes that the binary can start itself, and gives `None`.
///
/// Call it before any thread is started.
pub fn enter(roles: &[Role]) -> Option<ExitCode> {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).skip(1).collect();
    if words.first().map(String::as_str) != Some(WORD) {
        CAN_START.store(true, Ordering::Release);
        return None;
    }
    let own = [launch::ROLE, jail::ROLE, cgroup::ROLE, probe::ROLE, probe::FREE];
    let name = words.get(1).map_or("", String::as_str);
    let Some(role) = own.iter().chain(roles).find(|role| role.name == name) else {
        return Some(ExitCode::from(2));
    };
    Some((role.run)(&words[2..]))
}

/// True where `main` called [`enter`]: a library's test program, say, did not.
pub fn can_start() -> bool {
    CAN_START.load(Ordering::Acquire)
}

/// This binary under a role, without environment; `None` where [`can_start`] is false.
///
/// It is named through the running process, so that it is the same program even where the file
/// was replaced since.
pub fn command(role: &Role) -> Option<Command> {
    can_start().then(|| {
        let mut command = Command::new("/proc/self/exe");
        command.args([WORD, role.name]);
        if !holes::current().has(holes::ENVIRONMENT) {
            command.env_clear();
        }
        command
    })
}

/// The words that make the program behind a descriptor take up a role.
pub(crate) fn words(role: &Role) -> [&'static str; 2] {
    [WORD, role.name]
}

/// Closes every descriptor but the three standard ones: whoever started the parent may have left
/// files and sockets open that every process below inherits. For a child's first moment, when it
/// has one thread and nothing of its own is open.
///
/// # Errors
/// There is no `/proc`.
pub fn close_inherited() -> std::io::Result<()> {
    let mut numbers: Vec<i32> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in numbers.into_iter().filter(|number| *number > 2) {
        // The listing's own is closed by now, and says so.
        let _ = nix::unistd::close(number);
    }
    Ok(())
}
