//! `compare`: runs side by side: what their recipes say, what came out, and how they got there.

mod curves;
mod evaluations;
mod recipes;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use stepwell_engine::recipe::Recipe;
use stepwell_store::RunReader;

use super::recorded_recipe;
use crate::arguments::Compare;
use crate::say::say;
use crate::visible::visible;
use curves::Curve;
use evaluations::Judged;

/// A run as it is compared.
struct Side {
    /// What tables call it.
    name: String,
    recipe: Recipe,
    /// The newest evaluation of each kind, in the order of the run.
    judged: Vec<Judged>,
    curve: Curve,
}

/// Compares.
pub(crate) fn compare(words: &Compare) -> anyhow::Result<ExitCode> {
    let names = names(&words.runs);
    let sides = words.runs.iter().zip(names).map(|(run, name)| side(run, name));
    let sides = sides.collect::<anyhow::Result<Vec<Side>>>()?;
    let sections = [recipes::tell(&sides), evaluations::tell(&sides), curves::tell(&sides)];
    say(sections.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn side(run: &Path, name: String) -> anyhow::Result<Side> {
    let recipe = recorded_recipe(run)?;
    let reader = RunReader::open(run)?;
    let judged = evaluations::read(&reader, &recipe)?;
    Ok(Side { name, judged, curve: Curve::read(&reader)?, recipe })
}

/// The folders' names; as they were given where two are equal.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let last = |run: &PathBuf| {
        let name = run.file_name().unwrap_or(run.as_os_str());
        visible(&name.to_string_lossy())
    };
    let short: Vec<String> = runs.iter().map(last).collect();
    let twice = short.iter().enumerate().any(|(i, name)| short[..i].contains(name));
    if twice { runs.iter().map(|run| visible(&run.to_string_lossy())).collect() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_one_name_are_told_apart() {
        let names = |runs: &[&str]| names(&runs.iter().map(PathBuf::from).collect::<Vec<_>>());
        assert_eq!(names(&["runs/a", "runs/b"]), ["a", "b"]);
        assert_eq!(names(&["one/a", "two/a"]), ["one/a", "two/a"]);
    }
}
