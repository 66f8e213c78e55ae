//! A run on the GPU: it learns, checkpoints, resumes to the same bytes, and its checkpoints open on
//! the processor. Where this machine has no GPU these are counted as skipped, with the reason, and
//! the refusal is what is tested.

mod common;

use std::io::Write as _;
use std::path::Path;

use common::runs::{TINY, Watch, end, finish, recipe, start};
use stepwell_engine::checkpoint;
use stepwell_engine::judge::newest_policy;
use stepwell_engine::observe::{Event, Observer};
use stepwell_engine::run::{self, Outcome};
use stepwell_store::{RunFolder, newest_valid};
use stepwell_train::Device;

/// Whether the test cannot run here; whoever counts the tests counts this too.
fn skipped(name: &str) -> bool {
    let Err(reason) = Device::Cuda.probe() else { return false };
    if let Some(list) = std::env::var_os("STEPWELL_SKIPPED") {
        let list = std::fs::File::options().create(true).append(true).open(list);
        list.unwrap().write_all(format!("{name}: {reason}\n").as_bytes()).unwrap();
    }
    true
}

fn on_gpu(precision: &str) -> String {
    let compute =
        format!("[model.compute]\ndevice = \"cuda\"\nprecision = \"{precision}\"\n[environment]\n");
    TINY.replacen("[environment]\n", &compute, 1)
}

/// The losses of the supervised stage, and what people are told.
#[derive(Default)]
struct Losses {
    losses: Vec<f64>,
    notes: Vec<String>,
}

impl Observer for Losses {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Step { metrics, .. } if !metrics.contains_key("leaves") => {
                self.losses.extend(metrics.get("loss"));
            }
            Event::Note(text) => self.notes.push(text),
            _ => {}
        }
    }

    fn stop_requested(&self) -> bool {
        false
    }
}

fn losses(text: &str, path: &Path) -> Losses {
    let mut seen = Losses::default();
    assert_eq!(run::start(&recipe(text), path, 2, &mut seen).unwrap(), Outcome::Finished);
    seen
}

/// The CPU's losses are the judge: rounding moves them by little in sixteen steps.
#[test]
fn a_run_on_the_gpu_learns_as_on_the_processor() {
    if skipped("a_run_on_the_gpu_learns_as_on_the_processor") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (precision, most) in [("f32", 1e-3), ("bf16", 2e-2)] {
        let text = on_gpu(precision);
        let got = losses(&text, &folder.path().join(format!("{precision} gpu")));
        let text = text.replace("\"cuda\"", "\"cpu\"");
        let expected = losses(&text, &folder.path().join(format!("{precision} cpu")));
        assert_eq!(got.losses.len(), 16);
        assert!(got.losses[15] < 0.7 * got.losses[0], "{:?}", got.losses);
        for (got, expected) in got.losses.iter().zip(&expected.losses) {
            assert!((got / expected - 1.0).abs() < most, "{precision}: {got} and {expected}");
        }
        assert!(got.notes.iter().any(|note| note.starts_with("device: ")), "{:?}", got.notes);
    }
}

#[test]
fn a_stop_changes_nothing_on_the_gpu() {
    if skipped("a_stop_changes_nothing_on_the_gpu") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = on_gpu("bf16");
    let whole = folder.path().join("whole");
    start(&text, &whole, 2).unwrap();
    let expected = end(&whole);
    for k in [4, 17] {
        let path = folder.path().join(k.to_string());
        let mut watch = Watch { stop_after: Some(k), ..Watch::default() };
        assert_eq!(run::start(&recipe(&text), &path, 1, &mut watch).unwrap(), Outcome::Stopped);
        assert_eq!(finish(&path, 2).unwrap(), expected, "stopped at {k}");
    }
    // The record knows the device, and an evaluation later uses it; an export needs none.
    let run = RunFolder::open_for_writing(&whole).unwrap();
    assert!(run.recipe().contains("device = \"cuda\""), "{}", run.recipe());
    let newest = newest_valid(&run).unwrap().0.unwrap();
    let base = || panic!("the run trains all weights");
    let learner = checkpoint::policy(&newest, &recipe(&text), base, 1).unwrap();
    assert_eq!(learner.device(), Device::Cuda);
    drop(run);
    assert!(newest_policy(&whole).is_ok());
}

/// Without a GPU the recipe is refused before a folder is made, and the sentence says why.
#[test]
fn a_device_that_cannot_be_had_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let Err(reason) = Device::Cuda.probe() else { return };
    let refused = run::start(&recipe(&on_gpu("f32")), &path, 1, &mut Watch::default());
    let error = refused.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(error.to_string(), format!("`model.compute.device`: {reason}"));
    assert!(!path.exists(), "nothing was made");
}
