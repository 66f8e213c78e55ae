//! P12: a run folder of an earlier version is listed, drawn, judged and gone on with.

mod support;

use std::path::Path;

use support::run;

#[test]
fn runs_of_earlier_versions_are_drawn_judged_and_gone_on_with() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/golden");
    for version in std::fs::read_dir(golden).unwrap().map(|entry| entry.unwrap().path()) {
        let place = tempfile::tempdir().unwrap();
        let here = place.path();
        support::copy(&version, &here.join("r"));
        let listed = run(here, &["runs", "."]).fine().out;
        assert!(listed.contains("stopped"), "{listed}");
        let drawn = run(here, &["inspect", "r"]).fine().out;
        assert!(drawn.contains("question: ") && drawn.contains("credit="), "{drawn}");
        run(here, &["eval", "r", "--questions", "1"]).fine();
        run(here, &["export", "r", "--format", "huggingface", "model"]).fine();
        let said = run(here, &["resume", "r"]).fine();
        assert!(said.out.contains(", going on at step "), "{}", said.out);
        assert!(run(here, &["runs", "."]).fine().out.contains("finished"));
    }
}
