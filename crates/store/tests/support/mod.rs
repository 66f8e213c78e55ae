//! A small run: two tasks, branched trees, odd numbers.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "these functions are called by tests only")]
#![allow(clippy::allow_attributes, reason = "`expect` would fail where all of it is used")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use stepwell_store::{
    Evaluation, Grown, Metrics, Receipt, Record, Result, RunFolder, Sample, Updated,
};
use stepwell_tree::{Credit, Origin, PolicyVersion, StepId, StepTree, Task, Verdict};

pub(crate) const RECIPE: &str = "seed = 7\n\n[[stage]]\nkind = \"rl\"\n";

pub(crate) fn task(n: u32) -> Task {
    let fields = BTreeMap::from([("answer".to_owned(), (2 * n).to_string())]);
    Task { id: format!("t{n}"), question: format!("what is {n} + {n}?"), fields }
}

/// A tree that uses every column: a fork, an observation, all kinds of verdict, NaN and -0.0.
pub(crate) fn tree(n: u32, version: u64) -> StepTree {
    let mut tree = stepwell_tree::parse(
        "0 -  prompt q w e
         1 0  policy a b
         2 1  environment o
         3 2  policy c      r=1 part:format=0.1
         4 2  policy d e    r=0
         5 0  policy f      unscored=interrupted",
    );
    tree.task = task(n).hash();
    for (i, origin) in tree.origin.iter_mut().enumerate() {
        if origin.is_policy() {
            *origin = Origin::Policy(PolicyVersion(version));
            let range = tree.span[i].range();
            tree.logprob[range].iter_mut().for_each(|l| *l = -0.1 - i as f32 / 3.0);
        }
    }
    let reason = stepwell_tree::UnscoredReason::EnvironmentFailed("exit 9".to_owned());
    tree.verdict[5] = Verdict::Unscored(reason);
    let odd = f32::from_bits(0x7fc0_beef);
    tree.step_column.insert("mc_value".to_owned(), vec![odd, -0.0, 0.5, 1.0, 0.0, f32::INFINITY]);
    tree.token_column.insert("value".to_owned(), vec![-0.0; tree.token.len()]);
    tree
}

pub(crate) fn credit(tree: &StepTree) -> Credit {
    let mut credit = Credit::none(tree.len());
    credit.step[1] = Some(-0.0);
    credit.step[3] = Some(0.5);
    credit.step[4] = Some(f64::from_bits(0x7ff8_0000_0000_0bad));
    credit
}

pub(crate) fn texts(tree: &StepTree) -> Vec<Option<String>> {
    let word = |step: StepId| tree.tokens(step).iter().filter_map(|t| char::from_u32(*t)).collect();
    (0..tree.len()).map(|i| (i != 2).then(|| word(StepId(i as u32)))).collect()
}

pub(crate) fn metrics(update: u64) -> Metrics {
    BTreeMap::from([
        ("loss".to_owned(), 1.0 / (update + 1) as f64),
        ("ratio".to_owned(), if update == 1 { f64::NAN } else { -0.0 }),
    ])
}

pub(crate) fn commit_tasks(record: &mut Record) -> Result<Receipt> {
    record.commit_tasks(0, "train", &[task(1), task(2)])
}

pub(crate) fn grow(record: &mut Record, update: u64) -> Result<Receipt> {
    let trees = [tree(1, update), tree(2, update)];
    let mut credits: Vec<Credit> = trees.iter().map(credit).collect();
    credits[1].token = Some(vec![0.25; trees[1].token.len()]);
    let texts: Vec<_> = trees.iter().map(texts).collect();
    let reward = BTreeMap::from([("reward".to_owned(), 0.5)]);
    record.commit_grown(&Grown {
        stage: 0,
        update,
        trees: &trees,
        texts: &texts,
        credits: &credits,
        metrics: Some(&reward),
        timing: Some(&BTreeMap::from([("grow_s".to_owned(), 0.25 + update as f64)])),
    })
}

pub(crate) fn update(record: &mut Record, update: u64) -> Result<Receipt> {
    let metrics = metrics(update);
    let version = PolicyVersion(update + 1);
    record.commit_updated(&Updated {
        stage: 0,
        update,
        version,
        weights: None,
        metrics: &metrics,
        timing: None,
    })
}

pub(crate) fn evaluate(record: &mut Record, update: u64) -> Result<Receipt> {
    let metrics = BTreeMap::from([("accuracy".to_owned(), 0.75)]);
    let samples = [
        Sample { task: task(1).hash(), answer: "2".to_owned(), verdict: Verdict::scored(1.0) },
        Sample { task: task(2).hash(), answer: "5".to_owned(), verdict: Verdict::scored(-0.0) },
    ];
    record.commit_evaluation(&Evaluation {
        stage: 0,
        update,
        name: "held_out",
        metrics: &metrics,
        samples: &samples,
        trees: &[tree(1, update)],
        texts: &[],
        timing: None,
    })
}

/// Tasks, `updates` updates of two commits each, an evaluation.
pub(crate) fn small_run(path: &Path, updates: u64) -> (RunFolder, Record) {
    let folder = RunFolder::create(path, RECIPE).unwrap();
    let mut record = folder.record().unwrap();
    commit_tasks(&mut record).unwrap();
    for k in 0..updates {
        grow(&mut record, k).unwrap();
        update(&mut record, k).unwrap();
    }
    evaluate(&mut record, updates).unwrap();
    (folder, record)
}

/// What a kill leaves: the files as they are at this moment, with no lock on them.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            // Shared memory does not outlive a power cut; SQLite builds it again.
            false if entry.file_name() == "run.sqlite-shm" => {}
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
