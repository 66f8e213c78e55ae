//! A recipe under several seeds and settings, through the binary alone.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use stepwell_store::{Kind, RunReader};
use support::{run, start, workplace};

const METRIC: [&str; 2] = ["--metric", "sampled_tokens_per_question"];

fn sweep<'w>(more: &[&'w str]) -> Vec<&'w str> {
    [&["sweep", "tiny.toml", "--out", "runs"][..], &METRIC, more].concat()
}

/// The last evaluation's figure of a run.
fn figure(run: &Path) -> f64 {
    let reader = RunReader::open(run).unwrap();
    let judged = reader.newest(Kind::Evaluated).unwrap().unwrap();
    reader.metrics(judged.head.number).unwrap()["sampled_tokens_per_question"]
}

#[test]
fn a_sweep_is_run_told_extended_and_kept_apart_from_others() {
    let folder = workplace();
    let here = folder.path();
    let steps = ["--set", "stage[1].rl.steps=1,2"];
    let said = run(here, &sweep(&[&["--seeds", "1..2"][..], &steps].concat())).fine();
    assert!(said.out.contains("run 4 of 4, steps-2_seed-2: starting"), "{}", said.out);
    let heading = "sampled_tokens_per_question on held_out, greedy, mean and standard error";
    assert!(said.out.contains(heading), "{}", said.out);
    let value = |name: &str| figure(&here.join("runs").join(name));
    let [a, b] = ["steps-1_seed-1", "steps-1_seed-2"].map(value);
    let (mean, error) = ((a + b) / 2.0, (a - b).abs() / 2.0);
    let line = said.out.lines().find(|line| line.starts_with("stage[1].rl.steps = 1 ")).unwrap();
    let expected = format!("{mean:.4}  {error:.4}  1: {a:.3}  2: {b:.3}");
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(squeezed(line).ends_with(&squeezed(&expected)), "{line}\n{expected}");
    let [c, d] = ["steps-2_seed-1", "steps-2_seed-2"].map(value);
    let (from, spread) = ((c - a + d - b) / 2.0, ((c - a) - (d - b)).abs() / 2.0);
    let line = said.out.lines().find(|line| line.starts_with("stage[1].rl.steps = 2 ")).unwrap();
    assert!(line.ends_with(&format!("{from:+.4} ± {spread:.4}")), "{line}");
    let table = fs::read_to_string(here.join("runs/sweep.csv")).unwrap();
    assert!(table.contains(&format!("\nsteps-2_seed-1,1,{c:?}\n")), "{table}");

    // Nothing is run twice; another seed is run beside.
    let again = run(here, &sweep(&[&["--seeds", "1..2"][..], &steps].concat())).fine();
    assert_eq!(again.out.matches(": finished before").count(), 4, "{}", again.out);
    assert_eq!(fs::read_to_string(here.join("runs/sweep.csv")).unwrap(), table);
    let more = run(here, &sweep(&[&["--seeds", "1..3"][..], &steps].concat())).fine();
    assert_eq!(more.out.matches(": starting").count(), 2, "{}", more.out);

    // Fewer runs leave the rows of the others; another metric says that it takes their place.
    run(here, &sweep(&[&["--seeds", "3"][..], &steps].concat())).fine();
    let rows = fs::read_to_string(here.join("runs/sweep.csv")).unwrap();
    assert_eq!(rows.lines().count(), 7, "{rows}");
    assert!(table.lines().all(|line| rows.contains(line)), "{rows}");
    let words = ["sweep", "tiny.toml", "--out", "runs", "--seeds", "3"];
    let said = run(here, &[&words[..], &steps].concat());
    let expected = "sweep.csv held `sampled_tokens_per_question`, and is written anew";
    assert!(said.code == Some(0) && said.err.contains(expected), "{}{}", said.out, said.err);
    fs::write(here.join("runs/sweep.csv"), "run,seed,fame\nmine\n").unwrap();
    let said = run(here, &[&words[..], &steps].concat());
    assert_eq!(said.code, Some(2), "{}", said.out);
    assert!(said.err.contains("sweep.csv` is no table of a sweep"), "{}", said.err);
    assert_eq!(fs::read_to_string(here.join("runs/sweep.csv")).unwrap(), "run,seed,fame\nmine\n");
    fs::remove_file(here.join("runs/sweep.csv")).unwrap();

    for (words, expected) in [
        (&["--seeds", "1"][..], "was run with `stage[1].rl.steps = "),
        (&["--seeds", "1", "--set", "stage[1].rl.stepz=1,2"], "did you mean `steps`?"),
        (&["--seeds", "1", "--set", "seed=1"], "seeds are named by `--seeds`"),
        (&["--seeds", "5..1"], "must count up"),
    ] {
        let said = run(here, &sweep(words));
        assert_eq!(said.code, Some(2), "{words:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
    }
    let text = support::TINY.replacen("batch = 4", "batch = 5", 1);
    fs::write(here.join("other.toml"), text).unwrap();
    let other = ["sweep", "other.toml", "--out", "runs", "--seeds", "4"];
    let said = run(here, &[&other[..], &steps].concat());
    assert_eq!(said.code, Some(2));
    let expected = "was run with `stage[0].sft.batch = 4`, now 5; choose another folder";
    assert!(said.err.contains(expected), "{}", said.err);
    let unknown = ["sweep", "tiny.toml", "--out", "runs", "--seeds", "1", "--metric", "fame"];
    let said = run(here, &[&unknown[..], &steps].concat());
    assert_eq!(said.code, Some(2));
    assert!(
        said.err.contains("seed-1` measures no `fame`; its metrics: `accuracy`"),
        "{}",
        said.err
    );
}

#[test]
fn a_sweep_that_was_killed_goes_on_and_ends_the_same() {
    let folder = workplace();
    let here = folder.path();
    let long = ["--set", "stage[0].sft.steps=120", "--seeds", "1,2"];
    run(here, &sweep(&long)).fine();
    let expected = fs::read_to_string(here.join("runs/sweep.csv")).unwrap();
    fs::rename(here.join("runs"), here.join("whole")).unwrap();
    let mut child = start(here, &sweep(&long));
    while !here.join("runs/steps-120_seed-2/run.sqlite").exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(30));
    child.kill().unwrap();
    child.wait().unwrap();
    let said = run(here, &sweep(&long)).fine();
    assert!(said.out.contains("steps-120_seed-1: finished before"), "{}", said.out);
    assert!(said.out.contains("steps-120_seed-2: going on"), "{}", said.out);
    assert_eq!(fs::read_to_string(here.join("runs/sweep.csv")).unwrap(), expected);
    let head = |folder: &str| {
        let path = here.join(folder).join("steps-120_seed-2");
        RunReader::open(&path).unwrap().head().unwrap()
    };
    assert_eq!(head("runs"), head("whole"));
}
