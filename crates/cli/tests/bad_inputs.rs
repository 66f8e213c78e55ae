//! Every bad input gets its sentence, its exit code, and leaves nothing behind (P22). Numbers are
//! those of the table in the reliability page; all words of recipe errors are tested in `engine`.

mod support;

use std::fs;

use support::refused::refused;
use support::{TINY, contents, reading, run, workplace};

/// The tiny recipe with one text replaced.
#[track_caller]
fn changed(from: &str, to: &str) -> String {
    assert!(TINY.contains(from), "`{from}` is not in the recipe");
    TINY.replacen(from, to, 1)
}

#[test]
fn recipes_that_are_wrong() {
    let rl = "credit = { type = \"sibling\" }";
    let branch = "grow = { type = \"branch\", attempts = 2, leaves = 4 }";
    let alone = changed(rl, "credit = { type = \"group_mean\" }");
    let alone = alone.replace(branch, "grow = { type = \"independent\", attempts = 1 }");
    let rows: &[(&str, String, &str)] = &[
        ("1", changed("batch = 4", "bach = 4"), "`stage[0].sft.bach`; did you mean `batch`?"),
        ("2", changed("batch = 4", "learning_rate = nan"), "must be finite, got: `nan`"),
        ("3", changed("batch = 4", "learning_rate = -1e-4"), "must be in [0, 1], got: -0.0001"),
        ("4", alone, "`group_mean` compares siblings and needs `grow.attempts` ≥ 2, got: 1"),
        ("5", changed("attempts = 2", "attempts = 2e3"), "expected a whole number, got: 2000.0"),
        ("6", changed("attempts = 2", "attempts = -4"), "must not be negative, got: -4"),
        ("7", changed(rl, "credit = { type = \"vine\" }"), "unknown credit `vine`; known: "),
        ("8", changed("seed = 3", "seed = 3\nseed = 4"), "`seed` was already set on line 1"),
        ("9 empty", String::new(), "the recipe has no stages"),
        ("9 UTF-16", "s\0e\0e\0d\0".into(), "found UTF-16; save as UTF-8"),
        ("10", "[".repeat(20_000), "nested deeper than 64 levels"),
        ("11", changed("max_tokens = 12", "top_p = 0.9"), "sampling truncates (`top_p = 0.9`)"),
        ("12", changed("max_tokens = 12", "temperature = 0"), "training needs temperature > 0"),
        ("14", changed("seed = 3", "seed = \"abc\""), "in 0..=18446744073709551615, got: `abc`"),
        ("89", "seed = 1\n".into(), "the recipe has no stages; write `[[stage]]`"),
        ("90", changed("[stage.rl]", "[stage.rlhf]"), "unknown stage `rlhf`; known: "),
    ];
    for (row, text, expected) in rows {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("recipe.toml"), text).unwrap();
        println!("row {row}");
        refused(folder.path(), &["train", "recipe.toml"], 2, expected);
        refused(folder.path(), &["recipe", "check", "recipe.toml"], 2, expected);
    }
}

#[test]
fn recipes_that_cannot_be_read_and_overrides_that_say_nothing() {
    let folder = workplace();
    let here = folder.path();
    refused(here, &["train", "missing.toml"], 2, "missing.toml: cannot read recipe");
    refused(here, &["train", "."], 2, ".: cannot read recipe");
    for set in ["stage[1].rl.steps", "=3", "stage[9].rl.steps=3", "stage[1].rl.stepz=3"] {
        refused(here, &["train", "tiny.toml", "--set", set], 2, "--set"); // row 18
    }
    refused(here, &["train", "tiny.toml", "--threads", "0"], 2, "--threads");
    // Row 13: no room for a step on the shortest path.
    let set = "stage[1].rl.path_tokens=16";
    refused(here, &["train", "tiny.toml", "--set", set], 2, "max_tokens");
}

#[test]
fn folders_that_are_not_for_this_run() {
    let folder = workplace();
    let here = folder.path();
    fs::create_dir(here.join("other")).unwrap();
    fs::write(here.join("other/thesis.txt"), "years of work").unwrap();
    let foreign = "refusing to write into `other`: it holds files that are not a run";
    refused(here, &["train", "tiny.toml", "--run", "other"], 2, foreign); // row 16
    refused(here, &["resume", "other"], 2, "no run in `other`");
    refused(here, &["resume", "gone"], 2, "no run in `gone`");
    refused(here, &["eval", "gone"], 2, "no run in `gone`");
    refused(here, &["inspect", "gone"], 2, "no run in `gone`");
    refused(here, &["export", "gone", "--format", "jsonl", "out"], 2, "no run in `gone`");
    refused(here, &["runs", "gone"], 2, "no folder `gone`");
    fs::create_dir(here.join("sham")).unwrap();
    fs::write(here.join("sham/run.sqlite"), "this is no database").unwrap();
    refused(here, &["inspect", "sham"], 3, "is not a stepwell record"); // row 93
    refused(here, &["train", "tiny.toml", "--run", "/proc/run"], 3, "`/proc/run`"); // row 19
    fs::write(here.join("file"), "").unwrap();
    refused(here, &["train", "tiny.toml", "--run", "file"], 3, "`file`");
}

#[test]
fn a_run_is_not_started_twice_nor_resumed_under_another_recipe() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    refused(here, &["train", "tiny.toml", "--run", "r"], 2, "`r` holds a run; resume it");
    fs::write(here.join("other.toml"), changed("attempts = 2", "attempts = 3")).unwrap();
    let differs = "run was started with `stage[1].rl.grow.attempts = 2`, now 3";
    refused(here, &["resume", "r", "--recipe", "other.toml"], 2, differs); // row 15
    refused(here, &["inspect", "r", "--update", "99"], 2, "no update 99; the newest is 3");
    refused(here, &["inspect", "r", "--stage", "0"], 2, "stage 0 grew no trees");
    refused(here, &["inspect", "r", "--tree", "99"], 2, "no tree 99");
    refused(here, &["inspect", "r", "--step", "99"], 2, "no step 99");
    refused(here, &["inspect", "r", "--task", "nobody"], 2, "`nobody`");
    refused(here, &["eval", "r", "--checkpoint", "77"], 3, "checkpoint 000077");
    refused(here, &["export", "r", "--format", "jsonl", "tiny.toml"], 2, "`tiny.toml` exists");
    let copy = here.join("r/recipe.toml");
    let edited = fs::read_to_string(&copy).unwrap().replace("attempts = 2", "attempts = 3");
    fs::write(&copy, edited).unwrap();
    refused(here, &["resume", "r"], 2, differs);
}

#[test]
fn a_run_in_use_is_left_alone() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    let held = fs::OpenOptions::new().read(true).write(true).open(here.join("r/lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    refused(here, &["resume", "r"], 3, "run is in use by pid "); // row 17
    // Whoever only reads is told nothing of it, and changes nothing.
    let before = contents(here);
    reading(here, "r", here, |words| run(here, words));
    let kept: Vec<_> =
        contents(here).into_iter().filter(|(name, _)| !name.starts_with("out")).collect();
    assert!(kept == before, "reading changed a file");
}
