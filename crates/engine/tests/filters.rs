//! Filters and refilling in whole runs: what is dropped is recorded, counted and not trained; what
//! is drawn in its place is keyed, capped, charged, and the same after a stop or a kill.

mod common;

use common::runs::{TINY, Watch, end, finish, recipe, start};
use common::told::{resumes, told};
use stepwell_engine::observe::Metrics;
use stepwell_engine::run;
use stepwell_store::RunReader;

/// The tiny recipe with more keys in its `rl` stage.
fn with(keys: &str) -> String {
    let line = "minibatches = 2\n";
    assert!(TINY.contains(line));
    TINY.replace(line, &format!("{line}{keys}\n"))
}

fn rl(steps: &[Metrics]) -> &[Metrics] {
    &steps[16..19]
}

const REFILLED: &str = "filter = [{ type = \"drop_uniform\" }, { type = \"difficulty\", keep = \
                        [\"hard\", \"medium\", \"easy\"] }]\nrefill = 5";

#[test]
fn what_is_dropped_is_recorded_and_counted_and_more_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (_, steps) = resumes(&with(REFILLED), folder.path(), &[16, 17, 18]);
    let reader = RunReader::open(&folder.path().join("whole")).unwrap();
    let mut refilled = 0.0;
    for (update, metrics) in rl(&steps).iter().enumerate() {
        let get = |name: &str| metrics.get(name).copied().unwrap_or_default();
        let (drawn, kept) = (get("trees_drawn"), get("trees_kept"));
        assert!((4.0..=9.0).contains(&drawn) && kept <= 4.0, "{metrics:#?}");
        assert_eq!(get("trees_missing"), 4.0 - kept);
        assert_eq!(get("dropped/drop_uniform") + get("dropped/difficulty"), drawn - kept);
        // It stops when it has its trees, or when the cap is used.
        assert!(kept == 4.0 || drawn == 9.0, "{metrics:#?}");
        let buckets = ["unsolved", "hard", "medium", "easy", "solved"];
        let sorted: f64 = buckets.iter().map(|name| get(&format!("difficulty/{name}"))).sum();
        assert_eq!(sorted, drawn);
        let trees = reader.grown(1, update as u64).unwrap().unwrap();
        assert_eq!(trees.len() as f64, drawn);
        let credited = |tree: &&stepwell_store::StoredTree| {
            tree.credit.as_ref().unwrap().step.iter().any(Option::is_some)
        };
        assert_eq!(trees.iter().filter(credited).count() as f64, kept);
        // No task is in an update twice, and every sampled token is charged.
        let mut tasks: Vec<_> = trees.iter().map(|tree| tree.tree.task).collect();
        tasks.sort();
        tasks.dedup();
        assert_eq!(tasks.len() as f64, drawn);
        let policy = trees.iter().flat_map(|stored| {
            let tree = &stored.tree;
            (0..tree.len()).filter(|&i| tree.origin[i].is_policy()).map(|i| tree.span[i].len())
        });
        assert_eq!(policy.sum::<usize>() as f64, get("sampled_tokens"));
        refilled += drawn - 4.0;
    }
    assert!(refilled > 0.0, "nothing was ever dropped: the test has no power");
}

#[test]
fn p01_a_kill_while_further_tasks_grow_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let copies = folder.path().join("copies");
    let mut watch = Watch { copy: Some((path.clone(), copies)), ..Watch::default() };
    run::start(&recipe(&with(REFILLED)), &path, 2, &mut watch).unwrap();
    let expected = end(&path);
    let late = watch.copies.len() - 14;
    for (k, killed) in watch.copies.iter().enumerate().skip(late) {
        assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
    }
}

#[test]
fn refilling_stops_at_its_cap_and_an_update_of_nothing_takes_no_step() {
    let folder = tempfile::tempdir().unwrap();
    // No tree is solved by all of its attempts and by fewer than all.
    let never =
        "filter = [{ type = \"success_rate\", above = 0.999 }, { type = \"drop_uniform\" }]";
    let steps = told(&with(&format!("{never}\nrefill = 3")), &folder.path().join("a"));
    for metrics in rl(&steps) {
        let counts = ["trees_drawn", "trees_kept", "trees_missing", "trained_tokens"];
        assert_eq!(counts.map(|name| metrics[name]), [7.0, 0.0, 4.0, 0.0], "{metrics:#?}");
        assert!(metrics.values().all(|x| x.is_finite()), "{metrics:#?}");
        assert_eq!((metrics["loss"], metrics["gradient_norm"]), (0.0, 0.0));
    }
    // The weights are those of the warm-up.
    let reader = RunReader::open(&folder.path().join("a")).unwrap();
    let versions: Vec<u64> = reader.lineage().unwrap().iter().map(|row| row.version.0).collect();
    assert_eq!((versions.iter().max(), versions.len() > 16), (Some(&16), true));
}

#[test]
fn refilling_is_charged_to_the_budget_of_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let never =
        "filter = [{ type = \"success_rate\", above = 0.999 }, { type = \"drop_uniform\" }]";
    let free = told(&with(&format!("{never}\nrefill = 3")), &folder.path().join("a"));
    let first = rl(&free)[0]["sampled_tokens"];
    // Enough for the update's own trees and one token more: one further round, and the stage ends.
    let bare = told(&with(never), &folder.path().join("b"));
    let own = bare[16]["sampled_tokens"];
    assert!(own + 1.0 < first);
    let budget = format!("{never}\nrefill = 3\ntoken_budget = {}", own as u64);
    let steps = told(&with(&budget), &folder.path().join("c"));
    assert_eq!(steps.len(), 17, "the budget is used by the first update");
    assert_eq!((steps[16]["trees_drawn"], steps[16]["sampled_tokens"]), (4.0, own));
}

#[test]
fn a_filter_that_keeps_everything_changes_no_weight_and_one_that_does_not_changes_some() {
    let folder = tempfile::tempdir().unwrap();
    let files = |name: &str, keys: &str| {
        let path = folder.path().join(name);
        start(&with(keys), &path, 2).unwrap();
        end(&path).files
    };
    let plain = files("a", "");
    let idle = files("b", "filter = [{ type = \"length\", tokens_max = 1000, truncated = false }]");
    let weights = |files: &[(String, stepwell_store::Digest)]| -> Vec<_> {
        files.iter().filter(|(name, _)| name.ends_with(".safetensors")).cloned().collect()
    };
    assert_eq!(weights(&idle), weights(&plain));
    let short = files("c", "filter = [{ type = \"length\", tokens_max = 12 }]");
    assert_ne!(weights(&short), weights(&plain));
}
