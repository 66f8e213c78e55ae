//! Whose it is to mend: exit codes (P22).

use std::fmt;

use stepwell_engine::EngineError;
use stepwell_env::EnvError;
use stepwell_store::StoreError;

use crate::say::complain;

/// A command that cannot be done, found by this crate.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What the user wrote is wrong.
    Input(String),
    /// The machine lacks something.
    Machine(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Input(text) | Failure::Machine(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

/// An error whose cause is in the user's words.
pub(crate) fn input(text: impl fmt::Display) -> anyhow::Error {
    Failure::Input(text.to_string()).into()
}

/// An error whose cause is the machine.
pub(crate) fn machine(text: impl fmt::Display) -> anyhow::Error {
    Failure::Machine(text.to_string()).into()
}

/// 1 the task failed, 2 the user's input, 3 the machine, 101 our bug.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<EngineError>() {
            return error.exit_code();
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return error.exit_code();
        }
        if cause.is::<EnvError>() {
            return 2;
        }
        match cause.downcast_ref::<Failure>() {
            Some(Failure::Input(_)) => return 2,
            Some(Failure::Machine(_)) => return 3,
            None => {}
        }
        if cause.is::<std::io::Error>() {
            return 3;
        }
    }
    1
}

/// A panic is our bug: it says where, and what to do with that, without a backtrace.
pub(crate) fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        let what = panic.payload_as_str().unwrap_or("no message");
        complain(
            "bug",
            format!(
                "stepwell stopped{place}: {what}\nthe run folder is whole: `stepwell resume` goes \
                 on; please report these lines with the recipe"
            ),
        );
    }));
}
