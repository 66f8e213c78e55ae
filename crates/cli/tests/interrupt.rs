//! A run that is stopped, and how: what goes on afterwards is the run that was never stopped.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use stepwell_store::RunReader;
use support::faults::{Fault, cannot_inject, injected, spread, traced};
use support::whole::{crash_place, try_all};
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

/// Weights, optimizer, place and record are those of a run without a stop; says where they differ.
fn same_run(stopped: &Path, whole: &Path) -> Result<(), String> {
    let head = |run: &Path| {
        let head = RunReader::open(run).and_then(|reader| reader.head());
        head.map_err(|error| format!("{}: {error}", run.display()))
    };
    let (own, expected) = (head(stopped)?, head(whole)?);
    if own != expected {
        return Err(format!("the record ends with {own:?}, expected {expected:?}"));
    }
    let (own, expected) = (contents(&newest(stopped)?), contents(&newest(whole)?));
    let names = |files: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        files.iter().map(|(name, _)| name.clone()).collect()
    };
    if names(&own) != names(&expected) {
        return Err(format!("files {:?}, expected {:?}", names(&own), names(&expected)));
    }
    match own.iter().zip(&expected).find(|(one, other)| one != other) {
        Some(((name, _), _)) => Err(format!("`{}` differs", name.display())),
        None => Ok(()),
    }
}

fn newest(run: &Path) -> Result<PathBuf, String> {
    let folder = run.join("checkpoints");
    let found = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let newest = found.map(|folder| folder.unwrap().path()).max();
    newest.ok_or_else(|| format!("{} is empty", folder.display()))
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
        same_run(&here.join(name), &here.join("whole")).unwrap_or_else(|e| panic!("{name}: {e}"));
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
        same_run(&here.join(name), &here.join("whole")).unwrap_or_else(|e| panic!("{name}: {e}"));
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
    run(here, &["train", "long.toml", "--run", "whole"]).fine();
    same_run(&here.join("r"), &here.join("whole")).unwrap();
}

/// One signal at a write or a sync, or one at every call from there on: the first stops after the
/// step, the second stops at once, wherever it comes.
#[test]
fn a_signal_at_any_effect_stops_and_costs_nothing() {
    if cannot_inject("a_signal_at_any_effect_stops_and_costs_nothing") {
        return;
    }
    let place = crash_place();
    let words = ["train", "crash.toml", "--run", "whole", "--threads", "1"];
    let calls = traced(place.path(), &words, &["pwrite64", "fsync"]);
    let count = |name: &str| calls.iter().filter(|call| call.name == name).count();
    let mut cases = Vec::new();
    for (call, what) in [("pwrite64", "signal=SIGINT"), ("fsync", "signal=SIGTERM")] {
        for (n, when) in spread(count(call), 10).into_iter().enumerate() {
            cases.push(Fault { call, what, when, onward: n % 2 == 1 });
        }
    }
    let (now, later) = (AtomicUsize::new(0), AtomicUsize::new(0));
    try_all(&cases, |fault| {
        let here = crash_place();
        let run_words = ["train", "crash.toml", "--run", "r", "--threads", "1"];
        let said = injected(here.path(), &run_words, *fault);
        let told = said.err.contains("stopped: to go on: stepwell resume r");
        match (said.code, told) {
            (Some(130), true) => later.fetch_add(1, Ordering::Relaxed),
            (Some(130), false) => now.fetch_add(1, Ordering::Relaxed),
            // After the last step nothing is left to stop.
            (Some(0), _) => 0,
            (code, _) => return Err(format!("{fault}: exit code {code:?}: {}", said.err)),
        };
        let words = match here.path().join("r/run.sqlite").exists() {
            true => &["resume", "r"][..],
            false => &run_words,
        };
        let said = run(here.path(), words);
        if said.code != Some(0) {
            return Err(format!("{fault}: going on: {:?}: {}", said.code, said.err));
        }
        same_run(&here.path().join("r"), &place.path().join("whole"))
            .map_err(|why| format!("{fault}: {why}"))
    });
    let (now, later) = (now.into_inner(), later.into_inner());
    assert!(now >= 5 && later >= 5, "{now} stopped at once, {later} after their step");
}

#[test]
fn a_reader_who_goes_away_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_long(here);
    run(here, &["train", "long.toml", "--run", "whole"]).fine();
    let mut child = started(here, "r", "stage 1/3 sft");
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    same_run(&here.join("r"), &here.join("whole")).unwrap();
    // Neither is there an error for whoever reads the beginning of a long answer.
    for words in [&["inspect", "r", "--update", "0"][..], &["runs", "."], &["methods"]] {
        let mut child = start(here, words);
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{words:?}");
    }
}
