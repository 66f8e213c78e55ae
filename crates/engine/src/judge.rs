//! Judges a run's policy again, outside its record: `stepwell eval`. Nothing here takes the run's
//! lock or writes into its folder, so a run can be judged while it goes on.

use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::Path;

use stepwell_store::{Checkpoint, RunFiles, newest_number, newest_valid};
use stepwell_train::Learner;
use stepwell_tree::{Key, Purpose};

use crate::checkpoint;
use crate::companion::{self, Companions};
use crate::error::EngineError;
use crate::evaluation::Evaluation;
use crate::observe::Observer;
use crate::problem::Problem;
use crate::recipe::limits::STAGES;
use crate::recipe::{self, Decoding, Evaluate, Recipe, RecipeError, ScorerConfig, Stage};
use crate::stage::{Keys, answers, verifier};

/// Answers the tasks of evaluations with a checkpoint of a run, the newest whole one where no
/// number is given. `set` holds `key=value`, keys of `[stage.evaluate]`, which go over the settings
/// of each. What the evaluations came to stands beside each answer. Nothing is written.
///
/// # Errors
/// Where a setting does not go with the run's recipe, the folder is no run, has no whole
/// checkpoint, or has none yet of the estimator or the heads that are asked for.
pub fn judge(
    path: &Path,
    number: Option<u64>,
    (settings, set): (&[Evaluate], &[String]),
    seed: Option<u64>,
    threads: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<(Evaluate, Evaluation)>, EngineError> {
    let run = RunFiles::open(path)?;
    let (whole_recipe, place) = with_evaluations(own_recipe(&run)?, settings, set)?;
    let of = |stage: &Stage| match stage {
        Stage::Evaluate(config) => Some(config.clone()),
        _ => None,
    };
    let asked: Vec<Evaluate> = whole_recipe.stage[place].iter().filter_map(of).collect();
    // What other stages read is not asked for.
    let stage = asked.iter().cloned().map(Stage::Evaluate).collect();
    let recipe = Recipe { stage, ..whole_recipe.clone() };
    let problem = Problem::build(&recipe)?;
    let base = || problem.learner(&recipe, threads);
    let read = |saved: &Checkpoint| {
        let learner = checkpoint::policy(saved, &recipe, base, threads)?;
        let companions = helpers(saved, &learner, &asked)?;
        Ok((learner, companions))
    };
    let (learner, mut companions) = at(&run, number, read)?;
    problem.require_fit(&recipe, &learner)?;
    let key = |purpose| Key::new(seed.unwrap_or(recipe.seed), purpose).with(u64::MAX);
    let keys = Keys { sample: key(Purpose::Sample), bootstrap: key(Purpose::Bootstrap) };
    let mut results = Vec::new();
    for config in asked {
        let verifier = verifier(&config, &whole_recipe, &mut companions);
        let evaluation = answers(&problem, (&learner, verifier), &config, keys, observer);
        results.push((config, evaluation));
    }
    Ok(results)
}

/// What evaluations read beside the policy, of its checkpoint.
fn helpers(
    saved: &Checkpoint,
    learner: &Learner,
    asked: &[Evaluate],
) -> Result<Companions, EngineError> {
    if asked.iter().any(|config| config.q_beta > 0.0) && !learner.has_guide() {
        let name = saved.name();
        let message = format!(
            "{name} holds no heads that lead (`q_beta`); take one behind the `offline` stage and \
             before the policy moves on"
        );
        return Err(EngineError::Input(message));
    }
    let mut companions = Companions::new();
    for name in asked.iter().filter_map(estimator_of) {
        if let Entry::Vacant(place) = companions.entry(name) {
            let own = checkpoint::companion(saved, place.key(), learner)?;
            place.insert(own);
        }
    }
    Ok(companions)
}

/// A recipe with further evaluations among its stages, which passed every check that stages of a
/// recipe pass, and where they stand: at the end, or where what leads them is still there. Whether
/// the checkpoint that is asked holds it is another question.
fn with_evaluations(
    mut recipe: Recipe,
    settings: &[Evaluate],
    set: &[String],
) -> Result<(Recipe, Range<usize>), EngineError> {
    // Room for what is asked, in a recipe of as many stages as one may have.
    recipe.stage.truncate(STAGES.saturating_sub(settings.len()));
    let led = set.iter().any(|pair| pair.trim_start().starts_with("q_beta"));
    let taught = recipe.stage.iter().rposition(|stage| matches!(stage, Stage::Offline(_)));
    let moved = taught.filter(|_| led).and_then(|taught| {
        (taught + 1..recipe.stage.len()).find(|&index| recipe.stage[index].moves_policy())
    });
    let first = moved.unwrap_or(recipe.stage.len());
    let asked = settings.iter().cloned().map(Stage::Evaluate);
    recipe.stage.splice(first..first, asked);
    let place = |index: usize| format!("stage[{index}].evaluate.");
    let indices = first..first + settings.len();
    let overrides: Vec<String> = indices
        .clone()
        .flat_map(|index| set.iter().map(move |pair| place(index) + pair.trim_start()))
        .collect();
    let told = |mut error: RecipeError| {
        for index in indices.clone() {
            error.key = error.key.replace(&place(index), "");
            error.message = error.message.replace(&place(index), "");
        }
        let from_set = error.file == "--set";
        let file = if from_set { error.file } else { "evaluation".to_owned() };
        RecipeError { file, line: 0, column: 0, ..error }
    };
    match Recipe::parse_with(&recipe.to_toml(), "evaluation", &overrides) {
        Ok(checked) => Ok((checked.recipe, indices)),
        Err(errors) => Err(EngineError::Recipe(errors.into_iter().map(told).collect())),
    }
}

/// The companion that an evaluation picks by.
fn estimator_of(config: &Evaluate) -> Option<String> {
    let picks = matches!(config.decoding, Decoding::BestOfN | Decoding::Search);
    match config.picker() {
        ScorerConfig::Estimator(own) if picks => Some(companion::estimator(own.stage)),
        _ => None,
    }
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
    let run = RunFiles::open(path)?;
    let mut recipe = own_recipe(&run)?;
    // Files are written on the host: a machine without the run's device can export, too.
    recipe.compute.device = recipe::Device::Cpu;
    let recipe = recipe;
    let base = || Problem::build(&recipe)?.learner(&recipe, 1);
    let (name, learner) = policy(&run, number, &recipe, base, 1)?;
    Ok((name, learner, recipe))
}

pub(crate) fn own_recipe(run: &RunFiles) -> Result<Recipe, EngineError> {
    let name = run.path().join("recipe.toml").display().to_string();
    Ok(Recipe::parse(run.recipe(), &name).map_err(EngineError::Recipe)?.recipe)
}

/// The policy of the checkpoint of this number, or of the newest that verifies, and the
/// checkpoint's name. `base` is as for [`checkpoint::policy`].
pub(crate) fn policy(
    run: &RunFiles,
    number: Option<u64>,
    recipe: &Recipe,
    base: impl Fn() -> Result<Learner, EngineError>,
    threads: usize,
) -> Result<(String, Learner), EngineError> {
    at(run, number, |saved| Ok((saved.name(), checkpoint::policy(saved, recipe, &base, threads)?)))
}

/// Reads the checkpoint of this number, or the newest that verifies.
fn at<T>(
    run: &RunFiles,
    number: Option<u64>,
    mut read: impl FnMut(&Checkpoint) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    match number {
        Some(number) => read(&Checkpoint::of(run, number)?),
        None => of_newest(run, read),
    }
}

/// Reads the newest checkpoint that verifies. Where the run goes on meanwhile, it may be removed
/// before it is read; then a newer one is there, and is read in its place.
fn of_newest<T>(
    run: &RunFiles,
    mut read: impl FnMut(&Checkpoint) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    loop {
        let before = newest_number(run)?;
        let found = newest(run).and_then(|saved| read(&saved));
        if found.is_ok() || newest_number(run)? <= before {
            return found;
        }
    }
}

/// The newest checkpoint that verifies.
fn newest(run: &RunFiles) -> Result<Checkpoint, EngineError> {
    let (newest, skipped) = newest_valid(run)?;
    newest.ok_or_else(|| {
        let why: Vec<String> =
            skipped.iter().map(|s| format!("{}: {}", s.name, s.reason)).collect();
        EngineError::Input(format!(
            "{} has no whole checkpoint ({}); train it to the end of its first stage",
            run.path().display(),
            if why.is_empty() { "none was written".to_owned() } else { why.join("; ") }
        ))
    })
}

#[cfg(test)]
mod tests {
    use stepwell_store::{Content, RunFolder, keep_last};

    use super::*;

    #[test]
    fn a_checkpoint_that_a_run_removes_while_it_is_read_gives_way_to_the_newer_one() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&place.path().join("run"), "seed = 1\n").unwrap();
        let head = folder.record().unwrap().head();
        let write = |number: u64| {
            let mut files = [("w", Content::Bytes(b"weights"))];
            Checkpoint::write(&folder, number, &mut files, &serde_json::json!({}), head).unwrap();
        };
        let run = RunFiles::open(folder.path()).unwrap();
        let none = of_newest(&run, |_| Ok(())).unwrap_err().to_string();
        assert!(none.contains("has no whole checkpoint (none was written)"), "{none}");
        write(1);
        let mut tried = Vec::new();
        let read = of_newest(&run, |saved| {
            tried.push(saved.number());
            if saved.number() < 3 {
                write(saved.number() + 1);
                keep_last(&folder, 1).unwrap();
            }
            Ok(saved.read("w")?)
        });
        assert_eq!((read.unwrap(), &tried[..]), (b"weights".to_vec(), &[1, 2, 3][..]));
        // Where no newer one is there, what is wrong is said.
        let broken = of_newest(&run, |saved| Ok(saved.read("none")?)).unwrap_err();
        assert!(broken.to_string().contains("holds no `none`"), "{broken}");
    }
}
