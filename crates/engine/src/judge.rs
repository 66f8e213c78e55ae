//! Judges a finished run's policy again, outside its record: `stepwell eval`.

use std::path::Path;

use stepwell_store::{Checkpoint, RunFolder, newest_valid};
use stepwell_tree::{Key, Purpose};

use crate::checkpoint;
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::observe::Observer;
use crate::problem::Problem;
use crate::recipe::{Evaluate, Recipe, Stage};
use crate::stage::answers;

/// Answers a split's tasks with a checkpoint of a run, the newest whole one where no number is
/// given. Nothing is written.
///
/// # Errors
/// Where the folder is no run, is in use, or has no whole checkpoint.
pub fn judge(
    path: &Path,
    number: Option<u64>,
    settings: &[Evaluate],
    seed: Option<u64>,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<Evaluation>, EngineError> {
    let folder = RunFolder::open_for_writing(path)?;
    let name = path.join("recipe.toml").display().to_string();
    let checked = Recipe::parse(folder.recipe(), &name).map_err(EngineError::Recipe)?;
    let mut recipe = checked.recipe;
    recipe.stage = settings.iter().cloned().map(Stage::Evaluate).collect();
    let problem = Problem::build(&recipe)?;
    let newest = whole(&folder, number)?;
    let learner = checkpoint::policy(&newest, threads)?;
    problem.require_fit(&recipe, &learner)?;
    let key = Key::new(seed.unwrap_or(recipe.seed), Purpose::Sample).with(u64::MAX);
    Ok(settings.iter().map(|config| answers(&problem, &learner, config, key, observer)).collect())
}

/// Files by name.
pub type Files = Vec<(String, Vec<u8>)>;

/// The newest policy of a run as the files of a Hugging Face folder, and the checkpoint's name.
///
/// # Errors
/// As [`judge`].
pub fn newest_policy(path: &Path) -> Result<(String, Files), EngineError> {
    let folder = RunFolder::open_for_writing(path)?;
    let newest = whole(&folder, None)?;
    let files = checkpoint::folder_files(&checkpoint::policy(&newest, 1)?)?;
    Ok((newest.name(), files))
}

/// The checkpoint of this number, or the newest that verifies.
fn whole(folder: &RunFolder, number: Option<u64>) -> Result<Checkpoint, EngineError> {
    if let Some(number) = number {
        return Ok(Checkpoint::of(folder, number)?);
    }
    let (newest, skipped) = newest_valid(folder)?;
    newest.ok_or_else(|| {
        let why: Vec<String> =
            skipped.iter().map(|s| format!("{}: {}", s.name, s.reason)).collect();
        EngineError::Input(format!(
            "{} has no whole checkpoint ({}); train it to the end of its first stage",
            folder.path().display(),
            if why.is_empty() { "none was written".to_owned() } else { why.join("; ") }
        ))
    })
}
