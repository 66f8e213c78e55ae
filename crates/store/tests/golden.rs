//! P12: a run that an earlier version wrote opens, verifies and is read as it was; what a newer one
//! wrote is refused by its name (row 86). `tests/golden` holds one folder for every version that
//! wrote another format: runs that were stopped at a checkpoint.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use stepwell_store::{Digest, RunFolder, RunReader, RunState, list_runs, newest_valid};
use support::copy_folder;

/// The end of the chain of the run of version 0.1.0.
const HEAD: &str = "34119a8f420e2040cc3c8ab071a86cab2afdee9a4eed4ea5d8f640c1918e458c";

/// The version, the chain's last digest, commits, trees and steps.
const WRITTEN: [(&str, &str, u64, u64, u64); 1] = [("0.1.0", HEAD, 15, 6, 18)];

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

#[test]
fn p12_runs_of_earlier_versions_open_and_are_what_they_were() {
    for (version, head, commits, trees, steps) in WRITTEN {
        let place = tempfile::tempdir().unwrap();
        let run = place.path().join("run");
        copy_folder(&golden(version), &run);
        let reader = RunReader::open(&run).unwrap();
        let verified = reader.verify().unwrap();
        assert_eq!((verified.commits, verified.trees, verified.steps), (commits, trees, steps));
        assert_eq!(reader.head().unwrap().digest.hex(), head);
        assert_eq!(reader.written_by().unwrap(), format!("stepwell {version}"));
        assert_eq!(reader.recipe().unwrap(), fs::read_to_string(run.join("recipe.toml")).unwrap());
        for stored in reader.grown(1, 0).unwrap().unwrap() {
            assert!(stored.credit.is_some() && reader.task(&stored.tree.task).unwrap().is_some());
        }
        assert_eq!(list_runs(place.path()).unwrap()[0].state, RunState::Stopped);
        drop(reader);
        let folder = RunFolder::open_for_writing(&run).unwrap();
        let (newest, skipped) = newest_valid(&folder).unwrap();
        assert_eq!(skipped, []);
        let newest = newest.unwrap();
        for name in newest.file_names() {
            newest.read(name).unwrap();
        }
        let record = folder.record().unwrap();
        record.read().require(&newest.name(), newest.last_commit()).unwrap();
        // The copy of the metrics is made again, as it was.
        let metrics = |run: &Path| fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        assert_eq!(metrics(&run), metrics(&golden(version)));
    }
}

#[test]
fn row_86_a_checkpoint_of_a_newer_format_is_skipped_by_its_name() {
    let place = tempfile::tempdir().unwrap();
    let run = place.path().join("run");
    copy_folder(&golden("0.1.0"), &run);
    let name = fs::read_dir(run.join("checkpoints")).unwrap().next().unwrap().unwrap().file_name();
    let path = run.join("checkpoints").join(name).join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let own = serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let own = own["manifest"].as_str().unwrap().to_owned();
    let newer = text.replace("\"format\": 1", "\"format\": 7").replace("well 0.1.0", "well 0.9.0");
    assert_ne!(newer, text);
    // A manifest is digested with nothing in the place of its digest.
    let digest = Digest::of(newer.replace(&own, &"0".repeat(64)).as_bytes()).hex();
    fs::write(&path, newer.replace(&own, &digest)).unwrap();
    let (newest, skipped) = newest_valid(&RunFolder::open_for_writing(&run).unwrap()).unwrap();
    assert_eq!(newest, None);
    let expected = "written by stepwell 0.9.0 (format 7); this is stepwell 0.1.0 (format 1)";
    assert_eq!(skipped[0].reason, expected);
}
