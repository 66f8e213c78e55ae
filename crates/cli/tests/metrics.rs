//! Metrics for other tools: what is exported is what the record holds, and TensorBoard reads it.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use stepwell_store::{Kind, RunReader};
use support::{run, skipped, start, workplace};

/// Every number of updates and evaluations by tag and step.
fn recorded(folder: &Path) -> BTreeMap<(String, u64), f64> {
    let reader = RunReader::open(folder).unwrap();
    let (mut found, mut step) = (BTreeMap::new(), 0);
    for commit in reader.commits().unwrap() {
        let key = &commit.key;
        let place = match key.kind {
            Kind::Updated => format!("stage{}", key.stage),
            Kind::Evaluated => format!("stage{}/{}", key.stage, key.name),
            _ => continue,
        };
        for (name, value) in reader.metrics(commit.head.number).unwrap() {
            found.insert((format!("{place}/{name}"), step), value);
        }
        step += u64::from(key.kind == Kind::Updated);
    }
    found
}

#[test]
fn a_table_holds_every_number_of_the_record() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    let said = run(here, &["export", "r", "--metrics", "csv_long", "new/long.csv"]).fine();
    assert!(said.out.starts_with("new/long.csv: "), "{}", said.out);
    let text = fs::read_to_string(here.join("new/long.csv")).unwrap();
    let mut found = BTreeMap::new();
    for line in text.lines().skip(1) {
        let field: Vec<&str> = line.split(',').collect();
        let place = match field[1] {
            "evaluated" => format!("stage{}/{}", field[2], field[4]),
            _ => format!("stage{}", field[2]),
        };
        let step: u64 = field[5].parse().unwrap();
        found.insert((format!("{place}/{}", field[7]), step), field[8].parse::<f64>().unwrap());
    }
    assert_eq!(found, recorded(&here.join("r")));
    run(here, &["export", "r", "--metrics", "csv", "wide.csv"]).fine();
    let wide = fs::read_to_string(here.join("wide.csv")).unwrap();
    let columns = wide.lines().next().unwrap().split(',').count();
    assert!(wide.lines().all(|line| line.split(',').count() == columns), "{wide}");
    assert_eq!(wide.lines().count(), 1 + 8 + 3, "eight updates and three evaluations");
    for (words, expected) in [
        (&["export", "r", "out"][..], "--format <FORMAT>|--metrics <FORMAT>"),
        (&["export", "r", "--format", "jsonl", "--metrics", "csv", "out"], "cannot be used with"),
        (&["export", "r", "--metrics", "csv", "--follow", "out"], "`--follow` is for"),
        (&["export", "r", "--metrics", "csv", "wide.csv"], "`wide.csv` exists"),
        (&["export", "r", "--metrics", "csv", "--checkpoint", "3", "out"], "cannot be used with"),
    ] {
        let said = run(here, words);
        assert_eq!(said.code, Some(2), "{words:?}: {}", said.err);
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
        assert!(!here.join("out").exists());
    }
}

#[test]
fn a_run_is_followed_to_its_end() {
    let folder = workplace();
    let here = folder.path();
    let train = start(here, &["train", "tiny.toml", "--run", "r"]);
    while !here.join("r/run.sqlite").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    run(here, &["export", "r", "--metrics", "tensorboard", "--follow", "live"]).fine();
    let trained = train.wait_with_output().unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
    run(here, &["export", "r", "--metrics", "tensorboard", "whole"]).fine();
    let events = |name: &str| fs::read(here.join(name).join("events.out.tfevents.stepwell"));
    assert_eq!(events("live").unwrap(), events("whole").unwrap());
}

#[test]
fn tensorboard_reads_every_number_of_the_record() {
    let folder = workplace();
    let here = folder.path();
    if skipped(here, "tensorboard", "tensorboard_reads_every_number_of_the_record") {
        return;
    }
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    run(here, &["export", "r", "--metrics", "tensorboard", "events"]).fine();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/read_events.py");
    let python =
        Command::new("python3").arg(script).arg("events").current_dir(here).output().unwrap();
    let err = String::from_utf8_lossy(&python.stderr);
    assert!(python.status.success(), "{err}");
    let lines = String::from_utf8(python.stdout).unwrap();
    let read: Vec<(String, u64, f64)> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = recorded(&here.join("r"));
    assert_eq!(read.len(), expected.len());
    for (tag, step, value) in read {
        let exact = expected[&(tag.clone(), step)];
        assert_eq!(value as f32, exact as f32, "{tag} at step {step}");
    }
}
