//! The `rejection` stage: stopped, killed and resumed it is the same run; what it keeps is right,
//! is in the record, becomes likelier, and holds no hint.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::runs::{Watch, end, finish, recipe, warm_up};
use common::told::{resumes, told};
use stepwell_engine::run;
use stepwell_store::{RunReader, StoredTree};
use stepwell_tree::{StepId, StepTree, TaskHash, path_to};

/// Two rounds, each from the weights of the warm-up, with second tries under a hint. The bar is one
/// that some attempts of so small a model pass and most do not.
const STAR: &str = r#"
[[stage]]
[stage.rejection]
rounds = 2
restart = true
hints = true
steps = 4
batch = 5
tasks = 8
tasks_at_once = 3
threshold = 0.15
keep_max = 2
max_tokens = 40
learning_rate = 1e-2
warmup_steps = 1
checkpoint_every = 3
evaluate_every = 5
evaluate_questions = 2
grow = { type = "independent", attempts = 3 }
reward = { type = "composite" }
"#;

fn star() -> String {
    warm_up().to_owned() + STAR
}

/// Ends of the attempts that the record shows as kept.
fn kept(stored: &StoredTree) -> Vec<StepId> {
    let credit = &stored.credit.as_ref().unwrap().step;
    let ends = stepwell_tree::leaves(&stored.tree).into_iter();
    ends.filter(|leaf| credit[leaf.index()].is_some()).collect()
}

fn path_tokens(tree: &StepTree, leaf: StepId) -> usize {
    path_to(tree, leaf).iter().skip(1).map(|s| tree.tokens(*s).len()).sum()
}

#[test]
fn p01_a_stop_or_a_kill_anywhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (expected, _) = resumes(&star(), folder.path(), &[16, 17, 18, 20, 21, 23]);
    let path = folder.path().join("run");
    let copies = folder.path().join("copies");
    let mut watch = Watch { copy: Some((path.clone(), copies)), ..Watch::default() };
    run::start(&recipe(&star()), &path, 2, &mut watch).unwrap();
    let late = watch.copies.len() - 14;
    for (k, killed) in watch.copies.iter().enumerate().skip(late) {
        assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
    }
}

#[test]
fn what_is_kept_is_right_and_in_the_record_and_trains_without_its_hint() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    // Every kept attempt once per step: what is computed can be counted.
    let steps = told(&star().replace("batch = 5", "batch = 1"), &path);
    let reader = RunReader::open(&path).unwrap();
    let mut second = 0.0;
    for round in 0..2u64 {
        let metrics = &steps[16 + 4 * round as usize];
        let trees = reader.grown(1, 4 * round).unwrap().unwrap();
        assert!((1..4).all(|step| reader.grown(1, 4 * round + step).unwrap().is_none()));
        let counted: f64 = trees.iter().map(|tree| kept(tree).len() as f64).sum();
        assert_eq!(counted, metrics["kept"], "{metrics:#?}");
        assert!(counted > 0.0, "nothing was kept: the test has no power");
        // A round asks each task once, also where an epoch ends within its eight.
        let first = trees.len() - metrics["hinted_tasks"] as usize;
        let tasks: BTreeSet<TaskHash> = trees[..first].iter().map(|t| t.tree.task).collect();
        assert!(tasks.len() == first && (first == 8 || (round == 1 && first < 8)), "{first}");
        let plain: BTreeMap<TaskHash, usize> = trees[..first]
            .iter()
            .map(|tree| (tree.tree.task, tree.tree.tokens(StepId::ROOT).len()))
            .collect();
        for (t, stored) in trees.iter().enumerate() {
            let prompt = stored.tree.tokens(StepId::ROOT).len();
            assert_eq!(prompt > plain[&stored.tree.task], t >= first, "tree {t}");
            let own = kept(stored);
            assert!(own.len() <= 2);
            // A second try is of a task that kept nothing.
            let before = trees[..first].iter().find(|other| other.tree.task == stored.tree.task);
            assert!(t < first || kept(before.unwrap()).is_empty(), "tree {t}");
        }
        // A step computes one kept attempt below the prompt without a hint.
        let lengths: Vec<f64> = trees
            .iter()
            .flat_map(|stored| {
                let prompt = plain[&stored.tree.task];
                let whole = |leaf: StepId| (prompt + path_tokens(&stored.tree, leaf)) as f64;
                kept(stored).into_iter().map(whole).collect::<Vec<f64>>()
            })
            .collect();
        for step in 0..4 {
            let computed = steps[16 + 4 * round as usize + step]["computed_tokens"];
            assert!(lengths.contains(&computed), "{computed} of {lengths:?}");
        }
        second += metrics["hinted_kept"];
    }
    assert!(second > 0.0, "no second try was kept: the test has no power");
}

#[test]
fn what_is_kept_becomes_likelier_and_a_round_may_start_over() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str, text: &str| -> Vec<f64> {
        let steps = told(text, &folder.path().join(name));
        steps[16..].iter().map(|metrics| metrics["loss"]).collect()
    };
    let longer = star().replace("steps = 4\nbatch = 5", "steps = 12\nbatch = 16");
    let restarted = losses("a", &longer);
    assert!(restarted[11] < 0.8 * restarted[0], "{restarted:?}");
    let going_on = losses("b", &longer.replace("restart = true", "restart = false"));
    // The first round is the same; the second begins elsewhere.
    assert_eq!(restarted[..12], going_on[..12]);
    assert!(restarted[12] > going_on[12], "{restarted:?} {going_on:?}");
}

#[test]
fn where_nothing_is_kept_nothing_moves() {
    let folder = tempfile::tempdir().unwrap();
    let weights = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let steps = told(text, &path);
        let files = end(&path).files.into_iter();
        (files.filter(|(name, _)| name == "model.safetensors").collect::<Vec<_>>(), steps)
    };
    let never = star().replace("threshold = 0.15", "threshold = 1000.0");
    // Words of hints would be in the vocabulary, and make another model.
    let never = never.replace("hints = true", "hints = false");
    let (held, steps) = weights("a", &never);
    let (warm, _) = weights("b", warm_up());
    assert_eq!(held, warm);
    for metrics in &steps[16..] {
        assert_eq!((metrics["loss"], metrics["trained_tokens"]), (0.0, 0.0));
        assert!(metrics.values().all(|x| x.is_finite()));
    }
    assert_eq!((steps[16]["kept"], steps[16]["kept_tasks"]), (0.0, 0.0));
}

#[test]
fn how_many_trees_grow_at_once_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let head = |name: &str, text: &str| {
        let path = folder.path().join(name);
        told(text, &path);
        end(&path).files
    };
    let weights = |files: Vec<(String, stepwell_store::Digest)>| -> Vec<_> {
        files.into_iter().filter(|(name, _)| name.ends_with(".safetensors")).collect()
    };
    let some = weights(head("a", &star()));
    let all = weights(head("b", &star().replace("tasks_at_once = 3", "tasks_at_once = 64")));
    assert_eq!(some, all);
}
