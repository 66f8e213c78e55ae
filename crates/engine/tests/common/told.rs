//! What a run says of its steps, and whether a stop or an edited checkpoint shows.

use std::path::Path;

use stepwell_engine::observe::{Event, Metrics, Observer};
use stepwell_engine::run::{self, Outcome};

use super::runs::{End, Watch, edit_newest, end, finish, recipe};

/// Keeps the metrics of every step.
#[derive(Default)]
struct Steps(Vec<Metrics>);

impl Observer for Steps {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Step { metrics, .. } = event {
            self.0.push(metrics.clone());
        }
    }

    fn stop_requested(&self) -> bool {
        false
    }
}

/// Runs a recipe to its end; the metrics of every step.
pub(crate) fn told(text: &str, path: &Path) -> Vec<Metrics> {
    let mut steps = Steps::default();
    let outcome = run::start(&recipe(text), path, 2, &mut steps).unwrap();
    assert_eq!(outcome, Outcome::Finished);
    steps.0
}

/// Runs a recipe until it has done so many steps.
pub(crate) fn stopped(text: &str, steps: usize, path: &Path) {
    let mut watch = Watch { stop_after: Some(steps), ..Watch::default() };
    let outcome = run::start(&recipe(text), path, 1, &mut watch).unwrap();
    assert_eq!((outcome, watch.steps), (Outcome::Stopped, steps));
}

/// A run that is stopped after each of these steps and resumed ends as the one that is not, which
/// stands in `folder/whole` afterwards.
pub(crate) fn resumes(text: &str, folder: &Path, stops: &[usize]) -> (End, Vec<Metrics>) {
    let whole = folder.join("whole");
    let metrics = told(text, &whole);
    let expected = end(&whole);
    for k in stops {
        let path = folder.join(k.to_string());
        stopped(text, *k, &path);
        assert_eq!(finish(&path, 2).unwrap(), expected, "stopped at {k}");
    }
    (expected, metrics)
}

/// Stops a run after some steps, edits what its checkpoint says, and goes on: true where that is
/// another end, or none.
pub(crate) fn sabotaged(
    text: &str,
    steps: usize,
    expected: &End,
    edit: impl FnOnce(&mut serde_json::Value),
) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stopped");
    stopped(text, steps, &path);
    edit_newest(&path, |state, _| edit(state));
    match finish(&path, 2) {
        Ok(got) => got != *expected,
        Err(_) => true,
    }
}
