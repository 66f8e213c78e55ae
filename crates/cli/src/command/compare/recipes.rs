//! What recipes say differently. Stages are laid beside each other by what they are: a recipe with
//! one more of them does not differ in all that follow.

use std::collections::BTreeMap;

use stepwell_engine::recipe::{Recipe, Stage};

use super::Side;
use super::evaluations::{before_the_last, label};
use crate::say::width;
use crate::table::{Align, table};
use crate::visible::both_ends;

/// Keys and values of a stage, or of what stands above the stages.
type Keys = BTreeMap<String, String>;

/// Keys that are not the same in all recipes.
pub(super) fn tell(sides: &[Side]) -> String {
    let all: Vec<BTreeMap<String, Keys>> =
        sides.iter().map(|side| by_stage(&side.recipe)).collect();
    let rows = rows(&all);
    if rows.is_empty() {
        return "recipes: the same, with the same seed\n".to_owned();
    }
    let room = (width().saturating_sub(40) / sides.len()).max(12);
    let short = |(key, values): &(String, Vec<String>)| {
        let values = values.iter().map(|value| both_ends(value, room));
        std::iter::once(key.clone()).chain(values).collect()
    };
    let head: Vec<(&str, Align)> = std::iter::once(("recipes differ in", Align::Left))
        .chain(sides.iter().map(|side| (side.name.as_str(), Align::Left)))
        .collect();
    table(&head, &rows.iter().map(short).collect::<Vec<_>>())
}

fn rows(all: &[BTreeMap<String, Keys>]) -> Vec<(String, Vec<String>)> {
    let mut rows = Vec::new();
    let mut stages: Vec<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    stages.sort();
    stages.dedup();
    for stage in stages {
        let own: Vec<Option<&Keys>> = all.iter().map(|of| of.get(stage)).collect();
        if own.iter().any(Option::is_none) {
            let there = |of: &Option<&Keys>| of.map_or("not there", |_| "there").to_owned();
            rows.push((stage.clone(), own.iter().map(there).collect()));
        }
        let own: Vec<&Keys> = own.into_iter().flatten().collect();
        let mut keys: Vec<&String> = own.iter().flat_map(|keys| keys.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            if own.iter().all(|keys| keys.get(key) == own[0].get(key)) {
                continue;
            }
            let value = |of: &BTreeMap<String, Keys>| match of.get(stage) {
                Some(keys) => keys.get(key).cloned().unwrap_or_else(|| "not set".to_owned()),
                None => String::new(),
            };
            let name = if stage.is_empty() { key.clone() } else { format!("{stage}.{key}") };
            rows.push((name, all.iter().map(value).collect()));
        }
    }
    rows
}

/// Keys by stage; those above the stages under the empty name.
fn by_stage(recipe: &Recipe) -> BTreeMap<String, Keys> {
    let names = names(recipe);
    let mut found = BTreeMap::from([(String::new(), Keys::new())]);
    found.extend(names.iter().map(|name| (name.clone(), Keys::new())));
    for entry in recipe.entries() {
        let (key, Some(value)) = (entry.key(), entry.value) else { continue };
        let of_stage = key.strip_prefix("stage[").and_then(|rest| rest.split_once(']'));
        let of_stage = of_stage.and_then(|(index, rest)| {
            let (_, key) = rest.strip_prefix('.')?.split_once('.')?;
            Some((names.get(index.parse::<usize>().ok()?)?.clone(), key.to_owned()))
        });
        let (stage, key) = of_stage.unwrap_or((String::new(), key));
        found.entry(stage).or_default().insert(key, value);
    }
    found
}

/// A name for each stage: `rl`, `rl (2)`; evaluations by what they ask, counted from the last.
fn names(recipe: &Recipe) -> Vec<String> {
    let kinds: Vec<String> = recipe
        .stage
        .iter()
        .map(|stage| match stage {
            Stage::Evaluate(own) => format!("evaluate ({})", label(own)),
            other => other.name().to_owned(),
        })
        .collect();
    let name = |(at, kind): (usize, &String)| {
        let same = |kinds: &[String]| kinds.iter().filter(|other| *other == kind).count();
        match (same(&kinds[..at]), same(&kinds[at + 1..])) {
            _ if kind.starts_with("evaluate") => {
                format!("{kind}{}", before_the_last(same(&kinds[at + 1..])))
            }
            (0, _) => kind.clone(),
            (before, _) => format!("{kind} ({})", before + 1),
        }
    };
    kinds.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "seed = 1\n[model.scratch]\n[environment]\ntype = \"sql\"\n\
                        [environment.world]\n";
    const SFT: &str = "[[stage]]\n[stage.sft]\ndemonstrations = \"scripted\"\n";
    const RL: &str = "[[stage]]\n[stage.rl]\n";
    const ASK: &str = "[[stage]]\n[stage.evaluate]\n";

    fn said(recipes: [String; 2]) -> Vec<(String, Vec<String>)> {
        let read = |text: &String| by_stage(&Recipe::parse(text, "r.toml").unwrap().recipe);
        rows(&recipes.each_ref().map(read))
    }

    #[test]
    fn a_stage_more_is_one_line_and_the_others_stay_beside_their_own() {
        let a = format!("{HEAD}{SFT}{ASK}{RL}steps = 9\n{ASK}");
        let b = format!("{HEAD}{SFT}{RL}steps = 8\n{RL}{ASK}questions = 7\n");
        let row =
            |name: &str, a: &str, b: &str| (name.to_owned(), vec![a.to_owned(), b.to_owned()]);
        let ask = "evaluate (held_out, greedy)";
        assert_eq!(
            said([a.clone(), b]),
            [
                row(&format!("{ask}.questions"), "400", "7"),
                row(&format!("{ask}, the one before the last"), "there", "not there"),
                row("rl.steps", "9", "8"),
                row("rl (2)", "not there", "there"),
            ]
        );
        assert_eq!(said([a.clone(), a.clone()]), []);
        let seed = a.replacen("seed = 1", "seed = 2", 1);
        assert_eq!(said([a, seed]), [row("seed", "1", "2")]);
    }
}
