//! What recipes may say of growing, and what they must not: `recipes/sql_growing.toml` offers every
//! method, and bad combinations are refused word for word.

use std::collections::BTreeSet;

use stepwell_engine::recipe::{Recipe, Stage};
use stepwell_methods::Grow;

const GROWING: &str = include_str!("../../../recipes/sql_growing.toml");
const GOOD: &str = include_str!("bad_inputs/good.toml");

fn read(text: &str, set: &[String]) -> Result<Recipe, Vec<String>> {
    match Recipe::parse_with(text, "recipe.toml", set) {
        Ok(checked) => Ok(checked.recipe),
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn every_way_of_growing_is_offered_with_its_credit_and_reads_back() {
    let mut offered = BTreeSet::new();
    let lines = GROWING.lines().filter_map(|line| line.strip_prefix("#   grow = "));
    for line in lines {
        let (grow, credit) = line.split_once("  credit = ").expect("a credit goes with it");
        let set = [("grow", grow), ("credit", credit)]
            .map(|(key, table)| format!("stage[1].rl.{key}={table}"));
        let recipe = read(GROWING, &set).unwrap_or_else(|errors| panic!("{line}: {errors:?}"));
        let Stage::Rl(rl) = &recipe.stage[1] else { panic!("stage 1 is reinforcement") };
        offered.insert(rl.grow.name());
        assert_eq!(read(&recipe.to_toml(), &[]).as_ref(), Ok(&recipe), "{line}");
        assert_eq!(read(&recipe.to_commented_toml(), &[]), Ok(recipe), "{line}");
    }
    let recipe = read(GROWING, &[]).unwrap();
    for stage in &recipe.stage {
        if let Stage::Evaluate(evaluate) = stage {
            offered.insert(evaluate.search().name());
        }
    }
    let missing: Vec<_> = Grow::NAMES.iter().filter(|name| !offered.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not offered");
}

#[test]
fn what_an_evaluation_does_not_read_is_not_written() {
    let plain = read(GOOD, &[]).unwrap().to_toml();
    let evaluate = plain.split("[stage.evaluate]").nth(1).unwrap();
    assert!(!evaluate.contains("grow") && !evaluate.contains("scorer"), "{evaluate}");
    let search = "stage[2].evaluate={ decoding = \"search\", grow = { type = \"beam\" } }";
    let searched = read(GOOD, &[search.to_owned()]).unwrap();
    assert!(searched.to_toml().contains("grow.width = 4"));
    assert_eq!(read(&searched.to_toml(), &[]), Ok(searched));
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    set: Vec<String>,
    errors: Vec<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

#[test]
fn what_does_not_go_together_is_refused_word_for_word() {
    let cases: Cases = toml::from_str(include_str!("bad_inputs/growing.toml")).unwrap();
    assert!(cases.case.len() > 5, "the table is cut short");
    for Case { set, errors } in cases.case {
        assert!(!errors.is_empty());
        assert_eq!(read(GOOD, &set), Err(errors), "{set:?}");
    }
}
