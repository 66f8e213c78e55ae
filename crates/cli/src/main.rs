//! The binary `stepwell`: parses words, wires crates together, prints.

mod arguments;
mod command;
mod failure;
mod history;
mod interrupt;
mod paired;
mod plot;
mod progress;
mod say;
mod summary;
mod table;
mod visible;

use std::process::ExitCode;

use clap::Parser as _;

use crate::arguments::{Arguments, Command};
use crate::say::complain;

fn main() -> ExitCode {
    // First of all: the process that runs queries is this program in another role.
    if let Some(code) = stepwell_sandbox::enter(&[stepwell_env::sql::CHILD]) {
        return code;
    }
    failure::tell_panics();
    interrupt::outlive_limits();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            complain("error", format!("{error:#}"));
            ExitCode::from(failure::exit_code(&error))
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Train(words) => command::train::train(&words),
        Command::Resume(words) => command::train::resume(&words),
        Command::Eval(words) => command::eval::eval(&words),
        Command::Play(words) => command::play::play(&words),
        Command::Compare(words) => command::compare::compare(&words),
        Command::Sweep(words) => command::sweep::sweep(&words),
        Command::Inspect(words) => command::inspect::inspect(&words),
        Command::Check(words) => command::check::check(&words),
        Command::Runs(words) => command::runs::runs(&words),
        Command::Recipe(words) => command::recipe::recipe(&words),
        Command::Methods(words) => command::methods::methods(&words),
        Command::Import(words) => command::import::import(&words),
        Command::Tasks(words) => command::tasks::tasks(&words),
        Command::Env(words) => command::environment::environment(&words),
        Command::Export(words) => command::export::export(&words),
        Command::Doctor(words) => command::doctor::doctor(&words),
    }
}

/// Help and the version go to stdout and are no failure; a wrong word is the user's input.
fn usage(error: &clap::Error) -> ExitCode {
    match error.use_stderr() {
        false => say::say(error.render()),
        true => say::usage(error.render()),
    }
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}
