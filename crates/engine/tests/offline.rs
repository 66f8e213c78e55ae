//! The `offline` stage: stopped, killed and resumed it is the same run; heads of a checkpoint are
//! needed; evaluations are led by what it taught.

mod common;

use std::path::Path;

use common::runs::{End, Watch, edit_newest, end, finish, recipe, start, warm_up};
use common::told::told;
use stepwell_engine::judge::judge;
use stepwell_engine::recipe::{Decoding, Evaluate};
use stepwell_engine::run::{self, Outcome};

/// Behind the warm-up of 16 steps: ILQL on a log of its own and on the policy's trunk, Q-learning
/// on the log of that stage under a frozen policy, and evaluations that both lead.
const STAGES: &str = r#"
[[stage]]
[stage.offline]
steps = 4
batch = 3
tasks = 5
max_tokens = 40
learning_rate = 1e-2
warmup_steps = 1
checkpoint_every = 1
target_every = 2
target_rate = 0.5
hidden = 6
reward = { type = "overlong", tokens_max = 30, tokens_soft = 25 }
grow = { type = "branch", attempts = 2, branches = 2, leaves = 4 }
[[stage]]
[stage.evaluate]
questions = 4
max_tokens = 40
decoding = "sample"
leaves = 2
top_k = 5
q_beta = 40.0
[[stage]]
[stage.offline]
steps = 4
batch = 4
log = 1
learning_rate = 1e-2
warmup_steps = 1
checkpoint_every = 2
target_every = 1
target_rate = 0.1
trunk = "frozen"
reward = { type = "overlong", tokens_max = 30, tokens_soft = 25 }
method = { type = "double_q", conservatism = 0.01 }
[[stage]]
[stage.evaluate]
questions = 4
max_tokens = 40
decoding = "best_of_n"
leaves = 2
q_beta = 4.0
"#;

fn text() -> String {
    warm_up().to_owned() + STAGES
}

#[test]
fn p01_a_stop_or_a_kill_anywhere_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    let copies = folder.path().join("copies");
    let mut watch = Watch { copy: Some((whole.clone(), copies)), ..Watch::default() };
    run::start(&recipe(&text()), &whole, 2, &mut watch).unwrap();
    assert_eq!(watch.steps, 16 + 4 + 4);
    let expected = end(&whole);
    for k in [17, 19, 20, 21, 23, 24] {
        let path = folder.path().join(k.to_string());
        let mut stop = Watch { stop_after: Some(k), ..Watch::default() };
        let outcome = run::start(&recipe(&text()), &path, 1, &mut stop).unwrap();
        assert_eq!((outcome, stop.steps), (Outcome::Stopped, k));
        assert_eq!(finish(&path, 7).unwrap(), expected, "stopped at {k}");
    }
    let late = watch.copies.len() / 2;
    for (k, killed) in watch.copies.iter().enumerate().skip(late).step_by(3) {
        assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
    }
}

/// Stops in the first offline stage, edits what the checkpoint says, and goes on.
fn edited(
    folder: &Path,
    edit: impl FnOnce(&mut serde_json::Value, &mut Vec<(String, Vec<u8>)>),
) -> Result<End, String> {
    let path = folder.join("edited");
    let mut stop = Watch { stop_after: Some(19), ..Watch::default() };
    run::start(&recipe(&text()), &path, 2, &mut stop).unwrap();
    edit_newest(&path, edit);
    finish(&path, 2).map_err(|error| error.to_string())
}

#[test]
fn every_head_of_a_checkpoint_is_needed_and_one_that_is_missing_is_named() {
    let folder = |name: &str| tempfile::Builder::new().prefix(name).tempdir().unwrap();
    let same = folder("same");
    let expected = edited(same.path(), |_, _| ()).unwrap();
    let whole = folder("whole");
    start(&text(), &whole.path().join("run"), 2).unwrap();
    assert_eq!(end(&whole.path().join("run")), expected, "the same checkpoint, written again");
    let without = folder("without");
    let said = edited(without.path(), |_, files| files.retain(|f| f.0 != "heads.safetensors"));
    assert_eq!(
        said.unwrap_err(),
        "checkpoint 000020: head `q1`: its tensors are missing",
        "no file of heads"
    );
    let untold = folder("untold");
    let said = edited(untold.path(), |state, _| {
        let heads = state["heads"].as_array_mut().unwrap();
        heads.retain(|head| head["name"] != "q2_target");
    });
    let expects = "holds no head `q2_target`, which the stage has trained";
    assert!(said.as_ref().is_err_and(|said| said.contains(expects)), "{said:?}");
    // Numbers of each kind of tensor: weights, moments, and the frozen heads' weights.
    for kind in ["q1/out.weight", "value/out.bias", "q2/", "q1_target/out.weight"] {
        let zeroed = folder("zeroed");
        let got = edited(zeroed.path(), |_, files| {
            let file = files.iter_mut().find(|f| f.0 == "heads.safetensors").unwrap();
            let mut tensors = stepwell_store::tensors_from_bytes(&file.1).unwrap();
            let own = tensors.iter_mut().filter(|(name, _, _)| name.starts_with(kind));
            let mut seen = 0;
            for (_, _, numbers) in own {
                seen += numbers.iter().filter(|x| **x != 0.0).count();
                numbers.fill(0.0);
            }
            assert!(seen > 0, "{kind}");
            file.1 = stepwell_store::tensors_to_bytes(&tensors).unwrap();
        });
        assert_ne!(got.unwrap(), expected, "{kind}");
    }
}

#[test]
fn a_frozen_policy_stands_still_and_a_shared_one_learns() {
    let folder = tempfile::tempdir().unwrap();
    let weights = |text: &str, name: &str| {
        let path = folder.path().join(name);
        let steps = told(text, &path);
        let files = end(&path).files;
        let held = files.into_iter().find(|(name, _)| name == "model.safetensors").unwrap();
        (held, steps)
    };
    let stage = |more: &str| {
        format!(
            "{}[[stage]]\n[stage.offline]\nsteps = 6\nbatch = 4\ntasks = 4\nmax_tokens = 40\n\
             learning_rate = 1e-2\nwarmup_steps = 1\ntarget_every = 1\ntarget_rate = 0.2\n\
             hidden = 8\n\
             reward = {{ type = \"overlong\", tokens_max = 30, tokens_soft = 25 }}\n{more}\n",
            warm_up()
        )
    };
    let (before, _) = weights(warm_up(), "alone");
    let frozen = "trunk = \"frozen\"\nmethod = { type = \"ilql\", awac = 0 }";
    let (after, steps) = weights(&stage(frozen), "frozen");
    assert_eq!(after, before, "a frozen policy");
    let own = &steps[16..];
    // A fresh head says 0 of everything, and has learned to say something else.
    let (first, last) = (&own[0], &own[5]);
    assert_eq!((first["offline/q"], first["offline/value"]), (0.0, 0.0));
    assert!(first["offline/target"] < 0.0 && first["leaves"] > 0.0, "{first:?}");
    assert!(last["offline/q"] != 0.0 && last["offline/value"] != 0.0, "{last:?}");
    assert!(!last.contains_key("leaves"), "a log is written once");
    assert_ne!(weights(&stage(""), "shared").0, before, "a shared policy");
}

#[test]
fn a_finished_run_is_asked_again_led_by_its_heads() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    run::start(&recipe(&text()), &whole, 2, &mut Watch::default()).unwrap();
    let (decoding, leaves, max_tokens) = (Decoding::Sample, 2, 40);
    let base = Evaluate { questions: 4, decoding, leaves, max_tokens, ..Evaluate::default() };
    let ask = |path: &Path, beta: f64| {
        let set = [format!("q_beta={beta}")];
        judge(path, None, (std::slice::from_ref(&base), &set), Some(5), 2, &mut Watch::default())
    };
    let answers = |beta: f64| -> Vec<String> {
        let results = ask(&whole, beta).unwrap();
        results[0].1.samples.iter().map(|sample| sample.answer.clone()).collect()
    };
    assert_eq!(answers(40.0), answers(40.0));
    assert_ne!(answers(40.0), answers(0.0), "the heads were not read");
    // A checkpoint before there were heads.
    let early = folder.path().join("early");
    let mut stop = Watch { stop_after: Some(10), ..Watch::default() };
    run::start(&recipe(&text()), &early, 1, &mut stop).unwrap();
    let said = ask(&early, 40.0).unwrap_err().to_string();
    assert!(said.contains("holds no heads that lead (`q_beta`)"), "{said}");
    ask(&early, 0.0).unwrap();
    // One behind the stage that taught them, of a run whose policy has moved on since.
    let later = "[[stage]]\n[stage.sft]\ndemonstrations = \"scripted\"\nsteps = 2\n";
    let moved = folder.path().join("moved");
    let mut stop = Watch { stop_after: Some(24), ..Watch::default() };
    run::start(&recipe(&(text() + later)), &moved, 1, &mut stop).unwrap();
    ask(&moved, 40.0).unwrap();
    finish(&moved, 1).unwrap();
    let said = ask(&moved, 40.0).unwrap_err().to_string();
    assert!(said.contains("holds no heads that lead (`q_beta`)"), "{said}");
}
