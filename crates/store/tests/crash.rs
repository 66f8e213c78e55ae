//! What a kill leaves is continued; what was lost is named (P1, P10, P11; rows 83, 85 and 92).
//!
//! A kill is simulated by a copy of the files between transactions; `kill -9` of a real process
//! is tested end to end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::fs;
use std::io;
use std::path::Path;

use stepwell_store::{
    Checkpoint, Content, Head, Novelty, RunFolder, Skipped, StoreError, keep_last, newest_valid,
    retain,
};
use support::*;

fn checkpoint(folder: &RunFolder, number: u64, last: Head) -> Checkpoint {
    let state = serde_json::json!({ "update": number });
    let files = &mut [("weights.safetensors", Content::Bytes(&[7; 64]))];
    Checkpoint::write(folder, number, files, &state, last).unwrap()
}

#[test]
fn p1_a_run_killed_between_commits_is_continued_with_the_same_chain() {
    let place = tempfile::tempdir().unwrap();
    let (live, dead) = (place.path().join("live"), place.path().join("dead"));
    let (folder, mut record) = small_run(&live, 2);
    grow(&mut record, 2).unwrap();
    copy_folder(&live, &dead); // the kill: between `grown` and `updated` of update 2
    update(&mut record, 2).unwrap();
    grow(&mut record, 3).unwrap();
    drop(folder);

    let mut resumed = RunFolder::open_for_writing(&dead).unwrap().record().unwrap();
    assert_eq!(resumed.read().grown(0, 2).unwrap().unwrap().len(), 2);
    assert_eq!(grow(&mut resumed, 2).unwrap().novelty, Novelty::Repeated);
    assert_eq!(update(&mut resumed, 2).unwrap().novelty, Novelty::New);
    grow(&mut resumed, 3).unwrap();
    assert_eq!(resumed.head(), record.head());
    assert_eq!(resumed.read().commits().unwrap(), record.read().commits().unwrap());
}

#[test]
fn row_92_a_record_shorter_than_its_checkpoint_is_named() {
    let place = tempfile::tempdir().unwrap();
    let (live, dead) = (place.path().join("live"), place.path().join("dead"));
    let (folder, mut record) = small_run(&live, 3);
    checkpoint(&folder, 3, record.head());
    grow(&mut record, 3).unwrap();
    copy_folder(&live, &dead);
    let wal = fs::read(dead.join("run.sqlite-wal")).unwrap();
    let require = || {
        let folder = RunFolder::open_for_writing(&dead)?;
        let newest = stepwell_store::newest_valid(&folder)?.0.unwrap();
        folder.record()?.read().require(&newest.name(), newest.last_commit())
    };
    require().unwrap();

    copy_folder(&live, &dead);
    fs::remove_file(dead.join("run.sqlite-wal")).unwrap();
    assert_eq!(
        require().unwrap_err().to_string(),
        "the record ends at commit 0 but checkpoint 000003 needs 8: 8 commits are missing (was \
         `run.sqlite-wal` removed?); restore the run folder from a copy"
    );
    // A frame flipped in the middle silently ends SQLite's recovery there; so does a cut.
    for damage in ["flip", "cut"] {
        copy_folder(&live, &dead);
        let mut damaged = wal.clone();
        match damage {
            "flip" => damaged[wal.len() / 2] ^= 1,
            _ => damaged.truncate(wal.len() / 2),
        }
        fs::write(dead.join("run.sqlite-wal"), damaged).unwrap();
        let error = require().unwrap_err();
        assert!(matches!(error, StoreError::Truncated { .. }), "{damage}: {error}");
    }
    // What was lost after the checkpoint is grown again and comes out the same.
    copy_folder(&live, &dead);
    fs::write(dead.join("run.sqlite-wal"), &wal[..wal.len() - 100]).unwrap();
    require().unwrap();
    let mut resumed = RunFolder::open_for_writing(&dead).unwrap().record().unwrap();
    assert_eq!(grow(&mut resumed, 3).unwrap().head, record.head());
    // Another run's log is not taken for ours; another run's record is not ours.
    let (other, other_record) = small_run(&place.path().join("other"), 4);
    let newest = stepwell_store::newest_valid(&folder).unwrap().0.unwrap();
    record.read().require(&newest.name(), newest.last_commit()).unwrap();
    let error = other_record.read().require(&newest.name(), newest.last_commit()).unwrap_err();
    assert!(
        error.to_string().starts_with("checkpoint 000003 belongs to another record: its"),
        "{error}"
    );
    drop(other);
}

#[test]
fn p11_a_checkpoint_returns_its_bytes_and_is_accepted_twice() {
    let place = tempfile::tempdir().unwrap();
    let (folder, record) = small_run(&place.path().join("run"), 1);
    let written = checkpoint(&folder, 40, record.head());
    assert_eq!(checkpoint(&folder, 40, record.head()), written);
    let (newest, skipped) = newest_valid(&folder).unwrap();
    let newest = newest.unwrap();
    assert_eq!((&newest, skipped.len()), (&written, 0));
    assert_eq!(newest.file_names().collect::<Vec<_>>(), ["weights.safetensors", "state.json"]);
    assert_eq!(newest.read("weights.safetensors").unwrap(), [7; 64]);
    assert_eq!(newest.state().unwrap(), serde_json::json!({ "update": 40 }));
    assert_eq!(
        (newest.name().as_str(), newest.last_commit()),
        ("checkpoint 000040", record.head())
    );
    let state = serde_json::json!({ "update": 40 });
    let mut write = |out: &mut dyn io::Write| out.write_all(&[8; 64]);
    let files = &mut [("weights.safetensors", Content::Writer(&mut write))];
    assert_eq!(
        Checkpoint::write(&folder, 40, files, &state, record.head()).unwrap_err().to_string(),
        "checkpoint 000040: exists already with other bytes in `weights.safetensors`; resume with \
         the build and recipe that wrote it"
    );
    for name in ["", "../weights", "state.json", ".hidden", "a/b"] {
        let files = &mut [(name, Content::Bytes(&[]))];
        let error = Checkpoint::write(&folder, 41, files, &state, record.head()).unwrap_err();
        assert!(error.to_string().contains(&format!("got file name `{name}`")), "{error}");
    }
}

#[test]
fn p11_a_write_that_fails_leaves_no_checkpoint() {
    let place = tempfile::tempdir().unwrap();
    let (folder, record) = small_run(&place.path().join("run"), 1);
    let mut full = |out: &mut dyn io::Write| {
        out.write_all(&[0; 10])?;
        Err(io::Error::from(io::ErrorKind::StorageFull))
    };
    let files = &mut [("weights.safetensors", Content::Writer(&mut full))];
    let state = serde_json::json!({});
    let error = Checkpoint::write(&folder, 1, files, &state, record.head()).unwrap_err();
    assert!(matches!(error, StoreError::NoSpace { .. }), "{error}");
    assert!(error.to_string().ends_with(": no space left; free space and resume"), "{error}");
    assert_eq!(newest_valid(&folder).unwrap(), (None, vec![]));
    checkpoint(&folder, 1, record.head());
    let names: Vec<_> = fs::read_dir(folder.checkpoints()).unwrap().collect();
    assert_eq!(names.len(), 1);
}

#[test]
fn row_85_checkpoints_that_do_not_verify_are_skipped_with_reasons() {
    let place = tempfile::tempdir().unwrap();
    let (folder, record) = small_run(&place.path().join("run"), 1);
    let at = |name: &str| folder.checkpoints().join(name);
    type Damage<'a> = &'a dyn Fn(&Path);
    let cases: [(Damage<'_>, &str); 8] = [
        (
            &|p| fs::write(p.join("weights.safetensors"), [6; 64]).unwrap(),
            "`weights.safetensors`: its digest differs",
        ),
        (
            &|p| fs::write(p.join("weights.safetensors"), [7; 63]).unwrap(),
            "`weights.safetensors`: 63 bytes, expected 64",
        ),
        (
            &|p| fs::remove_file(p.join("state.json")).unwrap(),
            "`state.json`: No such file or directory",
        ),
        (
            &|p| fs::remove_file(p.join("manifest.json")).unwrap(),
            "`manifest.json`: No such file or directory",
        ),
        (
            &|p| fs::write(p.join("manifest.json"), "{\"format\": 1").unwrap(),
            "`manifest.json`: EOF while parsing",
        ),
        (
            &|p| {
                let text = fs::read_to_string(p.join("manifest.json")).unwrap();
                fs::write(p.join("manifest.json"), text.replace("0.1.0", "0.9.0")).unwrap();
            },
            "`manifest.json`: its digest differs",
        ),
        (
            &|p| {
                fs::remove_dir_all(p).unwrap();
                copy_folder(&at("000001"), p);
            },
            "is a copy of checkpoint 000001",
        ),
        (
            &|p| {
                fs::remove_dir_all(p).unwrap();
                std::os::unix::fs::symlink(at("000001"), p).unwrap();
            },
            "is a symbolic link",
        ),
    ];
    let valid = checkpoint(&folder, 1, record.head());
    for (damage, expected) in cases {
        checkpoint(&folder, 2, record.head());
        damage(&at("000002"));
        let (newest, skipped) = newest_valid(&folder).unwrap();
        assert_eq!(newest.as_ref(), Some(&valid));
        let [Skipped { name, reason }] = skipped.as_slice() else { panic!("{skipped:?}") };
        assert!(
            name == "000002" && reason.starts_with(expected),
            "got: {reason}\nexpected: {expected}"
        );
        // One valid checkpoint is left: nothing may remove it. Writing the damaged one again heals.
        assert_eq!(keep_last(&folder, 1).unwrap(), Vec::<u64>::new());
        checkpoint(&folder, 2, record.head());
        assert_eq!(newest_valid(&folder).unwrap().0.unwrap().number(), 2);
    }
    valid.state().unwrap();
    fs::write(at("000001").join("weights.safetensors"), [6; 64]).unwrap();
    let error = valid.read("weights.safetensors").unwrap_err().to_string();
    assert!(error.starts_with("checkpoint 000001: `weights.safetensors`: its digest"), "{error}");
}

#[test]
fn row_57_a_checkpoint_of_another_recipe_is_skipped_and_both_are_named() {
    let place = tempfile::tempdir().unwrap();
    let (folder, record) = small_run(&place.path().join("a"), 1);
    checkpoint(&folder, 1, record.head());
    let other = RunFolder::create(&place.path().join("b"), "seed = 8\n").unwrap();
    copy_folder(&folder.checkpoints(), &other.checkpoints());
    let (newest, skipped) = newest_valid(&other).unwrap();
    assert_eq!(newest, None);
    let [got, expected] =
        [RECIPE, "seed = 8\n"].map(|recipe| stepwell_store::Digest::of(recipe.as_bytes()));
    let reason = format!("belongs to recipe {got}, the run's recipe is {expected}");
    assert_eq!(skipped, [Skipped { name: "000001".to_owned(), reason }]);
}

#[test]
fn p11_keep_last_counts_valid_checkpoints_only() {
    let place = tempfile::tempdir().unwrap();
    let (folder, record) = small_run(&place.path().join("run"), 1);
    for number in 1..=5 {
        checkpoint(&folder, number, record.head());
    }
    fs::remove_file(folder.checkpoints().join("000004/state.json")).unwrap();
    assert_eq!(keep_last(&folder, 2).unwrap(), [2, 1]); // 5 and 3 are valid, 4 is kept to look at
    assert_eq!(keep_last(&folder, 0).unwrap(), [4, 3]); // the last valid one stays
    assert_eq!(newest_valid(&folder).unwrap().0.unwrap().number(), 5);
}

#[test]
fn p11_the_best_stay_beside_the_newest() {
    let place = tempfile::tempdir().unwrap();
    let (folder, record) = small_run(&place.path().join("run"), 1);
    for number in 1..=6 {
        checkpoint(&folder, number, record.head());
    }
    fs::remove_file(folder.checkpoints().join("000003/state.json")).unwrap();
    // 9 is gone, 3 is damaged and 6 is among the newest anyway: all but the damaged one count.
    assert_eq!(retain(&folder, 2, 2, &[9, 3, 2, 6, 1]).unwrap(), [4, 3, 1]);
    let names = || {
        let entries = fs::read_dir(folder.checkpoints()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["000002", "000005", "000006"]);
    // Whatever is asked, the newest whole one stays, also where a newer one is damaged.
    fs::remove_file(folder.checkpoints().join("000006/state.json")).unwrap();
    assert_eq!(retain(&folder, 0, 0, &[2]).unwrap(), [2]);
    assert_eq!(names(), ["000005", "000006"]);
}

#[test]
fn what_unfinished_work_left_is_removed_when_a_run_is_opened() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    drop(small_run(&run, 1));
    for left in ["tmp-recipe.toml", "checkpoints/tmp-000007", "checkpoints/tmp-remove-000001"] {
        fs::create_dir(run.join(left)).unwrap();
        fs::write(run.join(left).join("weights.safetensors"), "half").unwrap();
    }
    let folder = RunFolder::open_for_writing(&run).unwrap();
    assert_eq!(newest_valid(&folder).unwrap(), (None, vec![]));
    assert!(!run.join("tmp-recipe.toml").exists());
    assert_eq!(fs::read_dir(folder.checkpoints()).unwrap().count(), 0);
}
