//! A jail: one program of a stranger, in namespaces of its own, with a workspace that is nobody
//! else's folder.
//!
//! ```text
//! engine ─▶ launch: cgroup, nobody ─▶ bubblewrap: namespaces, private root ─▶ inner: limits,
//!           Landlock, system calls ─▶ "ready" ─▶ (the engine holds the workspace) ─▶ "go" ─▶ program
//! ```
//!
//! What fails before "ready" is a failure of the harness; what happens after "go" is the program's.
//! Dropping a [`Jail`] ends every process in it. Its standard pipes are read and written with
//! deadlines, so no program makes the engine wait longer than it says.

mod first;
mod inner;
mod run;
mod spawner;
mod usage;

pub(crate) use inner::Orders;
pub use run::Finished;
pub use usage::Usage;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use self::first::First;
use crate::artifact::{self, ArtifactError};
use crate::cgroup::Group;
use crate::child::Role;
use crate::holes;
use crate::launch::{self, Plan};
use crate::layer::LayerError;
use crate::pipe::{Pipe, Stuck};

/// The role of the program that locks itself in.
pub(crate) const ROLE: Role = Role { name: "jail", run: inner::run };
/// The folder of a jail that can be written.
pub const WORKSPACE: &str = "/work";
/// What a jail says before it waits for its "go".
pub(crate) const READY: u8 = 6;
/// What it waits for.
pub(crate) const GO: u8 = 7;
/// Exit code of a jail that could not be closed: not the program's.
pub(crate) const NOT_CLOSED: i32 = 125;
/// How long a jail may take to be ready; tens of milliseconds on a machine that does nothing else.
const START: Duration = Duration::from_secs(30);
/// Bytes kept of what a program prints on stderr.
const STDERR_BYTES: usize = 4096;
/// What a jail shares with nobody.
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];
/// How long the processes of a jail may take to die.
pub(crate) const DEATH: Duration = Duration::from_secs(2);
/// How often a program that runs to its end is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What runs in a jail.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Program {
    /// The program by its absolute path, and its arguments.
    pub command: Vec<String>,
    /// Its environment besides `PATH`, `HOME`, `TMPDIR` and `LANG`.
    pub environment: BTreeMap<String, String>,
    /// Folders of the host that it may read and execute, at the same path, besides `/usr`.
    pub read: Vec<PathBuf>,
    /// True where a layer that this machine lacks is left out instead of refused.
    pub weak: bool,
}

/// What a program may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of address space of one process.
    pub address_space: u64,
    /// Bytes of memory of all its processes and its workspace, where cgroups can be written.
    pub memory: u64,
    /// Seconds of processor time of one process.
    pub cpu_seconds: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Open files.
    pub files: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Bytes of its workspace.
    pub workspace_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            address_space: 1 << 30,
            memory: 512 << 20,
            cpu_seconds: 60,
            processes: 32,
            files: 256,
            file_bytes: 16 << 20,
            workspace_bytes: 64 << 20,
        }
    }
}

/// Why there is no jail. Never the fault of the program that was to run in it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum JailError {
    /// This machine lacks a layer.
    #[error("sandbox: {0}")]
    Layer(#[from] LayerError),
    /// It was not ready in time, or ended before.
    #[error("sandbox: the jail did not start: {0}")]
    NotStarted(String),
}

/// What is left of a program.
#[derive(Debug)]
pub struct Ended {
    /// How it ended; killed where it was still running.
    pub status: ExitStatus,
    /// The end of what it printed on stderr, where nobody read it.
    pub stderr: Vec<u8>,
    /// Its workspace, which nothing writes to any more.
    pub workspace: Workspace,
}

/// The folder of a jail that is over. Gone when it is dropped.
#[derive(Debug)]
pub struct Workspace {
    folder: OwnedFd,
}

impl Workspace {
    /// The bytes of a plain file below the workspace.
    ///
    /// # Errors
    /// There is none of that name; it is a link, a folder, a pipe or lies outside; it is longer
    /// than `bytes_max`.
    pub fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, ArtifactError> {
        artifact::read(&self.folder, path, bytes_max)
    }
}

/// A running program and everything it started.
#[derive(Debug)]
pub struct Jail {
    child: Child,
    /// To the program's standard input; `None` once it was closed.
    pub stdin: Option<Pipe>,
    /// From its standard output.
    pub stdout: Pipe,
    /// From its standard error.
    pub stderr: Pipe,
    /// The user that the host knows it as; never 0.
    pub user: u32,
    first: First,
    folder: Option<OwnedFd>,
    group: Option<Group>,
    over: bool,
}

impl Jail {
    /// Starts a program.
    ///
    /// # Errors
    /// This machine lacks a layer; the jail was not ready within 30 s.
    pub fn start(program: &Program, limits: &Limits) -> Result<Jail, JailError> {
        let deadline = Instant::now() + START;
        let group = group(limits);
        let plan = Plan::new(program, limits, group.as_ref());
        let mut child = spawner::spawn(launch::command(&plan)?)
            .map_err(|error| JailError::NotStarted(error.to_string()))?;
        match open(&mut child, deadline) {
            Ok(Opened { stdin, stdout, stderr, user, first, folder }) => Ok(Jail {
                child,
                user,
                first,
                stdin: Some(stdin),
                stdout,
                stderr,
                folder: Some(folder),
                group,
                over: false,
            }),
            Err(error) => {
                end(&mut child, None, group.as_ref());
                Err(error)
            }
        }
    }

    /// The outermost process of the jail, as the host counts it.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// What its processes did with their time so far.
    ///
    /// # Errors
    /// It is over.
    pub fn usage(&self) -> std::io::Result<Usage> {
        self.first.usage()
    }

    /// How it ended by itself; `None` where it still runs at the deadline. A signal is the end of
    /// the launcher, which no program inside can bring about; how the program ended is the exit
    /// code, 128 and more where a signal ended it.
    pub fn ended(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(LOOK),
                _ => return None,
            }
        }
    }

    /// Kills every process and gives what is left.
    pub fn kill(mut self) -> Ended {
        self.finish()
    }

    /// Waits for the program to end by itself; kills it at the deadline. Its output must be read
    /// meanwhile, or be less than a pipe holds.
    pub fn wait(mut self, deadline: Instant) -> Ended {
        self.stdin = None;
        self.ended(deadline);
        self.finish()
    }

    fn finish(&mut self) -> Ended {
        let status = end(&mut self.child, Some(&self.first), self.group.as_ref());
        self.over = true;
        let folder = self.folder.take().expect("a jail ends once");
        let stderr = last_words(&mut self.stderr);
        Ended { status, stderr, workspace: Workspace { folder } }
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        if !self.over {
            end(&mut self.child, Some(&self.first), self.group.as_ref());
        }
    }
}

/// The engine's side of a jail that is ready.
struct Opened {
    stdin: Pipe,
    stdout: Pipe,
    stderr: Pipe,
    user: u32,
    first: First,
    folder: OwnedFd,
}

fn group(limits: &Limits) -> Option<Group> {
    if holes::current().has(holes::CGROUP) { None } else { Group::make(limits) }
}

/// Hears "ready", takes hold of the workspace, says "go".
fn open(child: &mut Child, deadline: Instant) -> Result<Opened, JailError> {
    let lost = |error: std::io::Error| JailError::NotStarted(error.to_string());
    let pipes = "the three pipes were asked for";
    let mut stdin = Pipe::new(child.stdin.take().expect(pipes)).map_err(lost)?;
    let mut stdout = Pipe::new(child.stdout.take().expect(pipes)).map_err(lost)?;
    let mut stderr = Pipe::new(child.stderr.take().expect(pipes)).map_err(lost)?;
    let mut ready = [0];
    match stdout.read(&mut ready, deadline) {
        Ok(1) if ready == [READY] => {}
        Err(Stuck::Late) => {
            let seconds = START.as_secs();
            return Err(JailError::NotStarted(format!("not ready within {seconds} s")));
        }
        _ => return Err(refused(&last_words(&mut stderr))),
    }
    let bubblewrap = artifact::first_child(child.id()).map_err(lost)?;
    let inside = artifact::first_child(bubblewrap).map_err(lost)?;
    let first = First::of(inside).map_err(lost)?;
    let user = looked_at(inside)?;
    let folder = artifact::hold(inside).map_err(lost)?;
    match stdin.write_all(&[GO], deadline) {
        Ok(()) => Ok(Opened { stdin, stdout, stderr, user, first, folder }),
        Err(_) => Err(refused(&last_words(&mut stderr))),
    }
}

/// What only the host can see of a jail: its processes are not root's, and none of its namespaces
/// is the engine's. Gives the user.
fn looked_at(inside: u32) -> Result<u32, JailError> {
    let lost = |error: std::io::Error| JailError::NotStarted(error.to_string());
    let user = user_of(inside).map_err(lost)?;
    let holes = holes::current();
    if user == 0 && !holes.has(holes::IDENTITY) {
        let cause = "the host knows the jail's processes as root".to_owned();
        return Err(LayerError::named("identity", cause).into());
    }
    let own = if holes.has(holes::NAMESPACES) { &["user", "mnt"][..] } else { &NAMESPACES };
    for name in own {
        let of = |process: &str| std::fs::read_link(format!("/proc/{process}/ns/{name}"));
        if of("self").map_err(lost)? == of(&inside.to_string()).map_err(lost)? {
            let cause = format!("the namespace `{name}` is the host's");
            return Err(LayerError::named("namespaces", cause).into());
        }
    }
    Ok(user)
}

/// The user of a process, by the host's numbers.
fn user_of(process: u32) -> std::io::Result<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let real = line.and_then(|numbers| numbers.split_whitespace().next()?.parse().ok());
    real.ok_or_else(|| std::io::Error::other("its user cannot be told"))
}

/// The words of a launcher, of bubblewrap or of a layer that said no.
fn refused(words: &[u8]) -> JailError {
    let text = String::from_utf8_lossy(words);
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
    match serde_json::from_str::<(String, String)>(line) {
        Ok((layer, cause)) => JailError::Layer(LayerError::named(&layer, cause)),
        Err(_) if line.starts_with("bwrap: ") && line.contains("namespace") => {
            LayerError::named("namespaces", line.chars().take(300).collect()).into()
        }
        Err(_) => JailError::NotStarted(line.chars().take(300).collect()),
    }
}

/// Kills the first process inside, with which all others die, and waits until they are dead: what
/// is read of the workspace later, nobody writes to. Those outside end then by themselves and leave
/// no orphans; they are killed where they do not. A cgroup makes sure.
fn end(child: &mut Child, first: Option<&First>, group: Option<&Group>) -> ExitStatus {
    let over = child.try_wait().ok().flatten();
    if let Some(first) = first {
        first.end();
        let until = Instant::now() + DEATH;
        while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK / 4);
        }
    }
    let _ = child.kill();
    let ended = child.wait().unwrap_or_else(|_| ExitStatus::from_raw(9));
    // One that was still running was killed, whatever those outside say of it.
    let status = over.unwrap_or(if first.is_some() { ExitStatus::from_raw(9) } else { ended });
    if let Some(group) = group {
        group.kill();
    }
    status
}

/// What waits in a pipe nobody read, at most [`STDERR_BYTES`] of it, without waiting for more.
fn last_words(pipe: &mut Pipe) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut bytes = [0; 4096];
    let deadline = Instant::now() + Duration::from_millis(100);
    while let Ok(read @ 1..) = pipe.read(&mut bytes, deadline) {
        kept.extend_from_slice(&bytes[..read]);
        let excess = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..excess);
    }
    kept
}
