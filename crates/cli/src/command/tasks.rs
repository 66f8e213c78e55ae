//! `tasks check`: what is wrong with a task file before anything trains on it.

use std::process::ExitCode;

use stepwell_env::sql::{self, Config, Fault};
use stepwell_env::tasks::Options;

use crate::arguments::{TasksCheck, TasksCommand, TasksWords};
use crate::say::{complain, say};

/// Most findings printed.
const SHOWN: usize = 100;

/// Checks.
pub(crate) fn tasks(words: &TasksWords) -> anyhow::Result<ExitCode> {
    let TasksCommand::Check(words) = &words.what;
    check(words)
}

/// Exit code 1 where attempts at some task could never be judged.
fn check(words: &TasksCheck) -> anyhow::Result<ExitCode> {
    let options = Options { extra: words.extra.clone(), strict: words.strict };
    let (environment, loaded) =
        sql::load(&words.file, &words.databases, &options, Config::default())?;
    for warning in &loaded.warnings {
        complain("warning", warning);
    }
    let findings = environment.check(&loaded.tasks);
    for finding in findings.iter().take(SHOWN) {
        say(format!("{}: {}", finding.id, finding.fault));
    }
    if findings.len() > SHOWN {
        say(format!("and {} more", findings.len() - SHOWN));
    }
    let fatal = |fault: &Fault| matches!(fault, Fault::NoDatabase(_) | Fault::GoldFailed(_));
    let broken = findings.iter().filter(|finding| fatal(&finding.fault)).count();
    let weak = findings.len() - broken;
    say(format!(
        "{}: {} tasks, {} databases; {broken} cannot be judged, {weak} only weakly",
        words.file.display(),
        loaded.tasks.len(),
        environment.databases().len()
    ));
    Ok(ExitCode::from(u8::from(broken > 0 || (words.strict && weak > 0))))
}
