//! Plans in whole runs: what was planned is what is recorded and done, and what a plan keeps from
//! update to update survives a stop.

mod common;

use std::collections::BTreeMap;

use common::runs::{end, recipe, warm_up};
use common::told::{resumes, sabotaged, stopped, told};
use stepwell_engine::observe::Metrics;
use stepwell_engine::recipe::{Rl, Stage};
use stepwell_methods::schedule::{At, Seen, State};
use stepwell_store::{RunFolder, RunReader, newest_valid};
use stepwell_tree::{Key, Purpose};

/// Behind the warm-up: a short stage with a plan of its own.
fn with(plan: &str) -> String {
    let stage = "[[stage]]\n[stage.rl]\nsteps = 7\ntasks = 3\nmax_tokens = 40\nbatch = 4\n\
                 learning_rate = 1e-2\ncheckpoint_every = 3\nminibatches = 2\n\
                 grow = { type = \"branch\", attempts = 2, branches = 2, leaves = 4 }\n\
                 credit = { type = \"reinforce\", baseline = { constant = 0.5 } }\n";
    format!("{}{stage}{plan}\n", warm_up())
}

const KL: &str = "objective = { type = \"clipped\", kl = { coefficient = 0.05 } }\n";
const SCRIPTED: &str = "demonstrations = \"scripted\"\n";
/// Each with what it needs beside it.
const PLANS: [(&str, &str); 9] = [
    ("{ type = \"fixed\", share = 0.5 }", SCRIPTED),
    ("{ type = \"fixed\", share = 0.25, mix = \"soft\" }", SCRIPTED),
    ("{ type = \"cosine\", mix = \"soft\" }", SCRIPTED),
    ("{ type = \"staged\", first_updates = 2, then_updates = 1 }", SCRIPTED),
    ("{ type = \"sasr\", warmup = 2, gamma = 2.0, probe_every = 1 }", SCRIPTED),
    ("{ type = \"sasr\", warmup = 1, mix = \"soft\", warm_at = \"after\" }", SCRIPTED),
    ("{ type = \"sasr\", warmup = 2, gate = \"sigmoid_of_ratio\" }", SCRIPTED),
    ("{ type = \"shuffled\", demonstrations = 3 }", SCRIPTED),
    ("{ type = \"adaptive_kl\", target = 0.01, horizon = 8 }", KL),
];

fn text((plan, beside): (&str, &str)) -> String {
    with(&format!("plan = {plan}\n{beside}"))
}

fn stage(text: &str) -> Rl {
    match &recipe(text).stage[1] {
        Stage::Rl(rl) => rl.clone(),
        _ => panic!("stage 1 is reinforcement"),
    }
}

/// Plays the schedule again with what the record says was measured; the plans must be those of the
/// record.
fn replayed(rl: &Rl, steps: &[Metrics]) {
    let mut state = State::default();
    for (update, metrics) in steps.iter().enumerate() {
        let at = At { update: update as u64, updates: 7 };
        let key = Key::new(3, Purpose::Schedule).with(1).with(update as u64);
        let plan = rl.plan.plan(&at, &state, key);
        let told =
            ["demonstrations", "reinforcement", "share"].map(|n| metrics[&format!("plan/{n}")]);
        assert_eq!([plan.demonstrations, plan.reinforcement, plan.share], told, "update {update}");
        let get = |name: &str| metrics.get(name).copied();
        // Whoever trains on demonstrations, or probes them, measures them; nobody else does.
        let looked = plan.demonstrations > 0.0 || plan.probe;
        assert_eq!(get("demonstration_norm").is_some(), looked, "update {update}: {metrics:#?}");
        assert_eq!(get("demonstration_loss").is_some(), plan.demonstrations > 0.0);
        assert_eq!(get("leaves").is_some(), plan.reinforcement > 0.0, "update {update}");
        let seen = Seen {
            norm: get("demonstration_norm"),
            norm_after: get("demonstration_norm_after"),
            divergence: get("kl_attempt"),
            attempts: get("leaves").unwrap_or_default() as u64,
            kl: get("kl_coefficient").unwrap_or_default(),
        };
        rl.plan.observe(&at, &plan, &mut state, &seen);
        assert_eq!(get("demonstrated"), Some(state.demonstrated as f64));
    }
}

#[test]
fn p01_under_every_plan_a_stop_changes_nothing_and_the_record_is_the_plan() {
    let mut ends = Vec::new();
    let mut names = BTreeMap::new();
    for plan in PLANS {
        let folder = tempfile::tempdir().unwrap();
        let text = text(plan);
        let (end, steps) = resumes(&text, folder.path(), &[17, 19, 21, 22]);
        let rl = stage(&text);
        replayed(&rl, &steps[16..]);
        *names.entry(rl.plan.name()).or_insert(0) += 1;
        ends.push(end.head);
    }
    assert_eq!(names.len(), stepwell_methods::Schedule::NAMES.len());
    for (k, head) in ends.iter().enumerate() {
        assert!(!ends[..k].contains(head), "{:?} changes nothing", PLANS[k]);
    }
}

#[test]
fn p01_what_a_plan_keeps_is_needed_to_go_on() {
    for (plan, key) in [(PLANS[5], "norm_last"), (PLANS[7], "demonstrated"), (PLANS[8], "kl")] {
        let folder = tempfile::tempdir().unwrap();
        let text = text(plan);
        told(&text, &folder.path().join("whole"));
        let expected = end(&folder.path().join("whole"));
        assert!(!sabotaged(&text, 20, &expected, |_| {}), "the same checkpoint, written again");
        let other = |state: &mut serde_json::Value| {
            let held = &mut state["memory"]["schedule"][key];
            assert!(!held.is_null(), "{plan:?}: {state:#}");
            *held = match key {
                "demonstrated" => 0.into(),
                _ => 1e-3_f64.to_bits().into(),
            };
        };
        assert!(sabotaged(&text, 20, &expected, other), "{plan:?} does without `{key}`");
    }
}

#[test]
fn an_update_without_trees_grows_none_and_one_of_shares_0_and_1_is_the_loss_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = |name: &str, text: &str| {
        let path = folder.path().join(name);
        let steps = told(text, &path);
        let weights = end(&path).files;
        let weights: Vec<_> =
            weights.into_iter().filter(|(name, _)| name.ends_with(".safetensors")).collect();
        (weights, steps)
    };
    let plain = files("a", &with(""));
    // A soft share of 0 is reinforcement alone, bit for bit: nothing is added and nothing scaled.
    let none = files("b", &with("plan = { type = \"fixed\", mix = \"soft\" }"));
    assert_eq!(plain.0, none.0);
    let all = with(&format!("plan = {{ type = \"fixed\", share = 1 }}\n{SCRIPTED}"));
    let (weights, steps) = files("c", &all);
    assert_ne!(weights, plain.0);
    assert!(steps[16..].iter().all(|metrics| !metrics.contains_key("leaves")));
    let reader = RunReader::open(&folder.path().join("c")).unwrap();
    assert!((0..7).all(|update| reader.grown(1, update).unwrap().is_none()));
    // Supervised updates of this stage are those of an `sft` stage on the same demonstrations.
    let losses: Vec<f64> = steps[16..].iter().map(|metrics| metrics["loss"]).collect();
    assert!(losses[6] < losses[0], "{losses:?}");
}

#[test]
fn the_reference_is_frozen_when_the_warm_up_ends() {
    let folder = tempfile::tempdir().unwrap();
    let plan = "plan = { type = \"sasr\", warmup = 3, gamma = 1000.0 }\n";
    let text = with(&format!("{plan}{SCRIPTED}{KL}checkpoint_every = 1\n")).replacen(
        "checkpoint_every = 3\n",
        "",
        1,
    );
    let reference = |k: usize| {
        let path = folder.path().join(k.to_string());
        stopped(&text, 16 + k, &path);
        let run = RunFolder::open_for_writing(&path).unwrap();
        let newest = newest_valid(&run).unwrap().0.unwrap();
        let read = |name: &str| stepwell_store::tensors_from_bytes(&newest.read(name).unwrap());
        (read("reference.safetensors").unwrap(), read("model.safetensors").unwrap())
    };
    let [warm, ended, later, last] = [2, 3, 4, 6].map(reference);
    let stands = |a: &Vec<(String, Vec<usize>, Vec<f32>)>, b: &Vec<_>| a == b;
    // Until the warm-up is over it is the stage's start, then the weights that came out of it.
    assert!(stands(&warm.0, &ended.0) && !stands(&ended.0, &later.0));
    assert!(stands(&later.0, &last.0));
    let sorted = |tensors: &[(String, Vec<usize>, Vec<f32>)]| {
        tensors.iter().map(|(name, _, numbers)| (name.clone(), numbers.clone())).collect()
    };
    let (frozen, weights): (BTreeMap<_, _>, BTreeMap<_, _>) = (sorted(&later.0), sorted(&ended.1));
    assert_eq!(frozen, weights);
}
