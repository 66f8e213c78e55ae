//! `sweep`: a recipe under several seeds and settings, one run after another.

mod plan;
mod result;

use std::path::Path;
use std::process::ExitCode;

use stepwell_engine::recipe::diff;
use stepwell_engine::run::{self, Outcome};
use stepwell_store::{RunState, RunSummary, list_runs};

use super::{recorded_recipe, require_conversations};
use crate::arguments::Sweep;
use crate::failure::input;
use crate::interrupt;
use crate::progress::Progress;
use crate::say::{complain, say};
use plan::{Member, members};

/// Runs what is not finished and tells what came out.
pub(crate) fn sweep(words: &Sweep) -> anyhow::Result<ExitCode> {
    let members = members(words)?;
    members.iter().try_for_each(|member| require_conversations(&member.recipe))?;
    let known = same_sweep(&words.out, &members)?;
    result::earlier(&words.out)?;
    interrupt::listen()?;
    for (at, member) in members.iter().enumerate() {
        let place = format!("run {} of {}, {}", at + 1, members.len(), member.name);
        let known = known.iter().find(|run| run.name == member.name).map(|run| &run.state);
        if known == Some(&RunState::Finished) {
            say(format!("{place}: finished before"));
            continue;
        }
        say(format!("{place}: {}", if known.is_some() { "going on" } else { "starting" }));
        if play_out(words, member, known.is_some())? == Outcome::Stopped {
            complain("stopped", "the same words again go on here");
            return Ok(ExitCode::from(interrupt::STOPPED));
        }
    }
    say("");
    say(result::tell(words, &members)?);
    Ok(ExitCode::SUCCESS)
}

fn play_out(words: &Sweep, member: &Member, begun: bool) -> anyhow::Result<Outcome> {
    let folder = words.out.join(&member.name);
    let mut progress = Progress::new(member.recipe.stage.len(), &folder);
    let threads = words.threads.count();
    let outcome = match begun {
        true => run::resume(&folder, threads, &mut progress),
        false => run::start(&member.recipe, &folder, threads, &mut progress),
    };
    progress.finish();
    Ok(outcome?)
}

/// The runs that are there; refused where one of them is not of this recipe, or is not what its
/// name says.
fn same_sweep(out: &Path, members: &[Member]) -> anyhow::Result<Vec<RunSummary>> {
    if !out.exists() {
        return Ok(Vec::new());
    }
    if !out.is_dir() {
        return Err(input(format!("`{}` is no folder; name one for the runs", out.display())));
    }
    let known = list_runs(out)?;
    for run in &known {
        let theirs = recorded_recipe(&run.path)?;
        let member = members.iter().find(|member| member.name == run.name);
        let ours = &member.unwrap_or(&members[0]).recipe;
        // Of a run that is not asked for now, seed and settings of the sweep may be others.
        let free = |key: &str| {
            let swept =
                |set: &(String, String)| key == set.0 || key.starts_with(&(set.0.clone() + "."));
            member.is_none() && (key == "seed" || members[0].settings.iter().any(swept))
        };
        let differs = diff(&theirs, ours).into_iter().find(|difference| !free(&difference.key));
        if let Some(difference) = differs {
            return Err(input(format!(
                "`{}` holds another sweep: `{}` was run with {difference}; choose another folder, \
                 or undo the change",
                out.display(),
                run.name
            )));
        }
    }
    Ok(known)
}
