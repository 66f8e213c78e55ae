//! What is committed comes back, bit for bit, and only once.

mod support;

use std::collections::BTreeMap;

use stepwell_store::{
    CommitKey, Grown, Kind, Lineage, Novelty, RunFolder, RunReader, StoreError, Updated,
};
use stepwell_tree::{Credit, PolicyVersion, StepTree, TaskHash};
use support::*;

fn bits(credit: &Credit) -> Vec<Option<u64>> {
    credit.step.iter().map(|value| value.map(f64::to_bits)).collect()
}

fn column_bits(tree: &StepTree) -> Vec<u32> {
    let columns = tree.step_column.values().chain(tree.token_column.values());
    columns.chain([&tree.logprob]).flatten().map(|x| x.to_bits()).collect()
}

#[test]
fn trees_credits_and_texts_return_bit_for_bit() {
    let place = tempfile::tempdir().unwrap();
    let (folder, record) = small_run(&place.path().join("run"), 2);
    // Beside the live writer.
    let reader = RunReader::open(folder.path()).unwrap();
    let stored = reader.grown(0, 1).unwrap().unwrap();
    for (n, stored) in (1..).zip(&stored) {
        let mut expected = tree(n, 1);
        assert_eq!(column_bits(&stored.tree), column_bits(&expected)); // INV-16
        // NaN differs from itself, so the columns were compared as bits.
        expected.step_column.clear();
        let mut got = stored.tree.clone();
        got.step_column.clear();
        assert_eq!(got, expected);
        assert_eq!(stored.text, texts(&expected));
        assert_eq!(bits(stored.credit.as_ref().unwrap()), bits(&credit(&expected)));
    }
    assert_eq!(stored[0].credit.as_ref().unwrap().token, None);
    assert_eq!(stored[1].credit.as_ref().unwrap().token, Some(vec![0.25; 10]));
    assert_eq!(reader.grown(0, 2).unwrap(), None);
    let verified = reader.verify().unwrap();
    assert_eq!((verified.commits, verified.trees, verified.steps), (7, 5, 30));
    assert_eq!(record.read().verify().unwrap(), verified);
}

#[test]
fn metrics_tasks_samples_lineage_and_timing_are_read_back() {
    let place = tempfile::tempdir().unwrap();
    let (_folder, mut record) = small_run(&place.path().join("run"), 2);
    let weights = stepwell_store::Digest::of(b"weights");
    let lineage =
        Lineage { stage: 0, update: 2, version: PolicyVersion(2), checkpoint: 40, weights };
    record.commit_lineage(&lineage).unwrap();
    let read = record.read();
    let ratio: Vec<u64> =
        read.metric_series("ratio").unwrap().iter().map(|point| point.value.to_bits()).collect();
    assert_eq!(ratio, [(-0.0f64).to_bits(), f64::NAN.to_bits()]);
    assert_eq!(read.metric_names().unwrap(), ["accuracy", "loss", "ratio", "reward"]);
    assert_eq!(read.tasks().unwrap(), [task(1), task(2)]);
    assert_eq!(read.task(&task(2).hash()).unwrap(), Some(task(2)));
    let evaluated = read.newest(Kind::Evaluated).unwrap().unwrap();
    let samples = read.samples(evaluated.head.number).unwrap();
    assert_eq!((samples[0].answer.as_str(), samples[1].verdict.reward()), ("2", Some(0.0)));
    let saved: Vec<_> =
        read.lineage().unwrap().iter().map(|row| (row.version.0, row.checkpoint)).collect();
    assert_eq!(saved, [(1, None), (2, None), (2, Some(40))]);
    let key = CommitKey { kind: Kind::Grown, stage: 0, update: 1, name: String::new() };
    let grown = read.find(&key).unwrap().unwrap();
    assert_eq!(read.timing(grown.head.number).unwrap(), BTreeMap::from([("grow_s".into(), 1.25)]));
    assert_eq!(read.recipe().unwrap(), RECIPE);
}

#[test]
fn the_same_run_has_the_same_chain_and_a_repeated_commit_is_accepted() {
    let place = tempfile::tempdir().unwrap();
    let (_a, mut first) = small_run(&place.path().join("a"), 2);
    let (_b, second) = small_run(&place.path().join("b"), 2);
    assert_eq!(first.read().commits().unwrap(), second.read().commits().unwrap());
    let head = first.head();
    assert_eq!(commit_tasks(&mut first).unwrap().novelty, Novelty::Repeated);
    assert_eq!(grow(&mut first, 1).unwrap().novelty, Novelty::Repeated);
    assert_eq!(update(&mut first, 1).unwrap().novelty, Novelty::Repeated);
    assert_eq!(evaluate(&mut first, 2).unwrap().novelty, Novelty::Repeated);
    assert_eq!(first.head(), head);
    let next = grow(&mut first, 2).unwrap();
    assert_eq!((next.novelty, next.head.number), (Novelty::New, head.number + 1));
}

#[test]
fn a_run_that_diverges_from_its_record_is_told_where() {
    let place = tempfile::tempdir().unwrap();
    let (_folder, mut record) = small_run(&place.path().join("run"), 2);
    let mut trees = [tree(1, 1), tree(2, 1)];
    trees[1].logprob[3] = -0.125;
    let texts: Vec<_> = trees.iter().map(texts).collect();
    let mut credits: Vec<Credit> = trees.iter().map(credit).collect();
    credits[1].token = Some(vec![0.25; 10]);
    let reward = BTreeMap::from([("reward".to_owned(), 0.5)]);
    let mut grown = Grown { update: 1, trees: &trees, texts: &texts, ..Grown::default() };
    grown.credits = &credits;
    grown.metrics = Some(&reward);
    assert_eq!(
        record.commit_grown(&grown).unwrap_err().to_string(),
        "the run diverges from its record at commit 4 (`grown` of stage 0, update 1): commit 4, \
         table `step`, tree 1, step 1: `logprobs` differ; resume with the build and recipe that \
         wrote it, or start a new run"
    );
    let updated = Updated {
        stage: 0,
        update: 1,
        version: PolicyVersion(2),
        weights: None,
        metrics: &BTreeMap::new(),
        timing: None,
    };
    let error = record.commit_updated(&updated).unwrap_err().to_string();
    assert!(error.contains("table `metric`: got 0 rows, expected 2"), "{error}");
    // The record is as it was, and goes on.
    record.read().verify().unwrap();
    grow(&mut record, 2).unwrap();
}

#[test]
fn what_could_not_be_read_back_is_refused_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let (_folder, mut record) = small_run(&place.path().join("run"), 1);
    let good = tree(1, 5);
    let mut nan = good.clone();
    nan.logprob[3] = f32::NAN;
    let mut unknown = good.clone();
    unknown.task = TaskHash([9; 32]);
    let mut arrival = good.clone();
    arrival.child_index[1] = 1;
    arrival.child_index[5] = 0;
    let short = Credit::none(2);
    let cases: [(&StepTree, &[Credit], &str); 5] = [
        (&nan, &[], "tree 0: step 1: log-prob of token 3 of a Policy(PolicyVersion(5)) step: NaN"),
        (&unknown, &[], "entry 0 names task 0909090909090909, which no commit holds"),
        (&arrival, &[], "tree 0: steps are not in canonical order; commit `tree.canonical()`"),
        (
            &good,
            std::slice::from_ref(&short),
            "tree 0: got 2 step credits, expected one per step: 6",
        ),
        (&good, &[short.clone(), short.clone()], "got 2 credits, expected none or one per tree: 1"),
    ];
    for (tree, credits, expected) in cases {
        let trees = std::slice::from_ref(tree);
        let grown = Grown { update: 9, trees, credits, ..Grown::default() };
        let error = record.commit_grown(&grown).unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(expected), "got: {error}\nexpected: {expected}");
    }
    let trees = std::slice::from_ref(&good);
    record.commit_grown(&Grown { update: 9, trees, ..Grown::default() }).unwrap();
    record.read().verify().unwrap();
}

#[test]
fn metrics_are_json_lines_too_and_are_rebuilt_from_the_record() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run");
    let (folder, record) = small_run(&path, 2);
    let file = path.join("metrics.jsonl");
    let written = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = written.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[3],
        r#"{"commit":5,"kind":"updated","stage":0,"update":1,"metrics":{"loss":0.5,"ratio":null}}"#
    );
    drop((folder, record));
    std::fs::write(&file, "{\"half").unwrap();
    RunFolder::open_for_writing(&path).unwrap().record().unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}
