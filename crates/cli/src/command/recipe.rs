//! `recipe check` and `recipe show`.

use std::process::ExitCode;

use stepwell_engine::estimate::{Estimate, estimate, uncounted};
use stepwell_engine::problem::Problem;

use super::{load_recipe, require_conversations};
use crate::arguments::{RecipeCommand, RecipeFile, RecipeWords, Threads};
use crate::say::{complain, say};
use crate::table::{bytes, duration, grouped};

/// Checks or shows.
pub(crate) fn recipe(words: &RecipeWords) -> anyhow::Result<ExitCode> {
    match &words.what {
        RecipeCommand::Check(file) => check(file),
        RecipeCommand::Show(file) => {
            say(load_recipe(&file.recipe, &file.set)?.to_commented_toml());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Reads everything the recipe names, as `train` would, and writes nothing.
fn check(file: &RecipeFile) -> anyhow::Result<ExitCode> {
    let recipe = load_recipe(&file.recipe, &file.set)?;
    require_conversations(&recipe)?;
    let problem = Problem::build(&recipe)?;
    for note in &problem.notes {
        complain("warning", note);
    }
    let learner = problem.learner(&recipe, Threads::default().count())?;
    for note in problem.model_notes() {
        complain("note", note);
    }
    problem.require_fit(&recipe, &learner)?;
    let stages: Vec<&str> = recipe.stage.iter().map(|stage| stage.name()).collect();
    let counts: Vec<String> = problem
        .splits()
        .iter()
        .map(|(name, tasks)| format!("{} {name}", grouped(tasks.len() as u64)))
        .collect();
    for path in uncounted(&recipe) {
        let what = "its memory and the time of its forwards are not in the figures";
        complain("note", format!("`{path}` is a teacher or a judge: {what}"));
    }
    let Estimate {
        parameters,
        trained,
        state_bytes,
        activations,
        cache_bytes,
        checkpoint_bytes,
        record_bytes,
        seconds,
    } = estimate(&recipe, &problem, &learner);
    let memory = state_bytes + (activations.bytes as f64).max(cache_bytes);
    say(format!(
        "{}: fine\n  stages: {}\n  tasks: {}\n  parameters: {}\n  memory: about {} ({} weights, \
         gradients and moments; {} to train{}; {} to sample)\n  disk: about {} ({} of checkpoints, \
         {} of record)\n  time: at most about {} here, if every attempt used all its tokens",
        file.recipe.display(),
        stages.join(", "),
        counts.join(", "),
        if trained == parameters {
            grouped(parameters as u64)
        } else {
            format!("{}, of which {} train", grouped(parameters as u64), grouped(trained as u64))
        },
        bytes(memory),
        bytes(state_bytes),
        bytes(activations.bytes as f64),
        match activations.recomputed {
            0 => String::new(),
            some => format!(", {some} layers computed again"),
        },
        bytes(cache_bytes),
        bytes(checkpoint_bytes + record_bytes),
        bytes(checkpoint_bytes),
        bytes(record_bytes),
        duration(seconds),
    ));
    Ok(ExitCode::SUCCESS)
}
