//! Queries of a run in a confined child, through the binary alone.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use stepwell_engine::observe::Silent;
use stepwell_engine::recipe::Recipe;
use stepwell_engine::run::{self, Outcome};
use stepwell_store::RunReader;
use support::{TINY, run, stepwell, workplace};

fn head(run: &Path) -> stepwell_store::Head {
    let reader = RunReader::open(run).unwrap();
    reader.verify().unwrap();
    reader.head().unwrap()
}

/// This test's own process cannot start itself as a child, so the library asks SQLite in it.
#[test]
fn a_run_has_the_same_record_wherever_its_queries_run() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "child"]).fine();
    let recipe = Recipe::load(&here.join("tiny.toml"), &[]).unwrap().recipe;
    let outcome = run::start(&recipe, &here.join("here"), 1, &mut Silent).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    assert_eq!(head(&here.join("child")), head(&here.join("here")));
}

/// The children of a process that carry this word.
fn children(parent: u32, word: &str) -> BTreeSet<i32> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let name = entry.unwrap().file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let read =
            |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let below = read("status").lines().any(|line| line == format!("PPid:\t{parent}"));
        if below && read("cmdline").split('\0').any(|part| part == word) {
            found.insert(pid);
        }
    }
    found
}

#[test]
fn a_run_whose_child_is_killed_goes_on_to_the_same_record() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    std::fs::write(here.join("tiny.toml"), TINY.replace("steps = 4", "steps = 200")).unwrap();
    run(here, &["train", "tiny.toml", "--run", "whole"]).fine();
    // Nobody reads while children are shot, so what is said goes to a file and not into a pipe.
    let said = here.join("said");
    let mut trained = stepwell(here, &["train", "tiny.toml", "--run", "shot"])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let (mut shot, mut last) = (0, 0);
    let mut seen = BTreeSet::new();
    while trained.try_wait().unwrap().is_none() {
        for pid in children(trained.id(), "__child") {
            seen.insert(pid);
            if pid == last {
                continue;
            }
            // Not sooner than a query and its second try may take.
            std::thread::sleep(Duration::from_millis(300));
            shot += usize::from(kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).is_ok());
            last = pid;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = trained.wait().unwrap();
    assert!(ended.success(), "{}", std::fs::read_to_string(&said).unwrap());
    assert!(shot >= 2, "only {shot} children were there to be killed");
    // Orphans have another parent, so they are looked for by their numbers.
    let lives = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == b"__child")
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while seen.iter().any(lives) && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!seen.iter().any(lives), "of {seen:?} some are left");
    assert_eq!(head(&here.join("shot")), head(&here.join("whole")));
}

/// What a kernel without Landlock answers, for this thread and what it starts.
fn without_landlock<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let call = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
    let absent = SeccompAction::Errno(libc::ENOSYS as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(call, SeccompAction::Allow, absent, arch).unwrap();
    let program = BpfProgram::try_from(filter).unwrap();
    let run = move || {
        apply_filter(&program).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap())
}

#[test]
fn without_a_layer_a_run_is_refused_unless_its_recipe_says_weak() {
    let folder = workplace();
    let here = folder.path();
    let refused = without_landlock(|| run(here, &["train", "tiny.toml", "--run", "r"]));
    assert_eq!(refused.code, Some(3), "{}{}", refused.out, refused.err);
    assert!(refused.err.contains("sandbox: landlock unavailable: "), "{}", refused.err);
    assert!(refused.err.contains("`environment.sandbox = \"weak\"`"), "{}", refused.err);
    assert!(!here.join("r").exists());
    let words = ["train", "tiny.toml", "--run", "r", "--set", "environment.sandbox=\"weak\""];
    let weak = without_landlock(|| run(here, &words)).fine();
    let said = weak.out + &weak.err;
    assert!(said.contains("sandbox: weak: landlock unavailable: "), "{said}");
    let shown = run(here, &["inspect", "r"]).fine().out;
    assert!(shown.contains("sandbox: weak"), "{shown}");
    let marked = RunReader::open(&here.join("r")).unwrap().weak_sandbox().unwrap();
    assert!(marked.unwrap().starts_with("landlock unavailable: "));
    // Where nothing is missing, nothing is said, and nothing is marked.
    run(here, &["train", "tiny.toml", "--run", "s"]).fine();
    assert!(!run(here, &["inspect", "s"]).fine().out.contains("sandbox"));
}
