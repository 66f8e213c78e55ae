//! Curricula in whole runs: tasks come as the estimates of the stage's own trees say, and the table
//! of estimates survives a stop.

mod common;

use std::collections::BTreeMap;

use common::runs::{end, warm_up};
use common::told::{resumes, sabotaged, told};
use stepwell_methods::curriculum::Estimates;
use stepwell_store::RunReader;
use stepwell_tree::TaskHash;

fn with(curriculum: &str) -> String {
    let stage = "[[stage]]\n[stage.rl]\nsteps = 6\ntasks = 4\nmax_tokens = 40\n\
                 learning_rate = 1e-2\ncheckpoint_every = 2\n\
                 grow = { type = \"branch\", attempts = 2, branches = 2, leaves = 4 }\n\
                 reward = { type = \"composite\" }\n";
    format!("{}{stage}{curriculum}\n", warm_up())
}

const EASY: &str = "curriculum = { type = \"easy_to_hard\", solved_at = 0.0, hard_below = 1.0, first_share = 0.5 }";
const WEIGHTED: &str = "curriculum = { type = \"weighted\", floor = 0.01 }\nrefill = 2\n\
                        filter = [{ type = \"drop_uniform\" }]";

#[test]
fn p01_a_stop_changes_nothing_and_the_table_is_needed() {
    for curriculum in [EASY, WEIGHTED] {
        let folder = tempfile::tempdir().unwrap();
        let text = with(curriculum);
        let (expected, steps) = resumes(&text, folder.path(), &[17, 19, 20, 21]);
        assert!(!sabotaged(&text, 20, &expected, |_| {}), "the same checkpoint, written again");
        let forgotten = |state: &mut serde_json::Value| {
            let held = &mut state["memory"]["estimates"];
            assert!(held.as_array().is_some_and(|lines| lines.len() > 4), "{state:#}");
            *held = serde_json::json!([]);
        };
        assert!(sabotaged(&text, 20, &expected, forgotten), "{curriculum} does without its table");
        let known: Vec<f64> = steps[16..].iter().map(|m| m["curriculum/known"]).collect();
        assert!(known[0] == 0.0 && known.windows(2).all(|w| w[0] <= w[1]), "{known:?}");
        assert!(known[5] >= 8.0, "{known:?}");
    }
}

/// Every update's tasks are drawn from those that the estimates before it leave in the part, as far
/// as there are enough.
#[test]
fn what_is_drawn_is_what_the_estimates_want() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let steps = told(&with(EASY), &path);
    let reader = RunReader::open(&path).unwrap();
    let mut table: BTreeMap<TaskHash, f64> = BTreeMap::new();
    let mut wanted_one = 0;
    for update in 0..6u64 {
        let trees = reader.grown(1, update).unwrap().unwrap();
        let wants = |task: &TaskHash| {
            let rate = table.get(task).copied();
            // Every judged attempt counts as solved (`solved_at = 0`): a rate of 1 is in the first
            // part and not in the second.
            rate.is_none_or(|rate| if update < 3 { rate > 0.0 } else { rate < 1.0 })
        };
        let unwanted = trees.iter().filter(|tree| !wants(&tree.tree.task)).count();
        let metrics = &steps[16 + update as usize];
        assert_eq!(metrics["curriculum/unwanted_drawn"], unwanted as f64, "update {update}");
        assert_eq!(metrics["curriculum/known"], table.len() as f64);
        let all = 12.0;
        let left = all - table.keys().filter(|task| !wants(task)).count() as f64;
        assert_eq!(metrics["curriculum/wanted"], left, "update {update}");
        assert_eq!(unwanted as f64, (4.0 - left).max(0.0));
        wanted_one += usize::from(update >= 3 && left > 0.0);
        for tree in &trees {
            table.insert(tree.tree.task, 1.0);
        }
    }
    assert!(wanted_one > 0, "the second part wanted nothing: the test has no power");
}

#[test]
fn a_table_of_estimates_returns_through_text_bit_for_bit() {
    let mut tree =
        stepwell_tree::parse("0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=0\n3 0 policy c r=0");
    let mut table = Estimates::default();
    for task in 0..5u8 {
        tree.task = TaskHash([task.wrapping_mul(51).wrapping_add(3); 32]);
        table.observe(&tree, 7 + u64::from(task), 1.0);
    }
    let text = serde_json::to_string(&table).unwrap();
    let back: Estimates = serde_json::from_str(&text).unwrap();
    assert_eq!(back, table);
    let rate = back.rate(&TaskHash([3; 32]), 7, None).unwrap();
    assert_eq!(rate.to_bits(), (1.0_f64 / 3.0).to_bits());
}

#[test]
fn another_curriculum_is_another_run() {
    let folder = tempfile::tempdir().unwrap();
    let ends: Vec<_> = ["", EASY, "curriculum = { type = \"weighted\" }"]
        .iter()
        .enumerate()
        .map(|(k, curriculum)| {
            let path = folder.path().join(k.to_string());
            told(&with(curriculum), &path);
            end(&path).files
        })
        .collect();
    assert!(ends[0] != ends[1] && ends[1] != ends[2] && ends[0] != ends[2]);
}
