//! The `preference` stage, with pairs of siblings and of a file: stopped, killed and resumed it is
//! the same run; it learns what the pairs say; a file that is wrong or has changed is refused.

mod common;

use std::path::{Path, PathBuf};

use common::runs::{Watch, end, finish, recipe, start, warm_up};
use common::told::told;
use stepwell_engine::run::{self, Outcome};
use stepwell_store::RunReader;

/// Behind the warm-up: pairs of siblings under a loss that reads everything, pairs of a file.
const STAGES: &str = r#"
[[stage]]
[stage.preference]
steps = 3
tasks = 4
epochs = 2
max_tokens = 40
learning_rate = 1e-2
checkpoint_every = 1
evaluate_every = 2
evaluate_questions = 2
grow = { type = "branch", attempts = 3, branches = 2, leaves = 6 }
reward = { type = "composite" }
pairs = { type = "siblings", decisions = "all" }
loss = { type = "kto" }
[[stage]]
[stage.preference]
steps = 4
batch = 3
learning_rate = 1e-2
checkpoint_every = 2
pairs = { type = "file", path = "PAIRS" }
loss = { type = "dpo", beta = 0.5 }
"#;

const PAIRS: &str = "\
{\"prompt\": \"status ?\", \"chosen\": \"check status\", \"rejected\": \"guess status : open\"}
{\"prompt\": \"price ?\", \"chosen\": \"look\", \"rejected\": \"guess new_status : open\"}
{\"prompt\": \"size ?\", \"chosen\": \"check size\", \"rejected\": \"guess size : C\"}
{\"prompt\": \"id ?\", \"chosen\": \"look\", \"rejected\": \"guess id : S\"}
";

fn tiny(folder: &Path) -> (String, PathBuf) {
    let file = folder.join("pairs.jsonl");
    std::fs::write(&file, PAIRS).unwrap();
    (warm_up().to_owned() + &STAGES.replace("PAIRS", file.to_str().unwrap()), file)
}

#[test]
fn p01_a_stop_or_a_kill_anywhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = tiny(folder.path());
    let whole = folder.path().join("whole");
    let copies = folder.path().join("copies");
    let mut watch = Watch { copy: Some((whole.clone(), copies)), ..Watch::default() };
    run::start(&recipe(&text), &whole, 2, &mut watch).unwrap();
    assert_eq!(watch.steps, 23);
    let expected = end(&whole);
    for k in [16, 17, 18, 19, 20, 21, 22] {
        let path = folder.path().join(k.to_string());
        let mut stop = Watch { stop_after: Some(k), ..Watch::default() };
        let outcome = run::start(&recipe(&text), &path, 1, &mut stop).unwrap();
        assert_eq!((outcome, stop.steps), (Outcome::Stopped, k));
        assert_eq!(finish(&path, 2).unwrap(), expected, "stopped at {k}");
    }
    let late = watch.copies.len() / 2;
    for (k, killed) in watch.copies.iter().enumerate().skip(late).step_by(2) {
        assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
    }
}

#[test]
fn p01_moments_and_the_reference_are_needed_to_go_on() {
    // Another reference is another run: the comparison has power.
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = tiny(folder.path());
    start(&text, &folder.path().join("a"), 2).unwrap();
    start(&text.replace("\"kto\"", "\"simpo\""), &folder.path().join("b"), 2).unwrap();
    let files = |name: &str| end(&folder.path().join(name)).files;
    assert_ne!(files("a"), files("b"));
    let path = folder.path().join("c");
    let mut watch = Watch { stop_after: Some(18), ..Watch::default() };
    run::start(&recipe(&text), &path, 2, &mut watch).unwrap();
    let held = end(&path).files.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert!(held.contains(&"reference.safetensors".to_owned()), "{held:?}");
}

#[test]
fn what_is_preferred_becomes_likelier_from_step_to_step() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = tiny(folder.path());
    let longer = text.replace("steps = 4\nbatch = 3", "steps = 12\nbatch = 4");
    let steps = told(&longer, &folder.path().join("run"));
    let own = &steps[19..];
    // Every step draws all four pairs: at the start nothing is preferred to anything.
    assert_eq!((own[0]["margin"], own[0]["pairs"]), (0.0, 4.0));
    assert!((own[0]["loss"] - std::f64::consts::LN_2).abs() < 1e-9);
    assert!(own[11]["margin"] > own[5]["margin"] && own[5]["margin"] > own[1]["margin"]);
    assert_eq!(own[11]["pair_accuracy"], 1.0);
    assert!(own[11]["loss"] < 0.5 * own[0]["loss"], "{own:#?}");
    // Both answers share their prompt: it is computed once.
    assert!(own[0]["computed_tokens"] < own[0]["trained_tokens"] + 4.0 * 8.0);
    // Siblings: trees are in the record, with the sides of their pairs.
    let pairs = steps[16..19].iter().map(|m| m["pairs"]).sum::<f64>();
    assert!(pairs > 0.0, "no pair in three updates");
    let reader = RunReader::open(&folder.path().join("run")).unwrap();
    let stored = (0..3).flat_map(|update| reader.grown(1, update).unwrap().unwrap());
    let credit = stored.flat_map(|tree| tree.credit.unwrap().step).flatten().collect::<Vec<f64>>();
    let count = |side: f64| credit.iter().filter(|c| **c == side).count() as f64;
    assert_eq!((count(1.0), count(-1.0), credit.len() as f64), (pairs, pairs, 2.0 * pairs));
}

#[test]
fn a_wrong_file_is_refused_before_a_folder_is_made_and_a_changed_one_before_going_on() {
    let folder = tempfile::tempdir().unwrap();
    let (text, file) = tiny(folder.path());
    let path = folder.path().join("run");
    let refused = |pairs: &str| {
        std::fs::write(&file, pairs).unwrap();
        let error = run::start(&recipe(&text), &path, 2, &mut Watch::default()).unwrap_err();
        assert!(!path.exists(), "a folder was made: {error}");
        error.to_string().replace(file.to_str().unwrap(), "pairs.jsonl")
    };
    let same = PAIRS.replace("guess size : C", "check size");
    assert_eq!(
        refused(&same),
        "pairs.jsonl:3:46: `chosen` and `rejected` are the same; a pair must differ; take the line \
         out"
    );
    let long = PAIRS.replace("check size", &"look ".repeat(300));
    let message = refused(&long);
    assert!(
        message.starts_with("stage[2].preference: pairs.jsonl:3: prompt and answer have ")
            && message.contains("expected at most the model's context: 200; 1 of 4 pairs"),
        "{message}"
    );
    std::fs::remove_file(&file).unwrap();
    let error = run::start(&recipe(&text), &path, 2, &mut Watch::default()).unwrap_err();
    assert!(error.to_string().contains("pairs.jsonl"), "{error}");

    std::fs::write(&file, PAIRS).unwrap();
    let mut watch = Watch { stop_after: Some(20), ..Watch::default() };
    run::start(&recipe(&text), &path, 2, &mut watch).unwrap();
    std::fs::write(&file, PAIRS.replace("guess id", "guess size")).unwrap();
    let error = run::resume(&path, 2, &mut Watch::default()).unwrap_err();
    assert!(error.to_string().contains("pairs"), "{error}");
}

/// The shuffled-label control: a share of the pairs has its sides swapped, a pair of a file always
/// or never, and then nothing is learned of what they say.
#[test]
fn swapped_pairs_are_swapped_by_key_and_teach_the_opposite() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = tiny(folder.path());
    let file = text.find("[[stage]]\n[stage.preference]\nsteps = 4").unwrap();
    let run = |name: &str, control: &str| {
        let longer = text[..file].to_owned()
            + &text[file..]
                .replace("steps = 4\nbatch = 3", &format!("steps = 12\nbatch = 4\n{control}"));
        let mut steps = told(&longer, &folder.path().join(name));
        steps.split_off(19)
    };
    let plain = run("plain", "");
    assert!(plain.iter().all(|metrics| !metrics.contains_key("swapped")));
    let all = run("all", "control = \"swapped\"\ncontrol_share = 1.0");
    assert!(all.iter().all(|metrics| metrics["swapped"] == 4.0));
    // The same pairs the other way round: at the reference the two log-probabilities change places.
    assert_eq!(all[0]["chosen_logprob"], plain[0]["rejected_logprob"]);
    assert_eq!(all[0]["rejected_logprob"], plain[0]["chosen_logprob"]);
    // It learns what it is told.
    assert_eq!(all[11]["pair_accuracy"], 1.0);
    let half = run("half", "control = \"swapped\"");
    // All four pairs are in every update: as many are swapped in each.
    let swapped = half[0]["swapped"];
    assert!(half.iter().all(|metrics| metrics["swapped"] == swapped), "{half:#?}");
    assert!((1.0..4.0).contains(&swapped), "{swapped} of 4: choose another seed");
}

#[test]
fn p01_swapped_siblings_are_in_the_record_as_they_train_and_a_stop_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, _) = tiny(folder.path());
    let text = plain.replacen("epochs = 2\n", "epochs = 2\ncontrol = \"swapped\"\n", 1);
    let whole = folder.path().join("whole");
    let steps = told(&text, &whole);
    let swapped = steps[16]["swapped"];
    assert!(swapped > 0.0, "{:#?}", steps[16]);
    let path = folder.path().join("stopped");
    let mut watch = Watch { stop_after: Some(17), ..Watch::default() };
    run::start(&recipe(&text), &path, 1, &mut watch).unwrap();
    assert_eq!(finish(&path, 2).unwrap(), end(&whole));
    // The first update has the trees of a run without control, and the sides as they trained.
    let straight = folder.path().join("straight");
    told(&plain, &straight);
    let credits = |path: &Path| -> Vec<Option<f64>> {
        let trees = RunReader::open(path).unwrap().grown(1, 0).unwrap().unwrap();
        trees.into_iter().flat_map(|stored| stored.credit.unwrap().step).collect()
    };
    let (own, other) = (credits(&whole), credits(&straight));
    let negated = own.iter().zip(&other).filter(|(a, b)| a.is_some() && **a != **b);
    assert_eq!(negated.clone().count() as f64, 2.0 * swapped);
    assert!(negated.clone().all(|(a, b)| *a == b.map(|credit| -credit)));
}
