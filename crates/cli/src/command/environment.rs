//! `env check`: the laws of an external environment, tried on a program.

use std::process::ExitCode;
use std::time::Duration;

use stepwell_env::external::{self, Checked, Config, Finding, Limits, Mode};
use stepwell_env::tasks::Options;

use crate::arguments::{EnvCheck, EnvCommand, EnvWords};
use crate::say::say;
use crate::table::{Align, table};

/// Checks.
pub(crate) fn environment(words: &EnvWords) -> anyhow::Result<ExitCode> {
    let EnvCommand::Check(words) = &words.what;
    check(words)
}

/// Exit code 1 where a law is broken.
fn check(words: &EnvCheck) -> anyhow::Result<ExitCode> {
    let tasks = match &words.tasks {
        Some(file) => external::load(file, &Options::default())?.tasks,
        None => Vec::new(),
    };
    let timeout = Duration::from_secs(words.timeout);
    let limits = Limits::default();
    let start_timeout = limits.start_timeout.max(timeout);
    let config = Config {
        command: words.program.clone(),
        variables: words.variable.clone(),
        mode: if words.grader { Mode::Grader } else { Mode::Environment },
        max_steps: words.max_steps,
        limits: Limits { timeout, start_timeout, ..limits },
        ..Config::default()
    };
    let Checked { findings, null, noise } = external::check(&config, tasks)?;
    let row = |finding: &Finding| {
        let outcome = match finding.holds {
            Some(true) => "holds",
            Some(false) => "BROKEN",
            None => "-",
        };
        vec![finding.law.words().to_owned(), outcome.to_owned(), finding.detail.clone()]
    };
    let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
    let head = [("law", Align::Left), ("", Align::Left), ("seen", Align::Left)];
    say(table(&head, &rows));
    if let (Some(null), Some(noise)) = (null, noise) {
        say(format!(
            "mean reward of silence {null:.3}, of the question and stop strings {noise:.3}: what a \
             policy gets for nothing"
        ));
    }
    let broken = findings.iter().filter(|finding| finding.holds == Some(false)).count();
    match broken {
        0 => say("no law is broken"),
        some => say(format!("{some} broken; docs/EXTERNAL.md says what each reply must be")),
    }
    Ok(ExitCode::from(u8::from(broken > 0)))
}
