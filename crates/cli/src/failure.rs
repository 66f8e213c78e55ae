//! Whose it is to mend: exit codes (P22).

use std::fmt;

use stepwell_engine::EngineError;
use stepwell_env::EnvError;
use stepwell_store::StoreError;

use crate::say::complain;

/// What the user wrote cannot be done, found by this crate.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// An error whose cause is in the user's words.
pub(crate) fn input(text: impl fmt::Display) -> anyhow::Error {
    Refusal(text.to_string()).into()
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
        if let Some(error) = cause.downcast_ref::<EnvError>() {
            return if error.is_of_the_machine() { 3 } else { 2 };
        }
        if cause.is::<Refusal>() {
            return 2;
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
