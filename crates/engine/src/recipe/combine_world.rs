//! Impossible combinations of the environment.

use super::combine::Checker;
use super::environment::{Files, Source, Sql, World};
use super::evaluate::Split;
use super::model::{Model, Tokenizer};

pub(super) fn check(sql: &Sql, model: &Model, checker: &Checker<'_, '_>) {
    match &sql.source {
        Source::World(World { mix, .. }) => {
            let sum = mix.blind + mix.useless + mix.slip;
            if (sum - 1.0).abs() > 1e-9 {
                let message = format!(
                    "shares of the careless must sum to 1, got: {sum}; they are `blind`, \
                     `useless` and `slip`"
                );
                checker.error("environment.world.mix", &message);
            }
        }
        Source::Files(files) => check_files(files, model, checker),
    }
}

fn check_files(files: &Files, model: &Model, checker: &Checker<'_, '_>) {
    let path = "environment.files";
    if files.databases.is_none() {
        let message = "needs `databases`, the folder of the databases that `sql` tasks name";
        checker.error(path, message);
    }
    if files.train.is_none() && files.held_out.is_none() && files.development.is_none() {
        checker.error(path, "names no tasks; set `train`, `held_out` or `development`");
    }
    let words = matches!(model, Model::Scratch(s) if s.tokenizer == Tokenizer::Words);
    if words && checker.sound("model") {
        let message = "knows the words of your prompts and gold queries only, and results of \
                       queries may hold others; `\"bytes\"` knows every text";
        checker.warn("model.scratch.tokenizer", message);
    }
}

/// What to change where a split has no tasks; `None` where it has.
pub(super) fn lacks(sql: &Sql, split: Split) -> Option<String> {
    let (set, key) = match &sql.source {
        Source::World(world) => match split {
            Split::HeldOut => (world.held_out_databases > 0, "world.held_out_databases"),
            Split::Development => (world.development_databases > 0, "world.development_databases"),
            Split::Train => (true, "world.train_databases"),
        },
        Source::Files(files) => match split {
            Split::HeldOut => (files.held_out.is_some(), "files.held_out"),
            Split::Development => (files.development.is_some(), "files.development"),
            Split::Train => (files.train.is_some(), "files.train"),
        },
    };
    let name = split.name();
    (!set).then(|| format!("needs tasks of the `{name}` split; set `environment.{key}`"))
}
