//! A run that is stopped, and how: what goes on afterwards is the run that was never stopped.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};
use stepwell_store::RunReader;
use support::{TINY, contents, run, start};

/// Long enough to be stopped in the middle, a few seconds in all.
fn write_long(folder: &Path) {
    let recipe = TINY.replace("steps = 4", "steps = 150").replace("_every = 2", "_every = 40");
    std::fs::write(folder.join("long.toml"), recipe).unwrap();
}

/// Starts the long run and waits until its log says so.
fn started(folder: &Path, run: &str, words: &str) -> Child {
    let mut child = start(folder, &["train", "long.toml", "--run", run]);
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let found = lines.by_ref().map(Result::unwrap).any(|line| line.starts_with(words));
    assert!(found, "no line `{words}`");
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Weights, optimizer, place and record are those of a run without a stop.
#[track_caller]
fn same_run(folder: &Path, stopped: &str, whole: &str) {
    let head = |run: &str| RunReader::open(&folder.join(run)).unwrap().head().unwrap();
    assert_eq!(head(stopped), head(whole), "the records differ");
    let last = |run: &str| contents(&newest(&folder.join(run)));
    let (stopped, whole) = (last(stopped), last(whole));
    for ((name, one), (_, other)) in stopped.iter().zip(&whole) {
        assert!(one == other, "`{}` differs", name.display());
    }
    assert_eq!(stopped.len(), whole.len());
}

fn newest(run: &Path) -> std::path::PathBuf {
    let folders = std::fs::read_dir(run.join("checkpoints")).unwrap();
    folders.map(|folder| folder.unwrap().path()).max().unwrap()
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_long(here);
    run(here, &["train", "long.toml", "--run", "whole"]).fine();
    for (name, stop, stage) in [
        ("interrupted", Signal::INT, "stage 2/3 rl step"),
        ("terminated", Signal::TERM, "stage 1/3 sft step"),
        ("hung up", Signal::HUP, "stage 2/3 rl step"),
    ] {
        let child = started(here, name, stage);
        signal(&child, stop);
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{name}: {err}");
        assert!(err.contains("stopping: finishing this step"), "{name}: {err}");
        assert!(err.contains(&format!("to go on: stepwell resume {name}")), "{err}");
        let listed = run(here, &["runs", "."]).fine().out;
        assert!(listed.contains(&format!("{name} ")) && listed.contains("stopped"), "{listed}");
        let said = run(here, &["resume", name, "--recipe", "long.toml", "--threads", "1"]).fine();
        assert!(said.out.contains(", going on at step "), "{name}: {}", said.out);
        same_run(here, name, "whole");
    }
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_long(here);
    run(here, &["train", "long.toml", "--run", "whole"]).fine();
    for (name, stage) in [("early", "stage 1/3 sft step"), ("late", "stage 2/3 rl step")] {
        let mut child = started(here, name, stage);
        std::thread::sleep(std::time::Duration::from_millis(200));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "{name}: was done before it was killed");
        run(here, &["resume", name]).fine();
        same_run(here, name, "whole");
    }
}

#[test]
fn the_second_signal_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_long(here);
    let child = started(here, "r", "stage 2/3 rl step");
    // Both may arrive within one step; two that are the same are seen as one while pending.
    signal(&child, Signal::INT);
    signal(&child, Signal::TERM);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    RunReader::open(&here.join("r")).unwrap().verify().unwrap();
    run(here, &["resume", "r"]).fine();
}
