//! Exports hold what the record holds.

mod support;

use parquet::file::reader::{FileReader, SerializedFileReader};
use stepwell_store::{Lines, RunReader, export_jsonl, export_parquet};
use support::*;

#[test]
fn json_lines_hold_trees_or_steps() {
    let place = tempfile::tempdir().unwrap();
    let (folder, _record) = small_run(&place.path().join("run"), 1);
    let reader = RunReader::open(folder.path()).unwrap();
    let lines = |kind, count| {
        let mut out = Vec::new();
        assert_eq!(export_jsonl(&reader, kind, &mut out).unwrap(), count);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len() as u64, count);
        lines
    };
    let trees = lines(Lines::Trees, 3);
    assert_eq!(trees[0]["task_id"], "t1");
    assert_eq!(trees[1]["token_credit"].as_array().unwrap().len(), 10);
    let step = &trees[0]["steps"][3];
    assert_eq!(step["verdict"]["scored"]["reward"], 1.0);
    assert_eq!(step["verdict"]["scored"]["parts"]["format"], 0.1);
    assert_eq!(step["credit"], 0.5);
    assert_eq!(step["tokens"], serde_json::json!([u32::from('c')]));
    assert_eq!(trees[0]["steps"][5]["verdict"]["unscored"]["detail"], "exit 9");
    let steps = lines(Lines::Steps, 18);
    assert_eq!((&steps[3]["step"], &steps[3]["question"]), (&3.into(), &"what is 1 + 1?".into()));
    assert_eq!(steps[3]["columns"]["mc_value"], 1.0);
    assert_eq!(steps[3]["verdict"], step["verdict"]);
}

#[test]
fn parquet_holds_one_row_per_step() {
    let place = tempfile::tempdir().unwrap();
    let (folder, _record) = small_run(&place.path().join("run"), 2);
    let reader = RunReader::open(folder.path()).unwrap();
    let path = folder.export().join("steps.parquet");
    let file = std::fs::File::create(&path).unwrap();
    assert_eq!(export_parquet(&reader, file).unwrap(), 30);
    // The levels in the pages are ours, so a reader must rebuild lists and nulls from them.
    let file = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(file.num_row_groups(), 3);
    let rows: Vec<String> =
        file.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    assert_eq!(rows.len(), 30);
    let hash = stepwell_store::Digest(task(1).hash().0).hex();
    let start = r#"{commit: 2, kind: "grown", stage: 0, update: 0, tree: 0, step: 4, parent: 2, "#;
    let end =
        format!(r#"child_index: 1, task: "{hash}", task_id: "t1", origin: "policy", version: 0, "#);
    let tail = r#"stop: "stop_string", text: "de", tokens: [100, 101], logprobs: "#;
    assert!(rows[4].starts_with(&format!("{start}{end}{tail}[-1.4333")), "{}", rows[4]);
    assert!(rows[4].ends_with("reward: 0E0, unscored: null, credit: NaN}"), "{}", rows[4]);
    assert!(rows[5].contains(r#"reward: null, unscored: "environment_failed""#), "{}", rows[5]);
    assert!(rows[2].contains("text: null, tokens: [111], logprobs: [0E0]"), "{}", rows[2]);
}
