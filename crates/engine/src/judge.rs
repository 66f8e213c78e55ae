//! Judges a finished run's policy again, outside its record: `stepwell eval`.

use std::path::Path;

use stepwell_store::{Checkpoint, RunFolder, newest_valid};
use stepwell_train::Learner;
use stepwell_tree::{Key, Purpose};

use crate::checkpoint;
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::observe::Observer;
use crate::problem::Problem;
use crate::recipe::{self, Decoding, Evaluate, Recipe, Stage};
use crate::stage::{Keys, answers};

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
    let mut recipe = own_recipe(&folder)?;
    recipe.stage = settings.iter().cloned().map(Stage::Evaluate).collect();
    let problem = Problem::build(&recipe)?;
    settings.iter().try_for_each(|config| require_answers(&problem, config))?;
    let newest = whole(&folder, number)?;
    let base = || problem.learner(&recipe, threads);
    let learner = checkpoint::policy(&newest, &recipe, base, threads)?;
    problem.require_fit(&recipe, &learner)?;
    let key = |purpose| Key::new(seed.unwrap_or(recipe.seed), purpose).with(u64::MAX);
    let keys = Keys { sample: key(Purpose::Sample), bootstrap: key(Purpose::Bootstrap) };
    // An estimator is a stage's, so that none is asked for on a command line.
    let ask = |config| answers(&problem, (&learner, None), config, keys, observer);
    Ok(settings.iter().map(ask).collect())
}

/// Refuses what a recipe's own `evaluate` stage is refused for: this one is written on a command
/// line.
fn require_answers(problem: &Problem, config: &Evaluate) -> Result<(), EngineError> {
    let name = problem.environment.name();
    if config.shuffled_results && problem.blindfolded.is_none() {
        let message = format!("`{name}` shows no results that could be shuffled");
        return Err(EngineError::Input(message));
    }
    if name == "external" && matches!(config.decoding, Decoding::LinearVote | Decoding::TreeVote) {
        let message = "what an attempt answers is known to an `external` program only, so nothing \
                       can be counted; decode with `greedy` or `sample`";
        return Err(EngineError::Input(message.to_owned()));
    }
    Ok(())
}

/// Files by name.
pub type Files = Vec<(String, Vec<u8>)>;

/// The newest policy of a run, as [`policy_at`].
///
/// # Errors
/// As [`judge`].
pub fn newest_policy(path: &Path) -> Result<(String, Files), EngineError> {
    policy_at(path, None)
}

/// The newest adapter of a run, as [`adapter_at`].
///
/// # Errors
/// As [`adapter_at`].
pub fn newest_adapter(path: &Path) -> Result<(String, Files), EngineError> {
    adapter_at(path, None)
}

/// A policy of a run as the files of a Hugging Face folder, and its checkpoint's name: the newest
/// whole one where no number is given. An adapter is merged into its base.
///
/// # Errors
/// As [`judge`].
pub fn policy_at(path: &Path, number: Option<u64>) -> Result<(String, Files), EngineError> {
    let (name, learner, _) = saved_learner(path, number)?;
    Ok((name, checkpoint::folder_files(&learner)?))
}

/// An adapter of a run as the files of PEFT's folder, and its checkpoint's name.
///
/// # Errors
/// As [`judge`], and where the run trains all weights.
pub fn adapter_at(path: &Path, number: Option<u64>) -> Result<(String, Files), EngineError> {
    let (name, learner, recipe) = saved_learner(path, number)?;
    let adapter = learner.model().adapter().ok_or_else(|| {
        EngineError::Input(format!(
            "{} has no adapter: its recipe has no `[model.lora]`; export the model as \
             `huggingface`",
            path.display()
        ))
    })?;
    Ok((name, checkpoint::adapter_files(adapter, &recipe)?))
}

fn saved_learner(
    path: &Path,
    number: Option<u64>,
) -> Result<(String, Learner, Recipe), EngineError> {
    let folder = RunFolder::open_for_writing(path)?;
    let mut recipe = own_recipe(&folder)?;
    // Files are written on the host: a machine without the run's device can export, too.
    recipe.compute.device = recipe::Device::Cpu;
    let recipe = recipe;
    let saved = whole(&folder, number)?;
    let base = || Problem::build(&recipe)?.learner(&recipe, 1);
    let learner = checkpoint::policy(&saved, &recipe, base, 1)?;
    Ok((saved.name(), learner, recipe))
}

pub(crate) fn own_recipe(folder: &RunFolder) -> Result<Recipe, EngineError> {
    let name = folder.path().join("recipe.toml").display().to_string();
    Ok(Recipe::parse(folder.recipe(), &name).map_err(EngineError::Recipe)?.recipe)
}

/// The checkpoint of this number, or the newest that verifies.
pub(crate) fn whole(folder: &RunFolder, number: Option<u64>) -> Result<Checkpoint, EngineError> {
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
