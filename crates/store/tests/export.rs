//! Exports hold what the record holds.

mod support;

use parquet::file::reader::{FileReader, SerializedFileReader};
use stepwell_store::{
    Lines, MetricCursor, RunReader, Shape, export_csv, export_jsonl, export_parquet,
};
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

#[test]
fn metrics_are_a_table_wide_or_long() {
    let place = tempfile::tempdir().unwrap();
    let (folder, _record) = small_run(&place.path().join("run"), 2);
    let reader = RunReader::open(folder.path()).unwrap();
    let table = |shape, rows| {
        let mut out = Vec::new();
        assert_eq!(export_csv(&reader, shape, &mut out).unwrap(), rows);
        String::from_utf8(out).unwrap()
    };
    let wide = "commit,kind,stage,update,name,step,seconds,accuracy,loss,ratio\n\
                3,updated,0,0,,0,0.0,,1.0,-0.0\n\
                5,updated,0,1,,1,0.0,,0.5,NaN\n\
                6,evaluated,0,2,held_out,2,0.0,0.75,,\n";
    assert_eq!(table(Shape::Wide, 3), wide);
    let long = "commit,kind,stage,update,name,step,seconds,metric,value\n\
                3,updated,0,0,,0,0.0,loss,1.0\n\
                3,updated,0,0,,0,0.0,ratio,-0.0\n\
                5,updated,0,1,,1,0.0,loss,0.5\n\
                5,updated,0,1,,1,0.0,ratio,NaN\n\
                6,evaluated,0,2,held_out,2,0.0,accuracy,0.75\n";
    assert_eq!(table(Shape::Long, 5), long);
}

#[test]
fn a_cursor_reads_what_came_since() {
    let place = tempfile::tempdir().unwrap();
    let (folder, mut record) = small_run(&place.path().join("run"), 2);
    let reader = RunReader::open(folder.path()).unwrap();
    let mut cursor = MetricCursor::default();
    assert_eq!(cursor.read(&reader).unwrap().len(), 3);
    grow(&mut record, 2).unwrap();
    assert_eq!(cursor.read(&reader).unwrap(), []);
    update(&mut record, 2).unwrap();
    let rows = cursor.read(&reader).unwrap();
    assert_eq!(rows.iter().map(|row| row.step).collect::<Vec<_>>(), [2]);
    let mut whole = MetricCursor::default().read(&reader).unwrap();
    assert_eq!(whole.pop(), rows.into_iter().next());
}
