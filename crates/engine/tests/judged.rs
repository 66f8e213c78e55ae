//! Pairs that a model labels: what it has learned to prefer is preferred, whichever side of the
//! file it stands on; what it cannot say is no label; a stopped run goes on bit for bit.

mod common;

use std::path::{Path, PathBuf};

use common::runs::{Watch, copy, end, recipe, start, warm_up};
use common::told::{resumes, told};
use stepwell_engine::EngineError;
use stepwell_engine::observe::Metrics;
use stepwell_engine::run;
use stepwell_model::io;
use stepwell_store::{RunFolder, newest_valid};

/// Prompts, answers that look, answers that guess.
const ASKED: [[&str; 3]; 4] = [
    ["status ?", "check status", "guess status : open"],
    ["price ?", "look", "guess new_status : open"],
    ["size ?", "check size", "guess size : C"],
    ["id ?", "look", "guess id : S"],
];

/// What the judge reads, and the two words of its vocabulary by which it answers.
const TEMPLATE: &str = "{prompt} | {first} | {second} |";
const OPTIONS: [&str; 2] = ["open", "check"];

fn head() -> &'static str {
    &warm_up()[..warm_up().find("[[stage]]").unwrap()]
}

/// A model that has learned to name the answer that looks.
fn judge(folder: &Path) -> PathBuf {
    learned(folder, "judge", OPTIONS)
}

/// A model that has learned to say one word where the answer that looks stands first, and another
/// where it stands second.
fn learned(folder: &Path, name: &str, says: [&str; 2]) -> PathBuf {
    let mut lines = String::new();
    for [prompt, look, guess] in ASKED {
        for (first, second, option) in [(look, guess, says[0]), (guess, look, says[1])] {
            let read = format!("{prompt} | {first} | {second} |");
            lines += &format!("{{\"prompt\": {read:?}, \"completion\": {option:?}}}\n");
        }
    }
    let data = folder.join(format!("{name}.jsonl"));
    std::fs::write(&data, lines).unwrap();
    let stage = format!(
        "[[stage]]\n[stage.sft]\ndata = {data:?}\nsteps = 120\nbatch = 8\nlearning_rate = 2e-2\n"
    );
    let run = folder.join(format!("{name}_run"));
    start(&format!("{}{stage}", head().replace("seed = 3", "seed = 5")), &run, 2).unwrap();
    let run = RunFolder::open_for_writing(&run).unwrap();
    let newest = newest_valid(&run).unwrap().0.unwrap();
    let path = folder.join(name);
    copy(newest.folder(), &path);
    path
}

/// A file of the pairs, the answer that looks on the left or on the right.
fn pairs(folder: &Path, looks_first: bool) -> PathBuf {
    let line = |[prompt, look, guess]: [&str; 3]| {
        let [chosen, rejected] = if looks_first { [look, guess] } else { [guess, look] };
        format!("{{\"prompt\": {prompt:?}, \"chosen\": {chosen:?}, \"rejected\": {rejected:?}}}\n")
    };
    let path = folder.join(format!("pairs_{looks_first}.jsonl"));
    std::fs::write(&path, ASKED.map(line).concat()).unwrap();
    path
}

/// Behind the warm-up: a stage on a file's pairs, with more keys and a judge with more keys.
fn text(file: &Path, more: &str, judge: &str) -> String {
    format!(
        "{}[[stage]]\n[stage.preference]\nsteps = 6\nbatch = 4\nlearning_rate = 1e-2\n\
         checkpoint_every = 2\npairs = {{ type = \"file\", path = {file:?} }}\n\
         loss = {{ type = \"dpo\", beta = 0.5 }}\n{more}{judge}",
        warm_up()
    )
}

fn asks(path: &Path, more: &str) -> String {
    format!(
        "[stage.preference.judge]\npath = {path:?}\ntemplate = {TEMPLATE:?}\n\
         options = {OPTIONS:?}\n{more}"
    )
}

fn own(steps: &[Metrics]) -> &[Metrics] {
    &steps[16..]
}

#[test]
fn what_the_judge_prefers_is_preferred_on_whichever_side_it_stands() {
    let folder = tempfile::tempdir().unwrap();
    let judge = judge(folder.path());
    let run = |name: &str, looks_first: bool, more: &str, keys: &str| {
        let file = pairs(folder.path(), looks_first);
        let steps = told(&text(&file, more, &asks(&judge, keys)), &folder.path().join(name));
        own(&steps).to_vec()
    };
    let right = run("right", true, "", "");
    let wrong = run("wrong", false, "", "");
    for (right, wrong) in right.iter().zip(&wrong) {
        assert_eq!((right["judge/agreement"], wrong["judge/agreement"]), (1.0, 0.0));
        assert!((right["judge/label"] + wrong["judge/label"] - 1.0).abs() < 1e-9);
        // The same training, seen from the other side.
        assert!((right["loss"] - wrong["loss"]).abs() < 1e-4, "{right:#?} {wrong:#?}");
        assert!((right["margin"] + wrong["margin"]).abs() < 1e-3, "{right:#?} {wrong:#?}");
    }
    assert!(right[0]["judge/label"] > 0.9, "{:#?}", right[0]);
    assert!(right[5]["margin"] > 1.0, "{:#?}", right[5]);
    // Controls: swapped after they were labelled, the policy learns the other way; in one order the
    // label is another.
    let swapped = run("swapped", true, "control = \"swapped\"\ncontrol_share = 1.0\n", "");
    assert!(swapped[5]["margin"] > 1.0 && swapped[0]["judge/agreement"] == 1.0);
    let guesses = swapped[5]["chosen_logprob"] - right[5]["rejected_logprob"];
    assert!(guesses > 1.0, "what is swapped makes guesses likelier: {guesses}");
    let once = run("once", true, "", "orders = \"one\"\n");
    assert_ne!(once[0]["judge/label"], right[0]["judge/label"]);
}

#[test]
fn one_order_shows_a_pair_the_same_way_whichever_side_the_file_calls_better() {
    let folder = tempfile::tempdir().unwrap();
    // A judge that always says the first.
    let judge = learned(folder.path(), "first", [OPTIONS[0]; 2]);
    let first = |name: &str, looks_first: bool, keys: &str| {
        let file = pairs(folder.path(), looks_first);
        let path = folder.path().join(name);
        own(&told(&text(&file, "", &asks(&judge, keys)), &path)).to_vec()
    };
    let right = first("right", true, "orders = \"one\"\n");
    let wrong = first("wrong", false, "orders = \"one\"\n");
    for (right, wrong) in right.iter().zip(&wrong) {
        // Shown with the file's better answer first it would agree with either file.
        assert!((right["judge/agreement"] + wrong["judge/agreement"] - 1.0).abs() < 1e-9);
        assert!((right["judge/label"] + wrong["judge/label"] - 1.0).abs() < 1e-9);
    }
    // All four pairs come with every update, shown as in the first.
    assert!(right.iter().all(|m| (m["judge/label"] - right[0]["judge/label"]).abs() < 1e-9));
    let both = first("both", true, "");
    assert!((both[0]["judge/label"] - 0.5).abs() < 0.1, "{:#?}", both[0]);
}

#[test]
fn a_run_with_a_judge_resumes_bit_for_bit_and_knows_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let judge = judge(folder.path());
    let file = pairs(folder.path(), true);
    let text = text(&file, "", &asks(&judge, ""));
    let (expected, _) = resumes(&text, folder.path(), &[17, 20]);
    assert_eq!(end(&folder.path().join("whole")), expected);
    // Another judge at the same place is noticed.
    let path = folder.path().join("another");
    let mut stop = Watch { stop_after: Some(18), ..Watch::default() };
    run::start(&recipe(&text), &path, 1, &mut stop).unwrap();
    // So is the same one that reads texts in another way.
    let template = judge.join("chat_template.jinja");
    let reads = "{% for m in messages %}{{ m.content }}{% endfor %}";
    std::fs::write(&template, reads).unwrap();
    let said = run::resume(&path, 1, &mut Watch::default()).err().unwrap().to_string();
    assert!(said.contains("judge"), "{said}");
    std::fs::remove_file(&template).unwrap();
    let mut loaded = io::load(&judge).unwrap();
    let name = "model.norm.weight";
    let width = loaded.model.config().hidden;
    loaded.model.set_parameter(name, &vec![0.5; width]).unwrap();
    for (name, bytes) in io::folder_bytes(&loaded.model, &loaded.tokenizer, None).unwrap() {
        std::fs::write(judge.join(name), bytes).unwrap();
    }
    let said = run::resume(&path, 1, &mut Watch::default()).err().unwrap().to_string();
    assert!(said.contains("judge"), "{said}");
}

#[test]
fn what_a_judge_does_not_say_is_no_label_and_too_few_labels_stop_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let judge = judge(folder.path());
    let file = pairs(folder.path(), true);
    // Nothing is sure enough: the run stops before anything moves.
    let strict = asks(&judge, "mass_min = 1.0\n");
    let stopped = start(&text(&file, "", &strict), &folder.path().join("a"), 1).err().unwrap();
    let EngineError::Unlabelled { unlabelled, pairs: asked, reasons, .. } = &stopped else {
        panic!("{stopped}")
    };
    assert_eq!((*unlabelled, *asked, reasons.as_str()), (4, 4, "no_option: 4"));
    assert_eq!(stopped.exit_code(), 1);
    // Where that is allowed, what has no label trains nothing.
    let all = "unscored_max = 1.0\n";
    let steps = told(&text(&file, all, &strict), &folder.path().join("b"));
    for metrics in own(&steps) {
        assert_eq!((metrics["judge/unlabelled/no_option"], metrics["pairs"]), (4.0, 0.0));
        assert_eq!((metrics["trained_tokens"], metrics["gradient_norm"]), (0.0, 0.0));
        // Nothing was said, which is no label of 0.
        let told = ["judge/label", "judge/agreement"].map(|name| metrics.contains_key(name));
        assert_eq!(told, [false; 2]);
    }
    // A text that is too long for the judge is read by nobody.
    let long = TEMPLATE.replace('|', &"| ".repeat(80));
    let long = asks(&judge, "").replace(&format!("{TEMPLATE:?}"), &format!("{long:?}"));
    let steps = told(&text(&file, all, &long), &folder.path().join("c"));
    assert_eq!(own(&steps)[0]["judge/unlabelled/too_long"], 4.0);
}

#[test]
fn options_that_are_no_single_token_and_no_judge_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let judge = judge(folder.path());
    let file = pairs(folder.path(), true);
    let told = |options: &str, path: &Path| {
        let asked = asks(path, "").replace(&format!("{OPTIONS:?}"), options);
        let run = folder.path().join("run");
        let said = start(&text(&file, "", &asked), &run, 1).err().unwrap().to_string();
        assert!(!run.exists());
        said
    };
    let two = told("[\"open check\", \"check\"]", &judge);
    assert!(two.contains("the option `open check` is 2 of its tokens, expected: one"), "{two}");
    let letters = told("[\"open\", \"zzzz\"]", &judge);
    assert!(letters.contains("the option `zzzz` is 4 of its tokens"), "{letters}");
    let nobody = told("[\"open\", \"check\"]", &folder.path().join("nobody"));
    assert!(nobody.contains("judge") && nobody.contains("nobody"), "{nobody}");
}
