//! What `recipes/sql_sasr.toml` offers in place of its own plan, curriculum and filter, and the
//! controls: each can be put in, and everything that there is is offered.

use std::collections::BTreeSet;

use stepwell_engine::recipe::{Recipe, Stage};

const TEXT: &str = include_str!("../../../recipes/sql_sasr.toml");

fn put(kind: &str, table: &str) -> Recipe {
    let set = [format!("stage[2].rl.{kind}={table}")];
    match Recipe::parse_with(TEXT, "recipe.toml", &set) {
        Ok(checked) => checked.recipe,
        Err(errors) => panic!("{kind} = {table}: {errors:#?}"),
    }
}

#[test]
fn every_plan_curriculum_and_filter_that_is_offered_can_be_put_in() {
    let mut offered = BTreeSet::new();
    let lines = TEXT.lines().filter_map(|line| line.strip_prefix("#   "));
    for line in lines.filter(|line| !line.starts_with(' ')) {
        let (method, control) = line.split_once("control:").expect("a method names its control");
        let (kind, method) = method.trim().split_once(" = ").expect("`plan = {...}`");
        for table in [method, control.trim()] {
            let recipe = put(kind, table);
            let Stage::Rl(rl) = &recipe.stage[2] else { panic!("stage 2 is reinforcement") };
            offered.extend([rl.plan.name(), rl.curriculum.name()]);
            offered.extend(rl.filter.iter().map(|filter| filter.name()));
            // What is written reads back equal.
            let again = Recipe::parse(&recipe.to_toml(), "again.toml").map(|c| c.recipe);
            assert_eq!(again, Ok(recipe));
        }
    }
    // This one needs a KL, which the recipe of demonstrations has not.
    offered.insert("adaptive_kl");
    let all = [
        stepwell_methods::Schedule::NAMES,
        stepwell_methods::Curriculum::NAMES,
        stepwell_methods::Filter::NAMES,
    ];
    let missing: Vec<&str> =
        all.concat().into_iter().filter(|name| !offered.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} are not offered");
}
