//! P10, P11: what a machine does to a run without injected faults: a full disk, a limit on files, a
//! folder that cannot be written, a second process, another program's lock (rows 17, 19 and 95).

mod support;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::whole::{CRASH, acknowledged_is_kept, crash_place, difference};
use support::{Said, count_skip, reading, run, start, stepwell};

/// A folder with `long.toml`, forty updates of `crash.toml`, and its undisturbed run `whole`.
fn long_place() -> tempfile::TempDir {
    let place = crash_place();
    let long = CRASH.replace("steps = 4", "steps = 40").replace("_every = 2", "_every = 20");
    assert_ne!(long, CRASH);
    std::fs::write(place.path().join("long.toml"), long).unwrap();
    run(place.path(), &["train", "long.toml", "--run", "whole"]).fine();
    place
}

/// Starts the long run as `r` and waits until its second stage has begun.
fn started(here: &Path) -> Child {
    let mut child = start(here, &["train", "long.toml", "--run", "r", "--threads", "1"]);
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("stage 2/4 rl: ")), "the stage never began");
    child
}

fn shell(here: &Path, program: &str, words: &[&str]) -> Said {
    Command::new(program).args(words).current_dir(here).output().unwrap().into()
}

#[test]
fn row_19_a_file_past_its_limit_is_named_and_costs_nothing() {
    let place = long_place();
    let here = place.path();
    let binary = env!("CARGO_BIN_EXE_stepwell");
    // In blocks of 512 bytes: before the record is whole, early, and late.
    for (blocks, begun) in [(20, false), (300, true), (1500, true)] {
        let train = format!("ulimit -f {blocks}; exec {binary} train long.toml --run r");
        let said = shell(here, "sh", &["-c", &train]);
        assert_eq!(said.code, Some(3), "{blocks}: {}", said.err);
        assert!(said.err.contains("error: cannot "), "{blocks}: {}", said.err);
        assert_eq!(here.join("r/run.sqlite").exists(), begun, "{blocks}");
        match begun {
            true => {
                acknowledged_is_kept(&here.join("r")).unwrap();
                run(here, &["resume", "r"]).fine();
            }
            false => drop(run(here, &["train", "long.toml", "--run", "r"]).fine()),
        }
        difference(&here.join("r"), &here.join("whole")).unwrap();
        std::fs::remove_dir_all(here.join("r")).unwrap();
    }
}

/// How a process gets a file system of its own here: the words before `sh`.
fn own_mounts(test: &str) -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["-m"], &["-r", "-m"]];
    let tried = "mount -t tmpfs none /tmp";
    let works = |way: &&&[&str]| {
        let words = [way, &["sh", "-c", tried][..]].concat();
        Command::new("unshare").args(words).output().is_ok_and(|output| output.status.success())
    };
    let way = ways.iter().find(works).copied();
    if way.is_none() {
        count_skip(test, "unshare: no file system of its own may be mounted");
    }
    way
}

#[test]
fn row_19_a_full_disk_is_named_and_costs_nothing() {
    let Some(way) = own_mounts("row_19_a_full_disk_is_named_and_costs_nothing") else { return };
    let place = long_place();
    let here = place.path();
    std::fs::create_dir(here.join("small")).unwrap();
    let binary = env!("CARGO_BIN_EXE_stepwell");
    // Too small for a checkpoint, which is known before anything is grown; then full on the way.
    for (size, commits) in [("1200k", 0), ("2700k", 10), ("3500k", 10)] {
        let script = format!(
            "mount -t tmpfs -o size={size} none small || exit 99
             {binary} train long.toml --run small/r --threads 1 >/dev/null; echo train $?
             cp -r small/r full
             mount -o remount,size=32m small
             {binary} resume small/r >/dev/null; echo resume $?
             cp -r small/r done"
        );
        let said = shell(here, "unshare", &[way, &["sh", "-c", &script]].concat());
        assert_eq!(said.out, "train 3\nresume 0\n", "{size}: {}", said.err);
        let needed = if commits == 0 { " (needs about " } else { "; free space and resume" };
        assert!(said.err.contains(&format!("no space left{needed}")), "{size}: {}", said.err);
        let kept = acknowledged_is_kept(&here.join("full")).unwrap();
        assert!(kept >= commits, "{size}: full after {kept} commits");
        difference(&here.join("done"), &here.join("whole")).unwrap();
        for copied in ["full", "done"] {
            std::fs::remove_dir_all(here.join(copied)).unwrap();
        }
    }
}

/// Who has no right to write anything that the tests made.
const NOBODY: u32 = 1000;

/// Takes the right to write from everything under a folder.
fn lock_up(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.is_dir() {
            true => lock_up(&entry),
            false => set_mode(&entry, 0o444),
        }
    }
    set_mode(folder, 0o555);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_run_that_cannot_be_written_is_read_and_not_resumed() {
    let place = crash_place();
    let here = place.path();
    // Where another user reaches it.
    set_mode(here, 0o755);
    std::fs::copy(env!("CARGO_BIN_EXE_stepwell"), here.join("stepwell")).unwrap();
    run(here, &["train", "crash.toml", "--run", "r"]).fine();
    lock_up(&here.join("r"));
    let as_nobody = |words: &[&str]| -> Said {
        let mut command = Command::new(here.join("stepwell"));
        command.args(words).current_dir(here).env_remove("COLUMNS").stdin(Stdio::null());
        // Root may write everything; to anybody else the modes apply as they are.
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.output().unwrap().into()
    };
    let before = support::contents(&here.join("r"));
    assert!(as_nobody(&["runs", "."]).fine().out.contains("finished"));
    reading(here, "r", here, as_nobody);
    for words in [&["resume", "r"][..], &["train", "crash.toml", "--run", "new"]] {
        let said = as_nobody(words);
        assert_eq!(said.code, Some(3), "{words:?}: {}", said.err);
        assert!(said.err.contains("Permission denied"), "{words:?}: {}", said.err);
        assert!(said.err.contains("the rights of the folder"), "{words:?}: {}", said.err);
    }
    assert!(support::contents(&here.join("r")) == before && !here.join("new").exists());
    // A run that was not closed, its index gone: what the log holds cannot be read, and is not
    // passed over in silence.
    let stopped = here.join("stopped");
    support::copy(&here.join("r"), &stopped);
    let record = rusqlite::Connection::open(stopped.join("run.sqlite")).unwrap();
    record.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(())).unwrap();
    drop(record);
    std::fs::write(stopped.join("run.sqlite-wal"), [0; 32]).unwrap();
    lock_up(&stopped);
    let said = as_nobody(&["inspect", "stopped"]);
    assert_eq!(said.code, Some(3), "{}", said.err);
    assert!(said.err.contains("was not closed and its folder is read-only"), "{}", said.err);
    run(here, &["inspect", "stopped"]).fine();
}

#[test]
fn row_17_a_second_process_is_told_who_is_there() {
    let place = long_place();
    let here = place.path();
    let mut first = started(here);
    let holder = format!("run is in use by pid {} on host ", first.id());
    for words in [&["resume", "r"][..], &["train", "long.toml", "--run", "r"]] {
        let said = run(here, words);
        assert_eq!(said.code, Some(3), "{words:?}: {}", said.err);
        assert!(said.err.contains(&holder), "{words:?}: {}", said.err);
    }
    // Whoever reads is no second writer, and sees what is there so far.
    reading(here, "r", here, |words| run(here, words));
    assert_eq!(first.wait().unwrap().code(), Some(0), "the first run was disturbed");
    difference(&here.join("r"), &here.join("whole")).unwrap();
}

#[test]
fn row_95_a_lock_of_another_program_ends_the_run_and_costs_nothing() {
    let place = long_place();
    let here = place.path();
    let child = started(here);
    let other = rusqlite::Connection::open(here.join("r/run.sqlite")).unwrap();
    other.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{err}");
    assert!(err.contains("`run.sqlite` is locked by another program for 5 s"), "{err}");
    other.execute_batch("ROLLBACK").unwrap();
    drop(other);
    let said = stepwell(here, &["resume", "r"]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    difference(&here.join("r"), &here.join("whole")).unwrap();
}
