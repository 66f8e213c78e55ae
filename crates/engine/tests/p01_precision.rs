//! P1, P2 in bf16: a run that is stopped and resumed, with other threads and layers computed again,
//! is the run that nobody disturbed; what judges a checkpoint later computes as the run did.

mod common;

use common::runs::{TINY, Watch, end, finish, recipe, start};
use stepwell_engine::checkpoint;
use stepwell_engine::run::{self, Outcome};
use stepwell_model::Precision;
use stepwell_store::{RunFolder, newest_valid};

fn paired() -> String {
    let compute = "layers = 3\n[model.compute]\nprecision = \"bf16\"\n";
    let text =
        TINY.replace("layers = 1\nheads = 2\ncontext = 200\n", "heads = 2\ncontext = 200\nLAYERS");
    text.replace("LAYERS", compute)
}

#[test]
fn a_stop_and_other_threads_change_nothing_and_precision_is_no_decoration() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    start(&paired(), &whole, 2).unwrap();
    let expected = end(&whole);
    for k in [4, 17] {
        let path = folder.path().join(k.to_string());
        let mut watch = Watch { stop_after: Some(k), ..Watch::default() };
        let outcome = run::start(&recipe(&paired()), &path, 1, &mut watch).unwrap();
        assert_eq!(outcome, Outcome::Stopped);
        assert_eq!(finish(&path, 7).unwrap(), expected, "stopped at {k}");
    }
    let other = folder.path().join("f32");
    start(&paired().replace("bf16", "f32"), &other, 2).unwrap();
    assert_ne!(end(&other).files, expected.files);
}

#[test]
fn a_budget_changes_no_weight() {
    let folder = tempfile::tempdir().unwrap();
    let ends = ["", "activation_mib = 1\n"].map(|budget| {
        let path = folder.path().join(format!("budget {}", budget.len()));
        let text =
            paired().replace("precision = \"bf16\"\n", &format!("precision = \"bf16\"\n{budget}"));
        start(&text, &path, 2).unwrap();
        end(&path).files
    });
    assert_eq!(ends[0], ends[1]);
}

#[test]
fn a_checkpoint_is_judged_in_the_precision_of_its_run() {
    let folder = tempfile::tempdir().unwrap();
    for (name, precision) in [("bf16", Precision::Bf16), ("f32", Precision::F32)] {
        let path = folder.path().join(name);
        let text = paired().replace("bf16", name);
        start(&text, &path, 2).unwrap();
        let run = RunFolder::open_for_writing(&path).unwrap();
        let newest = newest_valid(&run).unwrap().0.unwrap();
        let base = || panic!("the run trains all weights");
        let learner = checkpoint::policy(&newest, &recipe(&text), base, 1).unwrap();
        assert_eq!(learner.model().precision(), precision);
    }
}
