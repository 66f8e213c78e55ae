//! P1: stop or kill a run anywhere, resume it, and the record and the weights are those of the run
//! that nobody disturbed. P2: threads change nothing.

mod common;

use common::runs::{TINY, Watch, copy, edit_newest, end, finish, recipe, start};
use stepwell_engine::run::{self, Outcome};

#[test]
fn p02_the_same_recipe_is_the_same_run_with_any_threads() {
    let folder = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    for (name, threads) in [("a", 2), ("b", 2), ("c", 1), ("d", 7)] {
        let path = folder.path().join(name);
        let watch = start(TINY, &path, threads).unwrap();
        assert_eq!(watch.steps, 19);
        // Three updates of four tasks with two attempts each: what is more comes from forks.
        assert!(watch.leaves > 24.0, "no tree branched: {} leaves", watch.leaves);
        ends.push(end(&path));
    }
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:#?}");
    // Another seed is another run: the comparison has power.
    let path = folder.path().join("e");
    start(&TINY.replace("seed = 3", "seed = 4"), &path, 2).unwrap();
    assert_ne!(end(&path).files, ends[0].files);
}

#[test]
fn p01_a_stop_anywhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    start(TINY, &whole, 2).unwrap();
    let expected = end(&whole);
    for k in [1, 4, 5, 6, 15, 16, 17, 18, 19] {
        let path = folder.path().join(k.to_string());
        let mut watch = Watch { stop_after: Some(k), ..Watch::default() };
        let outcome = run::start(&recipe(TINY), &path, 2, &mut watch).unwrap();
        assert_eq!((outcome, watch.steps), (Outcome::Stopped, k));
        // A resume that is stopped after one more step, and a resume of that.
        let mut watch = Watch { stop_after: Some(1), ..Watch::default() };
        let outcome = run::resume(&path, 1, &mut watch).unwrap();
        assert_eq!(outcome == Outcome::Stopped, k < 19, "stopped at {k}");
        assert_eq!(finish(&path, 2).unwrap(), expected, "stopped at {k}");
    }
}

#[test]
fn p01_a_kill_at_any_event_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let copies = folder.path().join("copies");
    let mut watch = Watch { copy: Some((path.clone(), copies)), ..Watch::default() };
    run::start(&recipe(TINY), &path, 2, &mut watch).unwrap();
    let expected = end(&path);
    assert!(watch.copies.len() > 30, "too few kills: {}", watch.copies.len());
    // The supervised stage is one event after another of the same kind: every third of them.
    let late = watch.copies.len() - 16;
    for (k, killed) in watch.copies.iter().enumerate().filter(|(k, _)| *k >= late || k % 4 == 0) {
        assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
    }
    // A finished run that is resumed stays what it is.
    assert_eq!(finish(&path, 2).unwrap(), expected);
}

/// Stops a run in its `rl` stage, edits what the checkpoint says, and goes on.
fn sabotaged(edit: impl FnOnce(&mut serde_json::Value, &mut Vec<(String, Vec<u8>)>)) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let (whole, path) = (folder.path().join("whole"), folder.path().join("stopped"));
    let mut watch = Watch { stop_after: Some(17), ..Watch::default() };
    run::start(&recipe(TINY), &path, 2, &mut watch).unwrap();
    copy(&path, &whole);
    let expected = finish(&whole, 2).unwrap();
    edit_newest(&path, edit);
    match finish(&path, 2) {
        Ok(got) => got != expected,
        Err(_) => true,
    }
}

#[test]
fn p01_every_ingredient_of_a_checkpoint_is_needed() {
    assert!(!sabotaged(|_, _| {}), "the same checkpoint, written again, is the same run");
    assert!(sabotaged(|state, _| state["optimizer_step"] = 0.into()), "optimizer step");
    assert!(sabotaged(|state, _| state["place"]["done"] = 2.into()), "place");
    assert!(sabotaged(|state, _| state["version"] = 1.into()), "version");
    assert!(sabotaged(|state, _| state["weights_checksum"] = "0".into()), "checksum");
    assert!(sabotaged(|_, files| files.retain(|f| f.0 != "reference.safetensors")), "reference");
    let moments = |files: &mut Vec<(String, Vec<u8>)>| {
        let file = files.iter_mut().find(|f| f.0 == "optimizer.safetensors").unwrap();
        let mut tensors = stepwell_store::tensors_from_bytes(&file.1).unwrap();
        tensors.iter_mut().for_each(|(_, _, numbers)| numbers.fill(0.0));
        file.1 = stepwell_store::tensors_to_bytes(&tensors).unwrap();
    };
    assert!(sabotaged(|_, files| moments(files)), "moments");
}
