//! The program between the engine and bubblewrap: joins the jail's cgroup, stops being root, starts
//! bubblewrap and reaps what that leaves. It has one thread.
//!
//! bubblewrap gets its arguments through a descriptor, so that no path of the host stands on a
//! command line that the jail can read; and it starts this very binary through a descriptor, so
//! that the binary need not lie where an unprivileged user can go.

use std::ffi::OsString;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{
    Signal, WaitOptions, getpid, set_child_subreaper, set_parent_process_death_signal, wait,
};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use serde::{Deserialize, Serialize};

use crate::bubblewrap;
use crate::cgroup::Group;
use crate::child::{self, Role};
use crate::holes::{self, Holes};
use crate::jail::{self, JailError, Limits, NOT_CLOSED, Orders, Program};
use crate::layer::{LayerError, identity};

pub(crate) const ROLE: Role = Role { name: "launch", run };

/// What the launcher is told, as JSON on its command line.
#[derive(Serialize, Deserialize)]
pub(crate) struct Plan {
    program: Program,
    limits: Limits,
    /// Files of cgroups that take a process in when its number is written.
    groups: Vec<PathBuf>,
    /// Where bubblewrap is.
    bubblewrap: PathBuf,
    holes: Holes,
}

impl Plan {
    pub(crate) fn new(program: &Program, limits: &Limits, group: Option<&Group>) -> Plan {
        Plan {
            program: program.clone(),
            limits: limits.clone(),
            groups: group.map(Group::doors).unwrap_or_default(),
            bubblewrap: bubblewrap::find().unwrap_or_default(),
            holes: holes::current(),
        }
    }
}

/// The launcher, ready to be started, with three pipes.
///
/// # Errors
/// There is no bubblewrap; a folder cannot be read in a jail; this process cannot start itself
/// ([`child::can_start`]).
pub(crate) fn command(plan: &Plan) -> Result<Command, JailError> {
    if plan.bubblewrap.as_os_str().is_empty() {
        return Err(bubblewrap::missing().into());
    }
    if let Some(why) = plan.program.read.iter().find_map(|folder| bubblewrap::unfit(folder)) {
        return Err(JailError::NotStarted(why));
    }
    let words = serde_json::to_string(plan)
        .map_err(|error| JailError::NotStarted(format!("a path is not text: {error}")))?;
    let Some(mut command) = child::command(&ROLE) else {
        let why = "this program's `main` does not call `stepwell_sandbox::enter`";
        return Err(JailError::NotStarted(why.to_owned()));
    };
    command.arg(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn run(words: &[String]) -> ExitCode {
    let plan = words.first().and_then(|words| serde_json::from_str(words).ok());
    let unreadable = LayerError::named("sandbox", "the launcher's plan is unreadable".to_owned());
    let error = match plan.ok_or(unreadable).and_then(|plan| launch(&plan)) {
        Ok(bubblewrap) => return ExitCode::from(reap(bubblewrap.id())),
        Err(error) => error,
    };
    let line = serde_json::to_string(&(error.layer, error.cause)).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(u8::try_from(NOT_CLOSED).unwrap_or(1))
}

/// Starts bubblewrap.
fn launch(plan: &Plan) -> Result<Child, LayerError> {
    for door in &plan.groups {
        if let Err(error) = std::fs::OpenOptions::new()
            .write(true)
            .open(door)
            .and_then(|mut door| door.write_all(std::process::id().to_string().as_bytes()))
        {
            return Err(LayerError::new("sandbox", format!("{}: {error}", door.display())));
        }
    }
    if !plan.holes.has(holes::IDENTITY) {
        identity::drop_root()?;
    }
    let failed = |error: std::io::Error| LayerError::new("bubblewrap", error);
    if !plan.holes.has(holes::SESSION) {
        set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| failed(e.into()))?;
    }
    set_child_subreaper(Some(getpid())).map_err(|e| failed(e.into()))?;
    let bubblewrap = prepared(plan).and_then(|mut command| command.spawn()).map_err(failed)?;
    // The other ends of the pipes are the program's alone, and so is their closing.
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty());
    let away = null.and_then(|null| {
        dup2_stdin(&null).and_then(|()| dup2_stdout(&null)).and_then(|()| dup2_stderr(&null))
    });
    away.map_err(|error| failed(error.into()))?;
    Ok(bubblewrap)
}

/// Waits until nothing of a jail is left and gives bubblewrap's exit code. Its first process
/// inside outlives it by a moment and then is nobody's child; where the first process of a machine
/// or container reaps no orphans, every jail would leave an entry in the table of processes.
fn reap(bubblewrap: u32) -> u8 {
    let mut code = u8::try_from(NOT_CLOSED).unwrap_or(1);
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((process, status))) if process.as_raw_nonzero().get() as u32 == bubblewrap => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                let exit = status.exit_status().or(signal).unwrap_or(1);
                code = u8::try_from(exit).unwrap_or(1);
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return code,
        }
    }
}

/// bubblewrap with its arguments behind one descriptor and this binary behind another; both stay
/// open across its start, and are closed to the program by the jail.
fn prepared(plan: &Plan) -> std::io::Result<Command> {
    let own = rustix::fs::open("/proc/self/exe", OFlags::RDONLY, Mode::empty())?;
    let mut list = std::fs::File::from(memfd_create("arguments", MemfdFlags::empty())?);
    let program = &plan.program;
    let size = plan.limits.workspace_bytes;
    let arguments = bubblewrap::arguments(&program.environment, &program.read, size, &plan.holes);
    for argument in &arguments {
        list.write_all(argument.as_bytes())?;
        list.write_all(&[0])?;
    }
    list.rewind()?;
    let orders = Orders {
        limits: plan.limits.clone(),
        command: program.command.clone(),
        read: bubblewrap::readable(&program.read),
        weak: program.weak,
        holes: plan.holes.clone(),
    };
    let mut command = Command::new(&plan.bubblewrap);
    command
        .args([OsString::from("--args"), OsString::from(list.as_raw_fd().to_string())])
        .arg(format!("/proc/self/fd/{}", own.as_raw_fd()))
        .args(child::words(&jail::ROLE))
        .arg(serde_json::to_string(&orders)?);
    if !plan.holes.has(holes::ENVIRONMENT) {
        command.env_clear();
    }
    // Both must outlive this function: they are what the next program opens.
    std::mem::forget((own, list));
    Ok(command)
}
