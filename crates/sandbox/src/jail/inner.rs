//! The program inside the namespaces that closes the last doors behind itself, says "ready", waits
//! for "go" and becomes the stranger. It has one thread.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::stdio::{stdin, stdout};
use serde::{Deserialize, Serialize};

use super::{GO, Limits, NOT_CLOSED, READY, WORKSPACE};
use crate::bubblewrap::DEVICES;
use crate::child;
use crate::holes::{self, Holes};
use crate::layer::files::{self, Rules};
use crate::layer::limits::{self, Rlimits};
use crate::layer::syscalls::{self, Caller};
use crate::layer::{LayerError, identity};
use crate::probe;

/// What the inner program is told, as JSON on its command line. Nothing of it is secret.
#[derive(Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) limits: Limits,
    pub(crate) command: Vec<String>,
    /// What may be read and executed.
    pub(crate) read: Vec<PathBuf>,
    /// Layers that are left out where they cannot be had.
    pub(crate) weak: bool,
    pub(crate) holes: Holes,
}

pub(super) fn run(words: &[String]) -> ExitCode {
    let code = match words.first().map(|words| serde_json::from_str::<Orders>(words)) {
        Some(Ok(orders)) if orders.command == [probe::DEEDS] => match admitted(&orders) {
            Ok(()) => return probe::do_deeds(),
            Err(code) => code,
        },
        Some(Ok(orders)) => enclosed(&orders),
        _ => refuse(&LayerError::named("sandbox", "the jail's orders are unreadable".to_owned())),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Closes the jail and becomes the program; comes back only where that failed.
fn enclosed(orders: &Orders) -> i32 {
    if let Err(code) = admitted(orders) {
        return code;
    }
    let (program, arguments) = orders.command.split_first().expect("a jail has a program");
    let error = Command::new(program).args(arguments).current_dir(WORKSPACE).exec();
    complain(&format!("cannot start {program}: {error}"));
    NOT_CLOSED
}

/// Closes the jail and waits until the program may start.
fn admitted(orders: &Orders) -> Result<(), i32> {
    close(orders).map_err(|error| refuse(&error))?;
    let go = rustix::io::write(stdout(), &[READY]).is_ok() && {
        let mut word = [0];
        rustix::io::read(stdin(), &mut word) == Ok(1) && word == [GO]
    };
    if go { Ok(()) } else { Err(NOT_CLOSED) }
}

fn close(orders: &Orders) -> Result<(), LayerError> {
    let optional = |layer: Result<(), LayerError>| match layer {
        Err(_) if orders.weak => Ok(()),
        other => other,
    };
    let unless =
        |hole: &str, layer: &dyn Fn() -> Result<(), LayerError>| match orders.holes.has(hole) {
            true => Ok(()),
            false => layer(),
        };
    outside_root()?;
    unless(holes::LIMITS, &|| limits::set(&rlimits(&orders.limits)))?;
    unless(holes::DESCRIPTORS, &close_descriptors)?;
    let rules = Rules {
        read: orders.read.clone(),
        write: vec![PathBuf::from(WORKSPACE)],
        devices: DEVICES.iter().map(|name| PathBuf::from("/dev").join(name)).collect(),
    };
    unless(holes::LANDLOCK, &|| optional(files::restrict(&rules)))?;
    unless(holes::SECCOMP, &|| optional(syscalls::restrict(Caller::Program)))
}

fn rlimits(limits: &Limits) -> Rlimits {
    Rlimits {
        address_space: Some(limits.address_space),
        cpu_seconds: Some(limits.cpu_seconds),
        files: Some(limits.files),
        processes: Some(limits.processes),
        file_bytes: Some(limits.file_bytes),
    }
}

/// L1 as it looks from inside. What the host thinks, the engine looks up: a user namespace inside
/// another shows the numbers of its parent, not the host's.
fn outside_root() -> Result<(), LayerError> {
    match rustix::process::getuid().as_raw() {
        identity::NOBODY => Ok(()),
        other => Err(LayerError::new("identity", format!("the process runs as {other}"))),
    }
}

/// L8: the program inherits stdin, stdout and stderr, nothing else.
fn close_descriptors() -> Result<(), LayerError> {
    let failed = |cause: std::io::Error| LayerError::new("limits", format!("descriptors: {cause}"));
    child::close_inherited().map_err(failed)
}

/// Tells the engine which layer is missing, as one line of JSON on stderr.
fn refuse(error: &LayerError) -> i32 {
    let words = (error.layer, &error.cause);
    complain(&serde_json::to_string(&words).unwrap_or_default());
    NOT_CLOSED
}

fn complain(line: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{line}\n").as_bytes());
}
