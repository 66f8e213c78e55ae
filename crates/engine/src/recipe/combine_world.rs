//! Impossible combinations of the environment.

use std::path::Path;

use super::calculator::Calculator;
use super::combine::Checker;
use super::combine_external;
use super::environment::{Environment, Files, Source};
use super::evaluate::Split;
use super::model::{Model, Tokenizer};
use super::python::PythonSettings;
use super::sql::Sql;

pub(super) fn check(environment: &Environment, model: &Model, checker: &Checker<'_, '_>) {
    combine_external::check_prompt(environment, checker);
    match environment {
        Environment::Sql(Sql { source: Source::World(world), .. }) => {
            let mix = &world.mix;
            let shares = [("blind", mix.blind), ("useless", mix.useless), ("slip", mix.slip)];
            check_mix(shares, checker);
        }
        Environment::Calculator(Calculator { source: Source::World(world), .. }) => {
            let mix = &world.mix;
            let wrong = ("wrong_operation", mix.wrong_operation);
            check_mix([("blind", mix.blind), wrong, ("slip", mix.slip)], checker);
        }
        Environment::Sql(Sql { source: Source::Files(files), .. }) => {
            if files.databases.is_none() {
                let message =
                    "needs `databases`, the folder of the databases that `sql` tasks name";
                checker.error("environment.files", message);
            }
            let known = "prompts and gold queries";
            check_files(files, model, known, "results of queries", checker);
        }
        Environment::Calculator(Calculator { source: Source::Files(files), .. }) => {
            no_databases(files, environment.name(), checker);
            check_files(files, model, "prompts", "results of calculations", checker);
        }
        Environment::MathAnswer(math) => {
            no_databases(&math.files, environment.name(), checker);
            check_files(&math.files, model, "prompts and answers", "reasoning", checker);
        }
        Environment::Python(python) => {
            no_databases(&python.files, environment.name(), checker);
            check_files(&python.files, model, "prompts", "programs", checker);
            check_paths(python, checker);
        }
        Environment::External(external) => combine_external::check(external, model, checker),
    }
}

/// Paths that a jail can be given.
fn check_paths(python: &PythonSettings, checker: &Checker<'_, '_>) {
    let absolute = |path: &str| Path::new(path).is_absolute();
    if !absolute(&python.interpreter) {
        let message = format!("must be an absolute path, got: `{}`", python.interpreter);
        checker.error("environment.interpreter", &message);
    }
    if let Some(folder) = python.read.iter().find(|folder| !absolute(folder)) {
        let message = format!("must list absolute paths, got: `{folder}`");
        checker.error("environment.read", &message);
    }
    if let Some(name) = python.artifact.as_ref().filter(|name| absolute(name) || name.is_empty()) {
        let message = format!("must name a file below the workspace, got: `{name}`");
        checker.error("environment.artifact", &message);
    }
    if python.artifact.is_some() && python.max_interactions == 0 {
        let message = "needs programs that can write it; set `max_interactions` to 1 or more";
        checker.error("environment.artifact", message);
    }
}

pub(super) fn no_databases(files: &Files, name: &str, checker: &Checker<'_, '_>) {
    if files.databases.is_some() {
        let message = format!("is set, and `{name}` tasks name no databases; remove it");
        checker.error("environment.files.databases", &message);
    }
}

fn check_mix(shares: [(&str, f64); 3], checker: &Checker<'_, '_>) {
    let sum: f64 = shares.iter().map(|(_, share)| share).sum();
    if (sum - 1.0).abs() > 1e-9 {
        let [one, two, three] = shares.map(|(name, _)| name);
        let message = format!(
            "shares of the careless must sum to 1, got: {sum}; they are `{one}`, `{two}` and \
             `{three}`"
        );
        checker.error("environment.world.mix", &message);
    }
}

pub(super) fn check_files(
    files: &Files,
    model: &Model,
    known: &str,
    other: &str,
    checker: &Checker<'_, '_>,
) {
    if files.train.is_none() && files.held_out.is_none() && files.development.is_none() {
        let message = "names no tasks; set `train`, `held_out` or `development`";
        checker.error("environment.files", message);
    }
    words_only(model, known, other, checker);
}

/// A model that knows the words of tasks and of nothing else.
pub(super) fn words_only(model: &Model, known: &str, other: &str, checker: &Checker<'_, '_>) {
    let words = matches!(model, Model::Scratch(s) if s.tokenizer == Tokenizer::Words);
    if words && checker.sound("model") {
        let message = format!(
            "knows the words of your {known} only, and {other} may hold others; \
             `\"bytes\"` knows every text"
        );
        checker.warn("model.scratch.tokenizer", &message);
    }
}

/// What to change where a split has no tasks; `None` where it has.
pub(super) fn lacks(environment: &Environment, split: Split) -> Option<String> {
    let (set, key) = match (environment.generated(split), environment.files()) {
        (Some((count, key)), _) => (count > 0, key),
        (None, Some(files)) => match split {
            Split::HeldOut => (files.held_out.is_some(), "files.held_out"),
            Split::Development => (files.development.is_some(), "files.development"),
            Split::Train => (files.train.is_some(), "files.train"),
        },
        (None, None) => (true, ""),
    };
    let name = split.name();
    (!set).then(|| format!("needs tasks of the `{name}` split; set `environment.{key}`"))
}
