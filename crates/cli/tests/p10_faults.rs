//! P10, P11 (row 19): a real process whose k-th write, sync, rename ... fails. The run ends with a
//! named error of the machine, what it acknowledged is there, and what goes on ends as the run that
//! nothing disturbed. A sample of all k; with `STEPWELL_LONG=1` every one.

mod support;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::faults::{Call, Fault, cannot_inject, injected, spread, traced};
use support::run;
use support::whole::{acknowledged_is_kept, crash_place, difference, try_all};

/// What fails, how, and how many of all its calls are tried.
const FAULTS: [(&str, &str, usize); 12] = [
    ("write", "error=EIO", 14),
    ("write", "error=ENOSPC", 14),
    ("write", "error=EINTR", 3),
    ("pwrite64", "error=EIO", 12),
    ("pwrite64", "error=ENOSPC", 12),
    ("pwrite64", "error=EINTR", 3),
    ("fsync", "error=EIO", 16),
    ("fsync", "error=EINTR", 3),
    ("rename", "error=EIO", 8),
    ("mkdir", "error=ENOSPC", 8),
    ("openat", "error=ENOSPC", 10),
    ("unlinkat", "error=EIO", 4),
];

/// Where each call of a name stands among all of them, counted from 1; of `openat`, those alone
/// that may make a file.
fn places(calls: &[Call], name: &str) -> Vec<usize> {
    let own = calls.iter().filter(|call| call.name == name).enumerate();
    let making = own.filter(|(_, call)| name != "openat" || call.arguments.contains("O_CREAT"));
    making.map(|(k, _)| k + 1).collect()
}

/// Whether the run got over the fault, or why what came of it is wrong.
fn failed(fault: Fault<'_>, whole: &Path) -> Result<bool, String> {
    let place = crash_place();
    let (here, run_folder) = (place.path(), place.path().join("r"));
    let train = ["train", "crash.toml", "--run", "r", "--threads", "1"];
    let said = injected(here, &train, fault);
    let words = said.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    let words = words.to_lowercase();
    let named = match fault.what {
        // A child that cannot answer has no word for it left; the parent names the child.
        _ if words.contains("the process that runs queries") => fault.call == "write",
        // Calls are counted in each process: the child's answer and the sentence about it may both
        // be the k-th write of their own, and then the exit code alone is left.
        _ if said.err.is_empty() => fault.call == "write",
        // SQLite does not tell why the index of its log could not grow.
        "error=ENOSPC" if words.contains("disk i/o error; where: `run.sqlite`") => {
            fault.call == "pwrite64"
        }
        // SQLite does not tell why it could not open a file.
        "error=ENOSPC" if words.contains("unable to open database file") => fault.call == "openat",
        "error=ENOSPC" => words.contains("no space left"),
        _ => words.contains("input/output error") || words.contains("i/o error"),
    };
    match said.code {
        Some(0) => {}
        Some(3) if named || fault.what.ends_with("EINTR") => {}
        code => return Err(format!("exit code {code:?}: {}", said.err)),
    }
    let begun = run_folder.join("run.sqlite").exists();
    if begun {
        acknowledged_is_kept(&run_folder)?;
    }
    // A run that is done stays what it is when it is asked to go on.
    let words: &[&str] = if begun { &["resume", "r"] } else { &train };
    let resumed = run(here, words);
    if resumed.code != Some(0) {
        return Err(format!("going on: {:?}: {}", resumed.code, resumed.err));
    }
    difference(&run_folder, whole)?;
    Ok(said.code == Some(0))
}

#[test]
fn a_call_that_fails_is_named_and_costs_nothing() {
    if cannot_inject("a_call_that_fails_is_named_and_costs_nothing") {
        return;
    }
    let place = crash_place();
    let words = ["train", "crash.toml", "--run", "whole", "--threads", "1"];
    let names = ["write", "pwrite64", "fsync", "rename", "mkdir", "openat", "unlinkat"];
    let calls = traced(place.path(), &words, &names);
    let whole = place.path().join("whole");
    let mut cases = Vec::new();
    for (call, what, few) in FAULTS {
        let all = places(&calls, call);
        let some = spread(all.len(), few).into_iter().map(|k| all[k - 1]);
        cases.extend(some.map(|when| Fault { call, what, when, onward: false }));
    }
    let harmless = AtomicUsize::new(0);
    try_all(&cases, |fault| {
        let over = failed(*fault, &whole).map_err(|why| format!("{fault}: {why}"))?;
        harmless.fetch_add(usize::from(over), Ordering::Relaxed);
        Ok(())
    });
    let harmless = harmless.into_inner();
    println!("{} faults, {harmless} without harm", cases.len());
    // What is printed, and SQLite's own copying of its log, may fail without harm; commits may not.
    assert!(harmless * 2 < cases.len(), "{harmless} of {} did no harm", cases.len());
}
