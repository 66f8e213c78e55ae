//! Making, opening, closing and listing run folders (rows 16, 17 and 19 of the table of bad
//! inputs).

mod support;

use std::fs;

use stepwell_store::{Closing, RunFolder, RunReader, RunState, list_runs};
use support::*;

#[test]
fn row_16_only_an_empty_folder_becomes_a_run() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("deep/run");
    let say = || {
        RunFolder::create(&path, RECIPE).map(drop).map_err(|error| {
            assert_eq!(error.exit_code(), 2);
            error.to_string().replace(&path.display().to_string(), "RUN")
        })
    };
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join("thesis.tex"), "mine").unwrap();
    assert_eq!(
        say().unwrap_err(),
        "refusing to write into `RUN`: it holds files that are not a run (first: `thesis.tex`); \
         choose an empty folder"
    );
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    fs::remove_file(path.join("thesis.tex")).unwrap();
    // What a killed `create` left is no obstacle.
    fs::create_dir(path.join("checkpoints")).unwrap();
    fs::write(path.join("tmp-run.sqlite"), "half").unwrap();
    fs::write(path.join("lock"), "pid 1\n").unwrap();
    say().unwrap();
    assert_eq!(fs::read_to_string(path.join("recipe.toml")).unwrap(), RECIPE);
    assert_eq!(say().unwrap_err(), "`RUN` holds a run; resume it or choose another folder");
    fs::remove_file(path.join("run.sqlite")).unwrap();
    let error = RunFolder::open_for_writing(&path).unwrap_err().to_string();
    assert!(error.starts_with("no run in `") && error.ends_with("is missing; check the path"));
}

#[test]
fn row_17_a_run_has_one_writer() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let (folder, record) = small_run(&path, 1);
    drop(folder); // the record keeps the lock
    let error = RunFolder::open_for_writing(&path).unwrap_err();
    let expected = format!("run is in use by pid {} on host ", std::process::id());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(error.exit_code(), 3);
    RunReader::open(&path).unwrap().verify().unwrap();
    drop(record);
    RunFolder::open_for_writing(&path).unwrap();
}

#[test]
fn row_19_missing_space_is_told_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let folder = RunFolder::create(&place.path().join("run"), RECIPE).unwrap();
    folder.require_space(1_000, "one checkpoint").unwrap();
    let error = folder.require_space(1 << 62, "one checkpoint").unwrap_err();
    let expected = "cannot write run folder: no space left (needs about 4611686018.4 GB for one";
    assert!(error.to_string().starts_with(expected), "{error}");
}

#[test]
fn a_recipe_that_was_edited_is_refused_and_a_missing_one_is_restored() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    drop(small_run(&path, 1));
    fs::write(path.join("recipe.toml"), "seed = 8").unwrap();
    let error = RunFolder::open_for_writing(&path).unwrap_err();
    assert!(error.to_string().starts_with("`recipe.toml` is not the recipe of this run: got"));
    fs::remove_file(path.join("recipe.toml")).unwrap();
    assert_eq!(RunFolder::open_for_writing(&path).unwrap().recipe(), RECIPE);
    assert_eq!(fs::read_to_string(path.join("recipe.toml")).unwrap(), RECIPE);
}

#[test]
fn a_run_that_ends_cleanly_is_one_plain_file() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let (_folder, record) = small_run(&path, 1);
    assert_eq!(record.close().unwrap(), Closing::OneFile);
    assert!(!path.join("run.sqlite-wal").exists() && !path.join("run.sqlite-shm").exists());
    let reader = RunReader::open(&path).unwrap();
    reader.verify().unwrap();
    assert!(!path.join("run.sqlite-wal").exists());
}

#[test]
fn runs_are_listed_whatever_state_they_are_in() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let _running = small_run(&at("a"), 2);
    drop(small_run(&at("b"), 3));
    let (_folder, mut record) = small_run(&at("c"), 1);
    record.finish().unwrap();
    record.close().unwrap();
    drop(_folder);
    drop(RunFolder::create(&at("d"), RECIPE).unwrap());
    fs::create_dir(at("e")).unwrap();
    fs::write(at("e").join("run.sqlite"), "").unwrap();
    fs::create_dir(at("no run")).unwrap();
    let runs = list_runs(place.path()).unwrap();
    let seen: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.stage, run.update)).collect();
    assert_eq!(
        seen,
        [
            ("a", Some(0), Some(1)),
            ("b", Some(0), Some(2)),
            ("c", Some(0), Some(0)),
            ("d", None, None),
            ("e", None, None)
        ]
    );
    let states: Vec<_> = runs.iter().map(|run| &run.state).collect();
    assert_eq!(
        states[..4],
        [&RunState::Running, &RunState::Stopped, &RunState::Finished, &RunState::Stopped]
    );
    assert!(matches!(states[4], RunState::Unreadable(why) if why.contains("application id 0x0")));
    assert_eq!((runs[1].metrics["loss"], runs[1].metrics["accuracy"]), (1.0 / 3.0, 0.75));
    assert_eq!(runs[1].recipe, RECIPE);
}
