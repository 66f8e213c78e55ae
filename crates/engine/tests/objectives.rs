//! Every objective drives a whole run: trees that branch, several steps on one forest, a reference,
//! micro-batches that split it. A stop changes nothing, and the columns that are made before an
//! update are made again.

mod common;

use common::runs::{TINY, Watch, end, finish, recipe, start};
use stepwell_engine::run::{self, Outcome};
use stepwell_methods::Objective;

const CLIPPED: &str =
    "objective = { type = \"clipped\", kl = { estimator = \"k3\", coefficient = 0.01 } }";

/// The tiny recipe with another objective, its forests in many micro-batches.
fn with(objective: &str) -> String {
    assert!(TINY.contains(CLIPPED));
    let own = format!("objective = {{ {objective} }}\nmicrobatch_tokens = 150");
    let text = TINY.replace(CLIPPED, &own);
    // It regresses on the score, from which nothing may be taken off.
    let baseline = ", baseline = { constant = 0.5 }";
    assert!(text.contains(baseline));
    if objective.contains("\"una\"") { text.replace(baseline, "") } else { text }
}

const OBJECTIVES: [&str; 10] = [
    "type = \"gspo\", clip_low = 0.02, clip_high = 0.02",
    "type = \"gspo\", sequence = \"step\", level = \"sequence\", entropy_bonus = 0.01",
    "type = \"gmpo\", kl = { estimator = \"k2\", coefficient = 0.01 }",
    "type = \"cispo\", clip_high = 1",
    "type = \"adaptive_clip\", kl = { coefficient = 0.01 }",
    "type = \"adaptive_clip\", inverse = true, scope = \"tree\"",
    "type = \"una\"",
    "type = \"una\", distance = \"bce\", beta = 0.5",
    "type = \"policy_gradient\"",
    "type = \"surrogate\", kl = { estimator = \"k2\", coefficient = 0.01 }",
];

#[test]
fn p01_a_stop_changes_nothing_under_any_objective() {
    let folder = tempfile::tempdir().unwrap();
    let mut ends = Vec::new();
    for (k, objective) in OBJECTIVES.iter().enumerate() {
        let text = with(objective);
        let whole = folder.path().join(format!("{k}"));
        start(&text, &whole, 2).unwrap();
        let path = folder.path().join(format!("{k}-stopped"));
        let mut watch = Watch { stop_after: Some(17), ..Watch::default() };
        let outcome = run::start(&recipe(&text), &path, 1, &mut watch).unwrap();
        assert_eq!(outcome, Outcome::Stopped);
        assert_eq!(finish(&path, 2).unwrap(), end(&whole), "{objective}");
        ends.push(end(&whole).head);
    }
    // Each is another run: the comparison has power.
    for (k, head) in ends.iter().enumerate() {
        assert!(!ends[..k].contains(head), "{} changes nothing", OBJECTIVES[k]);
    }
    let tested = |name: &&&str| OBJECTIVES.iter().any(|o| o.contains(&format!("\"{name}\"")));
    assert_eq!(Objective::NAMES.iter().filter(tested).count(), Objective::NAMES.len() - 2);
}
