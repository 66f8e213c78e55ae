//! `runs`: what runs are there.

use std::process::ExitCode;

use stepwell_engine::recipe::Recipe;
use stepwell_store::{RunState, RunSummary, list_runs};

use crate::arguments::Runs;
use crate::failure::input;
use crate::say::say;
use crate::table::{Align, table};
use crate::visible::visible;

/// Prints a line per run.
pub(crate) fn runs(words: &Runs) -> anyhow::Result<ExitCode> {
    if !words.folder.is_dir() {
        let folder = words.folder.display();
        return Err(input(format!(
            "no folder `{folder}`; name the one that holds runs, or start one: stepwell train RECIPE"
        )));
    }
    let found = list_runs(&words.folder)?;
    if found.is_empty() {
        say(format!("no runs in `{}`; start one: stepwell train RECIPE", words.folder.display()));
        return Ok(ExitCode::SUCCESS);
    }
    let head = [
        ("run", Align::Left),
        ("state", Align::Left),
        ("stage", Align::Left),
        ("step", Align::Right),
        ("reward", Align::Right),
        ("accuracy", Align::Right),
        ("", Align::Left),
    ];
    let rows: Vec<Vec<String>> = found.iter().map(row).collect();
    say(table(&head, &rows));
    Ok(ExitCode::SUCCESS)
}

fn row(run: &RunSummary) -> Vec<String> {
    let (state, why) = match &run.state {
        RunState::Running => ("running", String::new()),
        RunState::Finished => ("finished", String::new()),
        RunState::Stopped => ("stopped", String::new()),
        RunState::Unreadable(why) => ("unreadable", visible(why)),
    };
    let metric = |name: &str| run.metrics.get(name).map_or_else(String::new, |v| format!("{v:.3}"));
    let recipe = Recipe::parse(&run.recipe, "recipe.toml").ok().map(|checked| checked.recipe);
    let stage = run.stage.map_or_else(String::new, |index| match &recipe {
        None => format!("{}", index + 1),
        Some(recipe) => {
            let kind = recipe.stage.get(index as usize).map_or("", |stage| stage.name());
            format!("{}/{} {kind}", index + 1, recipe.stage.len())
        }
    });
    vec![
        visible(&run.name),
        state.to_owned(),
        stage,
        run.update.map_or_else(String::new, |update| (update + 1).to_string()),
        metric("reward"),
        metric("accuracy"),
        why,
    ]
}
