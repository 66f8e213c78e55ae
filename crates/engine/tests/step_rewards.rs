//! A reward that pays steps and not ends drives a whole run; a stop changes nothing.

mod common;

use common::runs::{TINY, Watch, end, finish, recipe, start};
use stepwell_engine::run::{self, Outcome};

#[test]
fn p01_a_stop_changes_nothing_where_steps_are_paid() {
    let grow = "grow = { type = \"branch\", attempts = 2, branches = 2, leaves = 6 }";
    assert!(TINY.contains(grow));
    // A reward that is never 0, so that it matters to which step it goes.
    let of = "{ type = \"expert_mix\" }";
    let paid = format!("{{ type = \"attribution\", contributions = \"uniform\", of = {of} }}");
    let with = |reward: &str| TINY.replace(grow, &format!("{grow}\nreward = {reward}"));
    let text = with(&paid);
    let folder = tempfile::tempdir().unwrap();
    let [whole, stopped, other] = ["whole", "stopped", "other"].map(|n| folder.path().join(n));
    start(&text, &whole, 2).unwrap();
    let mut watch = Watch { stop_after: Some(17), ..Watch::default() };
    assert_eq!(run::start(&recipe(&text), &stopped, 1, &mut watch).unwrap(), Outcome::Stopped);
    assert_eq!(finish(&stopped, 2).unwrap(), end(&whole));
    // The outcome at the end trains otherwise: the comparison has power.
    start(&with(of), &other, 2).unwrap();
    assert!(end(&other).files != end(&whole).files, "steps are paid and nothing changes");
}
