//! P1, P10, P11 (row 83): a real process is killed on entering its k-th write, sync, rename ..., or
//! at any instant; what it acknowledged is there, and what goes on ends as the run that nothing
//! disturbed, bit for bit. A sample of all k; with `STEPWELL_LONG=1` every one.

mod support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use support::faults::{Call, EFFECTS, Fault, cannot_inject, injected, long, spread, traced};
use support::whole::{acknowledged_is_kept, crash_place, difference, try_all};
use support::{Said, copy, run, start};

/// The undisturbed run, traced: its folder, and the calls that it made.
struct Whole {
    place: tempfile::TempDir,
    calls: Vec<Call>,
}

impl Whole {
    fn run(&self) -> PathBuf {
        self.place.path().join("whole")
    }

    fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|own| own.name == call).count()
    }
}

fn whole() -> &'static Whole {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let place = crash_place();
        let words = ["train", "crash.toml", "--run", "whole", "--threads", "1"];
        let calls = traced(place.path(), &words, &EFFECTS);
        Whole { place, calls }
    })
}

/// Goes on with what is left of a run, from nothing where nothing was committed, and compares.
fn go_on(here: &Path, name: &str, whole: &Path) -> Result<(), String> {
    let said = match here.join(name).join("run.sqlite").exists() {
        true => run(here, &["resume", name, "--threads", "2"]),
        false => run(here, &["train", "crash.toml", "--run", name, "--threads", "2"]),
    };
    match said.code {
        Some(0) => difference(&here.join(name), whole),
        code => Err(format!("exit code {code:?}: {}", said.err)),
    }
}

/// Looks at a copy: whoever goes on finds the files as the kill left them.
fn looked_at(here: &Path, name: &str) -> Result<(), String> {
    let (run, seen) = (here.join(name), here.join("seen"));
    if run.join("run.sqlite").exists() {
        copy(&run, &seen);
        acknowledged_is_kept(&seen)?;
        std::fs::remove_dir_all(&seen).unwrap();
    }
    Ok(())
}

/// A run that is killed at an effect, and its resumption too where `again` says at which.
fn killed(fault: Fault<'_>, again: Option<usize>) -> Result<(), String> {
    let place = crash_place();
    let here = place.path();
    let train = ["train", "crash.toml", "--run", "r", "--threads", "1"];
    let said = injected(here, &train, fault);
    // Calls are counted in each process: a child that answers queries may be the one that dies, at
    // each try, and then the run ends with its name.
    let child =
        |said: &Said| said.code == Some(3) && said.err.contains("process that runs queries");
    if said.code.is_some() && !child(&said) {
        return Err(format!("{fault}: ended with {:?} before it was killed", said.code));
    }
    let one = || {
        looked_at(here, "r")?;
        if let (Some(when), true) = (again, here.join("r/run.sqlite").exists()) {
            let said = injected(here, &["resume", "r"], Fault { when, ..fault });
            if !matches!(said.code, None | Some(0)) && !child(&said) {
                return Err(format!("the resumption ended with {:?}: {}", said.code, said.err));
            }
            looked_at(here, "r")?;
        }
        go_on(here, "r", &whole().run())
    };
    one().map_err(|why| format!("{fault}, again at {again:?}: {why}"))
}

#[test]
fn a_kill_at_any_effect_changes_nothing() {
    if cannot_inject("a_kill_at_any_effect_changes_nothing") {
        return;
    }
    // Effects that are many, and alike, are sampled more thinly.
    let few = |call| match call {
        "pwrite64" | "write" => 30,
        "fsync" | "fdatasync" => 24,
        "unlinkat" => 8,
        _ => 12,
    };
    let mut cases = Vec::new();
    for call in EFFECTS {
        let count = whole().count(call);
        for (n, when) in spread(count, few(call)).into_iter().enumerate() {
            // Every third is a resume of a resume.
            let again = (n % 3 == 2).then_some(1 + when / 2);
            cases.push((Fault { call, what: "signal=SIGKILL", when, onward: false }, again));
        }
    }
    println!("{} of {} effects", cases.len(), whole().calls.len());
    try_all(&cases, |(fault, again)| killed(*fault, *again));
}

#[test]
fn a_kill_at_any_instant_changes_nothing() {
    let place = crash_place();
    let here = place.path();
    let begun = Instant::now();
    run(here, &["train", "crash.toml", "--run", "whole"]).fine();
    let took = begun.elapsed();
    let kills = if long() { 20 } else { 6 };
    let mut caught = 0;
    for n in 0..kills {
        let name = format!("r{n}");
        let mut child = start(here, &["train", "crash.toml", "--run", &name]);
        // Chance, not a key: an instant of this part of the run that no test has tried before.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_micros();
        let part = (f64::from(n) + f64::from(now % 1000) / 1000.0) / f64::from(kills);
        std::thread::sleep(Duration::from_secs_f64(took.as_secs_f64() * part));
        child.kill().unwrap();
        caught += usize::from(child.wait().unwrap().code().is_none());
        looked_at(here, &name).unwrap();
        go_on(here, &name, &here.join("whole")).unwrap_or_else(|why| panic!("{part}: {why}"));
    }
    assert!(caught * 2 > kills as usize, "{caught} of {kills} were killed before their end");
}
