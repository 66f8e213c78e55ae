//! Which checkpoints stay: the newest and the best, also after a stop, a kill, or a crash between
//! writing one and removing another.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::runs::{TINY, Watch, copy, end, finish, recipe, start};
use stepwell_engine::run::{self, Outcome};
use stepwell_store::{Kind, RunReader};

/// Six updates, each judged and written, of which the last and the two with the shortest answers
/// stay. Answers of so small a model are hardly ever right; their lengths differ.
fn kept() -> String {
    let text = TINY.replace("steps = 3\n", "steps = 6\n");
    let text = text.replace("evaluate_every = 2\n", "evaluate_every = 1\n");
    let table = "[checkpoints]\nkeep_last = 1\nkeep_best = 2\nbest = \"lowest\"\n\
                 metric = \"sampled_tokens_per_question\"\n";
    assert!(text.contains("steps = 6\n") && text.contains("evaluate_every = 1\n"));
    text.replacen("[environment]", &format!("{table}[environment]"), 1)
}

fn names(run: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(run.join("checkpoints")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// What must stay, from the record alone: the supervised stage takes numbers up to 17, and update
/// k of the next one is number 17 + k.
fn expected(run: &Path) -> BTreeSet<String> {
    let reader = RunReader::open(run).unwrap();
    let judged = reader.commits().unwrap().into_iter().filter(|commit| {
        let key = &commit.key;
        key.kind == Kind::Evaluated && key.name == "development" && key.stage == 1
    });
    let mut lengths: Vec<(f64, u64)> = judged
        .map(|commit| {
            let metrics = reader.metrics(commit.head.number).unwrap();
            (metrics["sampled_tokens_per_question"], 17 + commit.key.update)
        })
        .collect();
    assert_eq!(lengths.len(), 6);
    assert!(lengths.iter().any(|(length, _)| *length != lengths[0].0), "the test has no power");
    // The end of the stage is written in place of its last update.
    lengths.last_mut().unwrap().1 += 1;
    lengths.sort_by(|a, b| a.partial_cmp(b).unwrap());
    let best = lengths[..2].iter().map(|(_, number)| *number);
    best.chain([24]).map(|number| format!("{number:06}")).collect()
}

#[test]
fn p11_the_last_and_the_best_stay_however_the_run_was_disturbed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copies) = (folder.path().join("run"), folder.path().join("copies"));
    let mut watch = Watch { copy: Some((path.clone(), copies)), ..Watch::default() };
    let outcome = run::start(&recipe(&kept()), &path, 2, &mut watch).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    let (whole, stay) = (end(&path), expected(&path));
    assert_eq!(names(&path), stay);
    assert_ne!(stay, BTreeSet::from(["000022", "000023", "000024"].map(str::to_owned)));
    let late = watch.copies.len() - 24;
    for (k, killed) in watch.copies.iter().enumerate().filter(|(k, _)| *k >= late || k % 9 == 0) {
        assert_eq!(finish(killed, 2).unwrap(), whole, "killed at event {k}");
        assert_eq!(names(killed), stay, "killed at event {k}");
    }
    for k in [17, 19, 22] {
        let path = folder.path().join(k.to_string());
        let mut watch = Watch { stop_after: Some(k), ..Watch::default() };
        run::start(&recipe(&kept()), &path, 2, &mut watch).unwrap();
        assert_eq!(finish(&path, 1).unwrap(), whole, "stopped at {k}");
        assert_eq!(names(&path), stay, "stopped at {k}");
    }
}

#[test]
fn p11_what_a_crash_left_undeleted_is_deleted_by_the_next_opening() {
    let folder = tempfile::tempdir().unwrap();
    let (path, copies) = (folder.path().join("run"), folder.path().join("copies"));
    let mut watch = Watch { copy: Some((path.clone(), copies)), ..Watch::default() };
    run::start(&recipe(&kept()), &path, 2, &mut watch).unwrap();
    let (whole, stay) = (end(&path), names(&path));
    // The newest was written, what it replaces was not removed, and the machine went down.
    for copied in &watch.copies {
        for name in names(copied).difference(&names(&path)) {
            let place = |run: &Path| run.join("checkpoints").join(name);
            copy(&place(copied), &place(&path));
        }
    }
    assert!(names(&path).len() >= stay.len() + 4, "{:?}", names(&path));
    assert_eq!(finish(&path, 2).unwrap(), whole);
    assert_eq!(names(&path), stay);
}

#[test]
fn without_a_word_the_two_newest_stay() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    start(TINY, &path, 2).unwrap();
    assert_eq!(names(&path), BTreeSet::from(["000019", "000021"].map(str::to_owned)));
}

#[test]
fn what_is_kept_is_written_with_the_recipe_and_read_back() {
    let text = kept();
    let read = recipe(&text);
    assert_eq!((read.checkpoints.keep_last, read.checkpoints.keep_best), (1, 2));
    assert_eq!(recipe(&read.to_toml()), read);
    assert_ne!(recipe(TINY).checkpoints, read.checkpoints);
}
