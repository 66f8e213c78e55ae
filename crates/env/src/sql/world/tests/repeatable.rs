//! A world is a function of its settings, whatever is asked first.

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_same_settings_give_the_same_world_in_any_order() {
    let (one, other) = (small(1), small(1));
    let scripts = |world: &World| -> Vec<String> {
        let plans = world.plans.iter().flatten();
        plans.map(|plan| plan.original.script(&plan.schema) + &plan.schema.text()).collect()
    };
    assert_eq!(scripts(&one), scripts(&other));
    let shared = environment(&one);
    let forwards: Vec<_> = (0..20).map(|index| one.demonstration(index, &shared)).collect();
    let mut backwards: Vec<_> =
        (0..20).rev().map(|index| other.demonstration(index, &shared)).collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    // A larger world begins with the smaller one, question by question.
    let config = WorldConfig { train_databases: 30, questions: 6, ..one.config.clone() };
    let larger = build(&config);
    for split in Split::ALL {
        assert_eq!(one.tasks(split), other.tasks(split));
        assert!(one.tasks(split).iter().all(|task| larger.tasks(split).contains(task)));
    }
    let reseeded = build(&WorldConfig { seed: 2, ..one.config.clone() });
    assert_ne!(one.tasks(Split::Train), reseeded.tasks(Split::Train));
}

#[test]
fn splits_share_no_database_and_no_task() {
    let world = build(&WorldConfig::default());
    let (mut rows, mut hashes, mut names) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut prompts, mut plans, mut tasks) = (BTreeMap::new(), 0, 0);
    for split in Split::ALL {
        for plan in &world.plans[split as usize] {
            rows.insert(plan.original.script(&plan.schema));
            rows.insert(plan.twin.script(&plan.schema));
            names.insert(plan.name.clone());
            plans += 1;
        }
        for task in world.tasks(split) {
            hashes.insert(task.hash());
            tasks += 1;
            let plan =
                world.plans[split as usize].iter().find(|p| p.name == task.fields["database"]);
            let prompt = plan.unwrap().schema.text() + &task.question;
            assert_eq!(*prompts.entry(prompt).or_insert(split), split, "{task:?}");
        }
    }
    assert_eq!((rows.len(), names.len(), hashes.len()), (2 * plans, plans, tasks));
    assert_eq!(tasks, 4 * 1120, "every database has its four questions");
    let ids: BTreeSet<&str> =
        Split::ALL.iter().flat_map(|s| world.tasks(*s)).map(|task| task.id.as_str()).collect();
    assert_eq!(ids.len(), tasks);
    assert!(ids.contains("train-0012-3") && ids.contains("held-out-0099-0"));
}

#[test]
fn a_database_is_found_by_its_name_only() {
    let world = small(1);
    assert_eq!(world.database("held_out_0003").unwrap().name(), "held_out_0003");
    for absent in ["held_out_3", "held_out_0010", "train", "", "train_0025", "other_0001"] {
        assert!(world.database(absent).is_none(), "{absent}");
    }
    assert_eq!(world.names(Split::Development).last(), Some("development_0004"));
}

#[test]
fn settings_out_of_range_are_named() {
    assert_eq!(WorldConfig::default().problems(), Vec::<String>::new());
    let mix = TraceMix { careful_counting: 1.5, slip: 0.2, ..TraceMix::default() };
    let config = WorldConfig { difficulty: 4, questions: 51, mix, ..WorldConfig::default() };
    let problems = config.problems().join("\n");
    for name in ["`difficulty`", "`questions`", "`mix.careful_counting`", "sum to 1"] {
        assert!(problems.contains(name), "{name} in {problems}");
    }
    let unknown = serde_json::from_str::<WorldConfig>(r#"{"dificulty": 2}"#);
    assert!(unknown.unwrap_err().to_string().contains("dificulty"));
    assert_eq!(serde_json::from_str::<WorldConfig>("{}").unwrap(), WorldConfig::default());
}
