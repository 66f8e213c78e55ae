//! A run from recipe to export, through the binary alone.

mod support;

use std::fs;
use std::path::Path;

use stepwell_store::RunReader;
use support::{contents, run, workplace};

#[test]
fn a_run_is_trained_listed_drawn_judged_and_exported() {
    let folder = workplace();
    let here = folder.path();
    let said = run(here, &["train", "tiny.toml"]).fine();
    for words in [
        "run folder: runs/tiny-1",
        "stage 1/3 sft step 4/4  loss ",
        "stage 2/3 rl step 4/4  reward ",
        "  F/U ",
        "accuracy 0.",
        "question ",
        "3 evaluate",
        "held_out, greedy",
        "stepwell inspect runs/tiny-1",
    ] {
        assert!(said.out.contains(words), "no `{words}` in:\n{}", said.out);
    }
    assert_eq!(said.err, "");
    assert!(here.join("runs/tiny-1/curve.svg").is_file());
    RunReader::open(&here.join("runs/tiny-1")).unwrap().verify().unwrap();

    let said = run(here, &["runs"]).fine();
    let line = said.out.lines().nth(1).unwrap();
    assert!(line.starts_with("tiny-1  finished  2/3 rl     4 "), "{line}");

    let said = run(here, &["inspect", "runs/tiny-1"]).fine();
    assert!(said.out.contains("stage 1, update 3, tree "), "{}", said.out);
    assert!(said.out.contains("├─ #1 (") && said.out.contains("credit="), "{}", said.out);
    let said = run(here, &["inspect", "runs/tiny-1", "--update", "0", "--step", "1"]).fine();
    assert!(said.out.contains("policy after 4 updates"), "{}", said.out);
    assert!(said.out.contains("log-prob  probability"), "{}", said.out);
    let said = run(here, &["inspect", "runs/tiny-1", "--checkpoint"]).fine();
    assert_eq!(said.out.matches("kept").count(), 2, "{}", said.out);

    // The second run of a recipe gets the next number, and the same weights.
    run(here, &["train", "tiny.toml", "--threads", "1"]).fine();
    let checkpoints = |n: u8| contents(&here.join(format!("runs/tiny-{n}/checkpoints")));
    assert!(checkpoints(1) == checkpoints(2), "threads changed the weights");
    let head = |n: u8| RunReader::open(&here.join(format!("runs/tiny-{n}"))).unwrap().head();
    assert_eq!(head(1).unwrap(), head(2).unwrap());
}

#[test]
fn a_run_is_computed_again_and_what_does_not_follow_is_named() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    // The lock names who held it last, which is the check.
    let kept = || {
        let files = contents(&here.join("r"));
        files.into_iter().filter(|(name, _)| name != Path::new("lock")).collect::<Vec<_>>()
    };
    let files = kept();
    let said = run(here, &["check", "r"]).fine();
    for words in [
        "commits in an unbroken chain",
        "12  trees whose credit was computed again, bit for bit",
        " 2  checkpoints that are what the record says",
        "not compared: answers and figures of evaluations",
        "what was compared follows from what it was made of",
    ] {
        assert!(said.out.contains(words), "no `{words}` in:\n{}", said.out);
    }
    assert!(kept() == files, "something was written");
    let path = here.join("r/run.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    let text = b"policy";
    let at = bytes.windows(text.len()).rposition(|window| window == text).unwrap();
    bytes[at + 40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let said = run(here, &["check", "r"]);
    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    assert!(said.err.starts_with("error: corrupt: "), "{}", said.err);
}

/// The binary that tests build can be told to plant a bug; here the trainer forgets the
/// temperature.
#[test]
fn p03_a_fault_of_the_engine_ends_the_run_with_its_name_and_the_run_can_go_on() {
    let folder = workplace();
    let here = folder.path();
    let set = ["--set", "stage[1].rl.temperature=0.8"];
    let train = |run: &'static str| [&["train", "tiny.toml", "--run", run], &set[..]].concat();
    run(here, &train("whole")).fine();
    let mut faulty = support::stepwell(here, &train("r"));
    let output = faulty.env("STEPWELL_MUTANT", "10").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(101), "{said}");
    let begin = "error: stage 1, update 0: trainer and sampler disagree on log-probs: mean ";
    assert!(said.starts_with(begin) && said.contains("the first at tree 0 (task "), "{said}");
    assert!(said.contains("no weight was changed"), "{said}");
    run(here, &["resume", "r"]).fine();
    let weights = |run: &str| contents(&here.join(run).join("checkpoints"));
    assert!(weights("r") == weights("whole"));
}

#[test]
fn judging_again_changes_nothing_of_the_run() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    let before = RunReader::open(&here.join("r")).unwrap().head().unwrap();
    let words = ["eval", "r", "--questions", "4", "--decoding"];
    let eval = |more: &[&str]| run(here, &[&words[..], more].concat()).fine().out;
    let greedy = eval(&["greedy"]);
    assert!(greedy.contains("greedy    held_out          4     1.0"), "{greedy}");
    assert!(greedy.contains("guess level by construction"), "{greedy}");
    assert!(greedy.contains("samples:\n    question "), "{greedy}");
    let compared = eval(&["compare", "--leaves", "4"]);
    assert!(compared.contains("\nlinear_vote ") && compared.contains("\ntree_vote "), "{compared}");
    assert_eq!(compared, eval(&["compare", "--leaves", "4", "--threads", "1"]));
    assert!(eval(&["sample", "--shuffled-results"]).contains("results shuffled"));
    eval(&["linear_vote", "--split", "development", "--temperature", "0.5", "--seed", "9"]);
    eval(&["tree_vote", "--split", "train", "--checkpoint", "10"]);
    assert_eq!(RunReader::open(&here.join("r")).unwrap().head().unwrap(), before);
}

#[test]
fn exports_are_whole_or_absent() {
    let folder = workplace();
    let here = folder.path();
    run(here, &["train", "tiny.toml", "--run", "r"]).fine();
    run(here, &["export", "r", "--format", "jsonl", "trees.jsonl"]).fine();
    let text = fs::read_to_string(here.join("trees.jsonl")).unwrap();
    let tree: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 12);
    assert_eq!(tree["steps"][0]["origin"], "prompt");
    assert!(tree["steps"][1]["credit"].is_number() && tree["steps"][1]["tokens"].is_array());
    run(here, &["export", "r", "--format", "parquet", "steps.parquet"]).fine();
    let bytes = fs::read(here.join("steps.parquet")).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    run(here, &["export", "r", "--format", "huggingface", "model"]).fine();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(here.join("model").join(name).is_file(), "{name}");
    }
    // What came out goes in again: a run that starts from the exported folder.
    let scratch = "[model.scratch]\nhidden = 16\nlayers = 1\nheads = 2\n";
    let recipe = support::TINY.replace(scratch, "[model]\npath = \"model\"\n");
    assert_ne!(recipe, support::TINY);
    fs::write(here.join("again.toml"), recipe).unwrap();
    run(here, &["train", "again.toml", "--run", "s"]).fine();
    let left: Vec<_> = fs::read_dir(here).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("tmp-")), "{left:?}");

    // What has the name of the copy that is not whole yet, and is not of this call, stays.
    fs::create_dir(here.join("tmp-again")).unwrap();
    fs::write(here.join("tmp-again/mine"), "mine").unwrap();
    fs::write(here.join("tmp-lines"), "mine").unwrap();
    for (format, name) in [("huggingface", "again"), ("jsonl", "again"), ("jsonl", "lines")] {
        let said = run(here, &["export", "r", "--format", format, name]);
        assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
        assert!(said.err.contains(&format!("tmp-{name}` exists")), "{}", said.err);
        assert!(!here.join(name).exists());
    }
    assert_eq!(fs::read_to_string(here.join("tmp-again/mine")).unwrap(), "mine");
    assert_eq!(fs::read_to_string(here.join("tmp-lines")).unwrap(), "mine");
}

#[test]
fn a_recipe_is_shown_with_every_default_and_checked_without_a_trace() {
    let folder = workplace();
    let here = folder.path();
    let shown = run(here, &["recipe", "show", "tiny.toml", "--set", "seed=77"]).fine().out;
    assert!(shown.starts_with("# ") && shown.contains("seed = 77\n"), "{shown}");
    fs::write(here.join("shown.toml"), &shown).unwrap();
    assert_eq!(run(here, &["recipe", "show", "shown.toml"]).fine().out, shown);
    let checked = run(here, &["recipe", "check", "tiny.toml"]).fine().out;
    for words in
        ["tiny.toml: fine", "12 train, 8 development, 8 held_out", "memory: about ", "time:"]
    {
        assert!(checked.contains(words), "no `{words}` in {checked}");
    }
    assert!(!here.join("runs").exists());
}

#[test]
fn the_doctor_tells_people_and_scripts_the_same() {
    let folder = workplace();
    let said = run(folder.path(), &["doctor", "--json"]).fine();
    let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let text = run(folder.path(), &["doctor"]).fine().out;
    for name in ["processor", "cores", "memory", "disk", "sqlite", "python3", "transformers"] {
        assert!(found[name]["ok"].is_boolean(), "{name}");
        let missing = format!("missing  {name}");
        assert_eq!(found[name]["ok"] == false, text.contains(&missing), "{text}");
        assert!(found[name]["ok"] == true || found[name]["next"].is_string(), "{name}");
    }
}
