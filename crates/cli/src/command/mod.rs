//! One file per command.

pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod environment;
pub(crate) mod eval;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod methods;
pub(crate) mod play;
pub(crate) mod recipe;
pub(crate) mod runs;
pub(crate) mod sweep;
pub(crate) mod tasks;
pub(crate) mod train;

use std::path::Path;

use stepwell_engine::recipe::{Checked, Recipe, Stage};

use crate::failure::input;
use crate::say::complain;

/// Reads a recipe; every problem at once, and warnings on stderr.
fn load_recipe(path: &Path, set: &[String]) -> anyhow::Result<Recipe> {
    let Checked { recipe, warnings } = Recipe::load(path, set).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        input(lines.join("\n"))
    })?;
    for warning in warnings {
        complain("warning", warning);
    }
    Ok(recipe)
}

/// The recipe of a run, from its record.
fn recorded_recipe(run: &Path) -> anyhow::Result<Recipe> {
    let text = stepwell_store::RunReader::open(run)?.recipe()?;
    let name = run.join("recipe.toml").display().to_string();
    let checked = Recipe::parse(&text, &name).map_err(stepwell_engine::EngineError::Recipe)?;
    Ok(checked.recipe)
}

/// Refuses conversations that a stage could not read, before a run's folder is made.
fn require_conversations(recipe: &Recipe) -> anyhow::Result<()> {
    for stage in &recipe.stage {
        let data = match stage {
            Stage::Sft(sft) => &sft.data,
            Stage::Rl(rl) => &rl.supervision.data,
            _ => &None,
        };
        if let Some(path) = data {
            stepwell_env::demonstrations::load(Path::new(path))?;
        }
    }
    Ok(())
}
