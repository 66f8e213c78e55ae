//! Critics of `rl` stages, on the policy's trunk and on one of their own: stopped, killed and
//! resumed it is the same run. That they learn is shown in `train`.

mod common;

use common::runs::{Watch, end, finish, recipe, start, warm_up};
use stepwell_engine::checkpoint;
use stepwell_engine::run::{self, Outcome};

/// Behind the warm-up of 16 steps.
const STAGE: &str = r#"
[[stage]]
[stage.rl]
steps = 4
tasks = 4
epochs = 2
minibatches = 2
max_tokens = 40
learning_rate = 1e-2
checkpoint_every = 1
grow = { type = "branch", attempts = 3, branches = 2, leaves = 6 }
reward = { type = "composite" }
credit = { type = "gae", kl = 0.01 }
critic = { CRITIC }
"#;

const SHARED: &str = "hidden = 8, clip = 0.2";
const OWN: &str = "trunk = \"own\", learning_rate = 5e-3";

fn with(critic: &str) -> String {
    warm_up().to_owned() + &STAGE.replace("CRITIC", critic)
}

#[test]
fn p01_a_stop_or_a_kill_anywhere_changes_nothing() {
    for critic in [SHARED, OWN] {
        let folder = tempfile::tempdir().unwrap();
        let text = with(critic);
        let whole = folder.path().join("whole");
        let copies = folder.path().join("copies");
        let mut watch = Watch { copy: Some((whole.clone(), copies)), ..Watch::default() };
        run::start(&recipe(&text), &whole, 2, &mut watch).unwrap();
        assert_eq!(watch.steps, 20);
        let expected = end(&whole);
        for k in [16, 17, 19] {
            let path = folder.path().join(k.to_string());
            let mut stop = Watch { stop_after: Some(k), ..Watch::default() };
            let outcome = run::start(&recipe(&text), &path, 1, &mut stop).unwrap();
            assert_eq!((outcome, stop.steps), (Outcome::Stopped, k));
            assert_eq!(finish(&path, 2).unwrap(), expected, "{critic}: stopped at {k}");
        }
        let late = watch.copies.len() * 2 / 3;
        for (k, killed) in watch.copies.iter().enumerate().skip(late).step_by(3) {
            assert_eq!(finish(killed, 1 + k % 3).unwrap(), expected, "killed at event {k}");
        }
    }
}

#[test]
fn p01_a_trust_region_beside_a_critic_of_its_own_is_stopped_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let text = with("trunk = \"own\"").replace("epochs = 2\nminibatches = 2\n", "");
    let text = text + "objective = { type = \"surrogate\" }\ntrust_region = { delta = 0.01 }\n";
    let whole = folder.path().join("whole");
    start(&text, &whole, 2).unwrap();
    let path = folder.path().join("stopped");
    let mut stop = Watch { stop_after: Some(18), ..Watch::default() };
    run::start(&recipe(&text), &path, 1, &mut stop).unwrap();
    assert_eq!(finish(&path, 2).unwrap(), end(&whole));
}

#[test]
fn p01_what_a_critic_has_learned_is_needed_to_go_on() {
    let files = |critic: &str, stop: usize| {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch { stop_after: Some(stop), ..Watch::default() };
        run::start(&recipe(&with(critic)), folder.path(), 2, &mut watch).unwrap();
        let names: Vec<String> = end(folder.path()).files.into_iter().map(|(n, _)| n).collect();
        names
    };
    let held = |names: &[String], name: &str| names.iter().any(|own| own == name);
    let shared = files(SHARED, 18);
    assert!(held(&shared, "heads.safetensors") && !held(&shared, "critic.weights.safetensors"));
    let own = files(OWN, 18);
    assert!(!held(&own, "heads.safetensors"), "{own:?}");
    for part in ["weights", "optimizer", "heads"] {
        assert!(held(&own, &format!("critic.{part}.safetensors")), "{own:?}");
    }
    let learners = |critic| checkpoint::learners(&recipe(&with(critic)));
    assert_eq!([SHARED, OWN].map(learners), [1, 2]);
    // A critic goes with its stage.
    let folder = tempfile::tempdir().unwrap();
    start(&with(OWN), folder.path(), 2).unwrap();
    let left: Vec<String> = end(folder.path()).files.into_iter().map(|(n, _)| n).collect();
    assert!(!held(&left, "critic.weights.safetensors"), "{left:?}");
    // Another critic is another run: the comparison above has power.
    let other = tempfile::tempdir().unwrap();
    start(&with("trunk = \"own\", learning_rate = 1e-2"), other.path(), 2).unwrap();
    assert_ne!(end(folder.path()).files, end(other.path()).files);
}
