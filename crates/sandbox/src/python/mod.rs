//! A Python interpreter in a jail: one per episode, its variables alive from step to step.
//!
//! The program and the driver share an interpreter, so nothing that this module returns is
//! evidence: it is what the program printed, or the values that its function returned. Expected
//! values never enter a jail; whoever grades compares outside (INV-20).
//!
//! Time of the program is processor time, which the kernel counts, so that a busy machine changes
//! little; a wall clock ten times as long ends those that sleep. What ends an answer's test that is
//! not the program's doing costs it nothing ([`grade`]).

mod grade;
mod value;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::jail::{Jail, JailError, Limits, Program, Workspace};
use crate::pipe::Stuck;

pub use grade::{Untested, grade};
pub use value::Value;
#[doc(hidden)]
pub use value::outcome;

/// What runs inside the interpreter.
const DRIVER: &str = include_str!("driver.py");
/// How long an interpreter may take to say that it is there.
const HELLO: Duration = Duration::from_secs(30);
/// Bytes of a reply beside the text of a program, and of one value.
const REPLY_BYTES: usize = 1 << 20;

/// An interpreter and what it may take.
#[derive(Clone, Debug)]
pub struct Python {
    /// The interpreter, by its absolute path, which an unprivileged user must be able to execute.
    pub interpreter: PathBuf,
    /// Folders of the host that programs may read, besides `/usr`.
    pub read: Vec<PathBuf>,
    /// True where programs may import installed packages; else the standard library alone.
    pub packages: bool,
    /// Seconds of processor time of one step.
    pub seconds: u32,
    /// The wall clock of a step, in multiples of its processor time.
    pub patience: u32,
    /// Bytes of a step's output; what is longer is cut.
    pub output_bytes: usize,
    /// What all its steps together may take.
    pub limits: Limits,
    /// True where a layer that this machine lacks is left out instead of refused.
    pub weak: bool,
}

impl Default for Python {
    fn default() -> Python {
        Python {
            interpreter: PathBuf::from("/usr/bin/python3"),
            read: Vec::new(),
            packages: false,
            seconds: 5,
            patience: 10,
            output_bytes: 2000,
            limits: Limits::default(),
            weak: false,
        }
    }
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It ran to its end.
    Ran {
        /// What it printed.
        text: String,
        /// True where it printed more.
        cut: bool,
        /// The exception that ended it.
        error: Option<String>,
    },
    /// The interpreter is gone, and its variables with it. The program's doing: it exited, it
    /// slept past the wall clock, it wrote into the driver's pipe.
    Gone(String),
}

/// What a function returned for one case, or why nothing.
pub type Outcome = Result<Value, String>;

/// A running interpreter.
#[derive(Debug)]
pub struct Session {
    jail: Jail,
    seconds: u32,
    patience: u32,
    output_bytes: usize,
}

/// A reply that the driver never gives.
const BROKEN: &str = "the interpreter was broken by the program";

/// What the bytes of a reply to a step mean, whoever wrote them: program and driver share a
/// process.
#[doc(hidden)]
pub fn step_of(reply: &[u8]) -> Step {
    match serde_json::from_slice(reply) {
        Ok(Cell { text, cut, error }) => Step::Ran { text, cut, error },
        Err(_) => Step::Gone(BROKEN.to_owned()),
    }
}

#[derive(Deserialize)]
struct Cell {
    text: String,
    cut: bool,
    error: Option<String>,
}

impl Session {
    /// Starts an interpreter.
    ///
    /// # Errors
    /// The jail could not be made; the interpreter did not say that it is there.
    pub fn start(python: &Python) -> Result<Session, JailError> {
        let mut command = vec![python.interpreter.display().to_string()];
        // No packages of a user, no bytecode, and the site's only where asked for. Not `-I`: it
        // would not hear the seed of hashes, without which a set prints in another order each time.
        let flags: &[&str] = if python.packages { &["-s", "-B"] } else { &["-s", "-B", "-S"] };
        command.extend(flags.iter().map(|flag| (*flag).to_owned()));
        command.extend(["-c".to_owned(), DRIVER.to_owned()]);
        let program = Program {
            command,
            environment: [("PYTHONHASHSEED".to_owned(), "0".to_owned())].into(),
            read: python.read.clone(),
            weak: python.weak,
        };
        let jail = Jail::start(&program, &python.limits)?;
        let Python { seconds, patience, output_bytes, .. } = *python;
        let mut session = Session { jail, seconds, patience, output_bytes };
        match session.receive(Instant::now() + HELLO) {
            Ok(_) => Ok(session),
            Err(_) => Err(JailError::NotStarted(session.last_words(python))),
        }
    }

    /// Runs one step. After [`Step::Gone`] every other step is gone, too.
    pub fn step(&mut self, code: &str) -> Step {
        let request = json!({
            "do": "cell",
            "code": code,
            "seconds": self.seconds,
            "bytes_max": self.output_bytes,
        });
        let reply = self.ask(&request).and_then(|()| {
            let deadline = self.deadline();
            self.receive(deadline)
        });
        let gone = |why: &str| Step::Gone(why.to_owned());
        match reply {
            Ok(bytes) => step_of(&bytes),
            Err(Stuck::Long(_)) => gone(BROKEN),
            Err(Stuck::Late) => gone("the program took too long"),
            Err(Stuck::Closed) => gone("the interpreter ended"),
        }
    }

    /// Ends the interpreter; its workspace stays readable.
    pub fn end(self) -> Workspace {
        self.jail.kill().workspace
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience()
    }

    /// The wall clock of a step.
    fn patience(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds)) * self.patience
    }

    fn ask(&mut self, request: &impl Serialize) -> Result<(), Stuck> {
        let deadline = self.deadline();
        let stdin = self.jail.stdin.as_mut().ok_or(Stuck::Closed)?;
        let words = serde_json::to_vec(request).map_err(|_| Stuck::Closed)?;
        stdin.send(&words, deadline)
    }

    fn receive(&mut self, deadline: Instant) -> Result<Vec<u8>, Stuck> {
        // A byte of output can take six in JSON.
        self.jail.stdout.receive(REPLY_BYTES + 6 * self.output_bytes, deadline)
    }

    /// Why an interpreter never said that it is there.
    fn last_words(self, python: &Python) -> String {
        let ended = self.jail.kill();
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        let path = python.interpreter.display();
        format!("{path} did not answer ({}): {said}", ended.status)
    }
}
