//! `tasks check`: what is wrong with a task file before anything trains on it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use stepwell_env::calculator;
use stepwell_env::math_answer;
use stepwell_env::python;
use stepwell_env::sql::{self, Config, Fault};
use stepwell_env::tasks::{Loaded, Options};

use crate::arguments::{EnvironmentName, TasksCheck, TasksCommand, TasksWords};
use crate::failure::input;
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
    let (loaded, findings, beside) = match words.environment {
        EnvironmentName::Sql => sql(words, &options)?,
        EnvironmentName::Calculator => calculator(words, &options)?,
        EnvironmentName::MathAnswer => math_answer(words, &options)?,
        EnvironmentName::Python => python(words, &options)?,
    };
    for warning in &loaded.warnings {
        complain("warning", warning);
    }
    for finding in findings.iter().take(SHOWN) {
        say(format!("{}: {}", finding.id, finding.fault));
    }
    if findings.len() > SHOWN {
        say(format!("and {} more", findings.len() - SHOWN));
    }
    let tasks = |fatal| {
        let some = findings.iter().filter(|finding| finding.fatal == fatal);
        some.map(|finding| finding.id.as_str()).collect::<BTreeSet<&str>>().len()
    };
    let (broken, weak) = (tasks(true), tasks(false));
    say(format!(
        "{}: {} tasks{beside}; {broken} cannot be judged, {weak} only weakly",
        words.file.display(),
        loaded.tasks.len(),
    ));
    Ok(ExitCode::from(u8::from(broken > 0 || (words.strict && weak > 0))))
}

/// What is wrong with a task.
struct Finding {
    id: String,
    fault: String,
    /// Attempts at the task cannot be judged.
    fatal: bool,
}

/// The tasks, what is wrong with them, and what stands beside them.
type Found = (Loaded, Vec<Finding>, String);

/// Runs every gold query on its database and twin.
fn sql(words: &TasksCheck, options: &Options) -> anyhow::Result<Found> {
    let Some(folder) = &words.databases else {
        return Err(input(
            "`sql` tasks name databases: add `--databases FOLDER`; for word problems add \
             `--environment calculator`",
        ));
    };
    let (environment, loaded) = sql::load(&words.file, folder, options, Config::default())?;
    let fatal = |fault: &Fault| {
        matches!(fault, Fault::NoDatabase(_) | Fault::GoldFailed(_) | Fault::Lost(_))
    };
    let findings = environment.check(&loaded.tasks).into_iter().map(|finding| Finding {
        fatal: fatal(&finding.fault),
        fault: finding.fault.to_string(),
        id: finding.id,
    });
    let findings = findings.collect();
    Ok((loaded, findings, format!(", {} databases", environment.databases().len())))
}

fn no_databases(words: &TasksCheck, environment: &str) -> anyhow::Result<()> {
    match words.databases {
        None => Ok(()),
        Some(_) => {
            Err(input(format!("`{environment}` tasks name no databases; leave `--databases` out")))
        }
    }
}

/// Evaluates every gold step again.
fn calculator(words: &TasksCheck, options: &Options) -> anyhow::Result<Found> {
    no_databases(words, "calculator")?;
    let loaded = calculator::load(&words.file, options)?;
    let findings = calculator::check(&loaded.tasks).into_iter().map(|finding| Finding {
        fatal: finding.fault.is_fatal(),
        fault: finding.fault.to_string(),
        id: finding.id,
    });
    let findings = findings.collect();
    Ok((loaded, findings, String::new()))
}

/// Reads every answer as the grader does.
fn math_answer(words: &TasksCheck, options: &Options) -> anyhow::Result<Found> {
    no_databases(words, "math_answer")?;
    let loaded = math_answer::load(&words.file, options)?;
    let findings = math_answer::check(&loaded.tasks).into_iter().map(|(id, answer)| Finding {
        fatal: false,
        fault: format!("the answer `{answer}` is compared letter by letter"),
        id,
    });
    let findings = findings.collect();
    Ok((loaded, findings, String::new()))
}

/// Reads every task and its cases; nothing is run.
fn python(words: &TasksCheck, options: &Options) -> anyhow::Result<Found> {
    no_databases(words, "python")?;
    Ok((python::load(&words.file, options)?, Vec::new(), String::new()))
}
