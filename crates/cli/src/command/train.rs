//! `train` and `resume`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stepwell_engine::recipe::{Recipe, diff};
use stepwell_engine::run::{self, Outcome};
use stepwell_store::write_file;

use super::{load_recipe, recorded_recipe, require_conversations};
use crate::arguments::{Resume, Train};
use crate::failure::input;
use crate::history::History;
use crate::interrupt;
use crate::progress::Progress;
use crate::say::{complain, say, width};
use crate::summary;

/// Starts a run.
pub(crate) fn train(words: &Train) -> anyhow::Result<ExitCode> {
    let recipe = load_recipe(&words.recipe, &words.set)?;
    require_conversations(&recipe)?;
    let run = match &words.run {
        Some(run) => run.clone(),
        None => free_folder(&words.recipe),
    };
    interrupt::listen()?;
    let mut progress = Progress::new(recipe.stage.len(), &run);
    let outcome = run::start(&recipe, &run, words.threads.count(), &mut progress);
    progress.finish();
    ended(&run, &recipe, outcome?)
}

/// Goes on with a run.
pub(crate) fn resume(words: &Resume) -> anyhow::Result<ExitCode> {
    let recipe = recorded_recipe(&words.run)?;
    refuse_changes(&recipe, words)?;
    interrupt::listen()?;
    let mut progress = Progress::new(recipe.stage.len(), &words.run);
    let outcome = run::resume(&words.run, words.threads.count(), &mut progress);
    progress.finish();
    ended(&words.run, &recipe, outcome?)
}

/// `runs/<recipe>-<n>`, the first that does not exist.
fn free_folder(recipe: &Path) -> PathBuf {
    let name = recipe.file_stem().map_or_else(|| "run".into(), |stem| stem.to_string_lossy());
    let numbered = |n: u32| Path::new("runs").join(format!("{name}-{n}"));
    (1..).map(numbered).find(|path| !path.exists()).expect("numbers do not run out")
}

/// A run must not go on under a recipe that it was not started with: neither the one named, nor
/// the copy in its folder.
fn refuse_changes(recorded: &Recipe, words: &Resume) -> anyhow::Result<()> {
    if let Some(path) = &words.recipe {
        refuse_difference(recorded, &load_recipe(path, &[])?)?;
    }
    let copy = words.run.join("recipe.toml");
    match Recipe::load(&copy, &[]) {
        Ok(checked) if copy.exists() => refuse_difference(recorded, &checked.recipe),
        // Missing: it is written again. Unreadable: the engine compares digests and refuses.
        _ => Ok(()),
    }
}

fn refuse_difference(recorded: &Recipe, now: &Recipe) -> anyhow::Result<()> {
    let differences = diff(recorded, now);
    if differences.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let all = lines.join("\n  ");
    Err(input(format!(
        "run was started with {all}; start a new run with `stepwell train`, or undo the change"
    )))
}

fn ended(run: &Path, recipe: &Recipe, outcome: Outcome) -> anyhow::Result<ExitCode> {
    if outcome == Outcome::Stopped {
        complain("stopped", format!("to go on: stepwell resume {}", run.display()));
        return Ok(ExitCode::from(interrupt::STOPPED));
    }
    let history = History::read(run)?;
    say("");
    say(summary::stages(recipe, &history));
    let curves = summary::curves(recipe, &history);
    if !curves.is_empty() {
        say(curves.draw(width().min(100), 9));
        let picture = run.join("curve.svg");
        write_file(&picture, curves.svg(&run.display().to_string()).as_bytes())?;
        say(format!("curve: {}", picture.display()));
    }
    let run = run.display();
    // What an external program would count as one answer is not known here.
    let decoding = if recipe.environment.name() == "external" { "sample" } else { "tree_vote" };
    say(format!(
        "next:\n  stepwell inspect {run}\n  stepwell eval {run} --decoding {decoding}\n  stepwell \
         export {run} --format huggingface MODEL"
    ));
    Ok(ExitCode::SUCCESS)
}
