//! P3, P4, P7, P8 in the run itself: a fault that is planted in the engine ends a real run with an
//! error of its own name, before anything has moved, and the run goes on to the same end once the
//! fault is gone.

mod common;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::runs::{End, Watch, end, finish, recipe, start};
use stepwell_engine::alarm::ALARM;
use stepwell_engine::observe::{Event, Observer};
use stepwell_engine::{EngineError, run};
use stepwell_mutant::plant;
use stepwell_store::{Kind, RunReader};
use stepwell_train::TrainError;
use stepwell_tree::StepTree;

/// A planted bug is one for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Switches all bugs off again, whatever happens.
struct Planted;

impl Planted {
    fn bug(number: u32) -> Planted {
        plant(number);
        Planted
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        plant(0);
    }
}

const STALE_CACHE: u32 = 8;
const PREDECESSOR_FROM_LAYOUT: u32 = 9;
const TEMPERATURE_IGNORED: u32 = 10;
const WEIGHT_FLIPS: u32 = 33;
const CREDIT_SHIFTED: u32 = 35;
const LOGPROBS_SHIFTED: u32 = 37;
const MASK_SHIFTED: u32 = 2;

/// Three updates on branched trees at a temperature of their own, a checkpoint after each; the same
/// task in every update, so that a prompt comes again under other weights.
const TEXT: &str = r#"
seed = 3
[model.scratch]
hidden = 24
layers = 1
heads = 2
context = 200
[environment]
type = "sql"
max_interactions = 2
[environment.world]
train_databases = 1
development_databases = 1
held_out_databases = 1
questions = 2
[[stage]]
[stage.sft]
demonstrations = "scripted"
steps = 8
batch = 8
learning_rate = 2e-2
[[stage]]
[stage.rl]
steps = 3
tasks = 2
temperature = 0.8
max_tokens = 40
learning_rate = 1e-2
checkpoint_every = 1
grow = { type = "branch", attempts = 3, branches = 2, leaves = 6 }
credit = { type = "reinforce", baseline = { constant = 0.5 } }
"#;

/// What the newest commit of trees and of training are, and the newest checkpoint.
fn left(path: &Path) -> (Option<u64>, Option<u64>, usize) {
    let reader = RunReader::open(path).unwrap();
    let newest = |kind| reader.newest(kind).unwrap().map(|info| info.key.update);
    let checkpoints = std::fs::read_dir(path.join("checkpoints")).unwrap().count();
    (newest(Kind::Grown), newest(Kind::Updated), checkpoints)
}

/// Runs with a bug planted after the supervised stage, which must end it; then without, to the end.
fn caught(folder: &Path, bug: u32, whole: &End) -> EngineError {
    let path = folder.join(format!("bug-{bug}"));
    let mut watch = Watch { stop_after: Some(8), ..Watch::default() };
    run::start(&recipe(TEXT), &path, 2, &mut watch).unwrap();
    let error = {
        let _planted = Planted::bug(bug);
        run::resume(&path, 2, &mut Watch::default()).unwrap_err()
    };
    RunReader::open(&path).unwrap().verify().unwrap();
    // What the bug had touched in the record stands there for good: only a bug that was caught
    // before its trees were committed leaves a run that can go on.
    let sampled_wrong = [STALE_CACHE, LOGPROBS_SHIFTED].contains(&bug);
    if !sampled_wrong {
        assert_eq!(finish(&path, 1).unwrap(), *whole, "bug {bug}");
    }
    error
}

#[test]
fn p03_p04_the_run_names_each_fault_and_trains_on_none() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole");
    start(TEXT, &path, 2).unwrap();
    let whole = end(&path);
    let gap = |error: &EngineError| {
        let EngineError::Train { source: TrainError::Gap { mean, .. }, .. } = error else {
            return false;
        };
        *mean > 1e-6
    };
    let mask = |error: &EngineError| {
        matches!(error, EngineError::Train { source: TrainError::Mask { .. }, .. })
    };
    type Named<'n> = (u32, &'n dyn Fn(&EngineError) -> bool, u8);
    let weights = |error: &EngineError| {
        matches!(error, EngineError::Train { source: TrainError::Weights { .. }, .. })
    };
    let credit = |error: &EngineError| matches!(error, EngineError::Credit { .. });
    let faults: [Named<'_>; 7] = [
        (STALE_CACHE, &gap, 101),
        (LOGPROBS_SHIFTED, &gap, 101),
        (TEMPERATURE_IGNORED, &gap, 101),
        (PREDECESSOR_FROM_LAYOUT, &mask, 101),
        (MASK_SHIFTED, &mask, 101),
        (CREDIT_SHIFTED, &credit, 101),
        (WEIGHT_FLIPS, &weights, 3),
    ];
    for (bug, named, code) in faults {
        let error = caught(folder.path(), bug, &whole);
        assert!(named(&error), "bug {bug}: {error}");
        assert_eq!(error.exit_code(), code, "bug {bug}: {error}");
        let text = error.to_string();
        assert!(text.starts_with("stage 1, update "), "{text}");
    }
}

#[test]
fn inv_15_trees_are_committed_before_anything_trains_on_them() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    // A credit that no gradient survives.
    let text = TEXT.replace("constant = 0.5", "constant = 1e30");
    let error = run::start(&recipe(&text), &path, 2, &mut Watch::default()).unwrap_err();
    assert!(error.to_string().contains("gradient is not finite"), "{error}");
    // The update that was refused had its trees in the record, and nothing of its training.
    let (grown, updated, checkpoints) = left(&path);
    assert_eq!((grown, updated, checkpoints), (Some(0), Some(7), 1));
}

#[test]
fn the_record_tells_every_version_by_its_weights_and_a_resume_is_held_to_it() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    start(TEXT, &path, 2).unwrap();
    let lineage = RunReader::open(&path).unwrap().lineage().unwrap();
    let updates: Vec<_> = lineage.iter().filter(|row| row.checkpoint.is_none()).collect();
    assert_eq!(updates.len(), 11);
    let mut sums: Vec<String> = updates.iter().map(|r| r.weights.unwrap().to_string()).collect();
    sums.sort();
    sums.dedup();
    assert_eq!(sums.len(), 11, "every update has moved the weights");
    // INV-10: attempts at one task are drawn apart.
    let reader = RunReader::open(&path).unwrap();
    let trees = (0..3).flat_map(|update| reader.grown(1, update).unwrap().unwrap());
    let first = |tree: &StepTree| -> Vec<Vec<u32>> {
        let below = &stepwell_tree::children(tree)[0];
        below.iter().map(|step| tree.tokens(*step).to_vec()).collect()
    };
    let alike = |own: &Vec<Vec<u32>>| own.iter().all(|tokens| *tokens == own[0]);
    let alike: Vec<bool> = trees.map(|stored| alike(&first(&stored.tree))).collect();
    assert!(alike.len() == 6 && alike.contains(&false), "all attempts at a task are the same");
    // A step of the optimizer that a resume takes otherwise is told at once, by the weights. The
    // run stops before its last checkpoint has been written, so that the step is in the record.
    let path = folder.path().join("stopped");
    let text = TEXT.replace("checkpoint_every = 1", "checkpoint_every = 2");
    let mut copies =
        Watch { copy: Some((path.clone(), folder.path().join("copies"))), ..Watch::default() };
    run::start(&recipe(&text), &path, 2, &mut copies).unwrap();
    let killed = &copies.copies[copies.copies.len() - 2];
    let _planted = Planted::bug(11);
    let error = run::resume(killed, 2, &mut Watch::default()).unwrap_err().to_string();
    assert!(error.contains("`weights` differ"), "{error}");
}

/// Hears alarms.
#[derive(Default)]
struct Alarms(Vec<String>);

impl Observer for Alarms {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Alarm(text) = event {
            self.0.push(text);
        }
    }

    fn stop_requested(&self) -> bool {
        false
    }
}

/// A program that is pleased by words that begin with `a`, and says of others that they shine.
const PROGRAM: &str = r#"
IFS=
while read -r line; do
  id=${line#*'"id":'}; id=${id%%[!0-9]*}
  reply() { printf '{"id":%s,%s}\n' "$id" "$1"; }
  case $line in
  *'"method":"hello"'*) reply '"protocol":1,"name":"t","offers":["episodes"],"stop":["."],"parts":["shine"]' ;;
  *'"method":"start"'*|*'"method":"end"'*) reply '"ok":1' ;;
  *'"text":"a'*) reply '"verdict":{"reward":1,"parts":{"shine":0}}' ;;
  *'"text":"b'*) reply '"verdict":{"reward":0,"parts":{"shine":1}}' ;;
  *'"method":"step"'*) reply '"verdict":{"reward":0,"parts":{"shine":0}}' ;;
  *'"method":"close"'*) exit 0 ;;
  *) reply '"error":"unknown"' ;;
  esac
done
"#;

fn shining(folder: &Path, reward: &str) -> String {
    std::fs::write(folder.join("program.sh"), PROGRAM).unwrap();
    let tasks = "{\"id\":\"q\",\"question\":\"q\"}\n{\"id\":\"r\",\"question\":\"r\"}\n";
    std::fs::write(folder.join("tasks.jsonl"), tasks).unwrap();
    let talk = |asked: &str, said: &str| {
        format!("{{\"prompt\":\"{asked}\\n\",\"completion\":\"{said}.\"}}\n")
    };
    let talks = [("q", "a"), ("r", "a"), ("q", "b"), ("r", "b"), ("q", "a"), ("r", "a")]
        .map(|(a, b)| talk(a, b))
        .concat();
    std::fs::write(folder.join("talks.jsonl"), talks).unwrap();
    format!(
        r#"
seed = 5
[model.scratch]
hidden = 16
layers = 1
heads = 2
context = 40
tokenizer = "bytes"
[guards]
window = 4
[environment]
type = "external"
command = ["sh", "{0}/program.sh"]
parts = ["shine"]
max_steps = 1
timeout_seconds = 20
[environment.files]
train = "{0}/tasks.jsonl"
[[stage]]
[stage.sft]
data = "{0}/talks.jsonl"
steps = 60
batch = 6
learning_rate = 2e-2
[[stage]]
[stage.rl]
steps = 14
tasks = 2
max_tokens = 3
learning_rate = 3e-3
checkpoint_every = 5
reward = {reward}
grow = {{ type = "independent", attempts = 16 }}
credit = {{ type = "group_mean", std = "none" }}
"#,
        folder.display()
    )
}

/// A reward that pays for what shines and not for what is right: it rises, the outcome falls, and
/// the run says so; one that pays for both does not ring, and the outcome alone is not watched.
#[test]
fn a_shaped_reward_that_pays_for_the_wrong_thing_rings() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let heard = |name: &str, reward: &str| {
        let mut alarms = Alarms::default();
        let path = here.join(name);
        run::start(&recipe(&shining(here, reward)), &path, 2, &mut alarms).unwrap();
        let reader = RunReader::open(&path).unwrap();
        let series = |name: &str| -> Vec<f64> {
            reader.metric_series(name).unwrap().iter().map(|point| point.value).collect()
        };
        let rung: Vec<f64> = series(ALARM);
        // Trees and update both tell the outcome.
        (alarms.0, rung, series("reward").into_iter().step_by(2).collect::<Vec<_>>(), path)
    };
    let wrong = r#"{ type = "composite", outcome = 0.0, weights = { shine = 1.0 } }"#;
    let (alarms, rung, outcome, path) = heard("wrong", wrong);
    assert!(outcome[0] > 0.3 && outcome[13] < 0.2, "the hack was not learned: {outcome:?}");
    assert_eq!((alarms.len(), rung.len()), (1, 7), "{alarms:?} {rung:?} {outcome:?}");
    assert!(alarms[0].contains("the training reward has risen"), "{alarms:?}");
    assert!(rung.contains(&1.0));
    // Stopped in the middle and resumed, the same alarms at the same updates.
    let stopped = here.join("stopped");
    let mut watch = Watch { stop_after: Some(68), ..Watch::default() };
    run::start(&recipe(&shining(here, wrong)), &stopped, 2, &mut watch).unwrap();
    assert_eq!(finish(&stopped, 1).unwrap(), end(&path));

    let right = r#"{ type = "composite", outcome = 1.0, weights = { shine = -1.0 } }"#;
    let (alarms, rung, outcome, _) = heard("right", right);
    assert!(outcome[13] > outcome[0], "{outcome:?}");
    assert!(alarms.is_empty() && rung == [0.0; 7], "{alarms:?} {rung:?}");
    let (alarms, rung, _, _) = heard("outcome", r#"{ type = "outcome" }"#);
    assert!(alarms.is_empty() && rung.is_empty());
}

#[test]
fn p08_a_reward_that_is_no_number_is_named_and_nothing_is_committed() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let huge =
        r#"{ type = "composite", outcome = 1.7e308, weights = { shine = 1.0, more = 1.7e308 } }"#;
    let text = shining(folder.path(), huge)
        .replace("parts = [\"shine\"]", "parts = [\"shine\", \"more\"]");
    let program = PROGRAM
        .replace("\"parts\":[\"shine\"]", "\"parts\":[\"shine\",\"more\"]")
        .replace("\"shine\":0}", "\"shine\":0,\"more\":1}")
        .replace("\"shine\":1}", "\"shine\":1,\"more\":1}");
    std::fs::write(folder.path().join("program.sh"), program).unwrap();
    let path = folder.path().join("run");
    let error = run::start(&recipe(&text), &path, 2, &mut Watch::default()).unwrap_err();
    let EngineError::Reward { stage: 1, update: 0, what } = &error else { panic!("{error}") };
    assert!(what.starts_with("tree ") && what.contains("its training reward is inf"), "{what}");
    assert_eq!(error.exit_code(), 1);
    assert_eq!(RunReader::open(&path).unwrap().newest(Kind::Grown).unwrap(), None);
}

/// The step that spoils it is over: the run goes on from the checkpoint before it.
#[test]
fn p08_a_weight_that_is_no_number_reaches_neither_record_nor_checkpoint() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole");
    start(TEXT, &whole, 2).unwrap();
    let path = folder.path().join("run");
    let mut watch = Watch { stop_after: Some(9), ..Watch::default() };
    run::start(&recipe(TEXT), &path, 2, &mut watch).unwrap();
    let before = std::fs::read_dir(path.join("checkpoints")).unwrap().count();
    let error = {
        let _planted = Planted::bug(39);
        run::resume(&path, 2, &mut Watch::default()).unwrap_err()
    };
    let said = error.to_string();
    assert!(said.contains("a weight is not finite: got NaN; parameter `"), "{said}");
    assert!(said.starts_with("stage 1, update 1: ") && error.exit_code() == 1, "{said}");
    let after = std::fs::read_dir(path.join("checkpoints")).unwrap().count();
    assert_eq!((before, left(&path).1), (after, Some(0)));
    assert_eq!(finish(&path, 1).unwrap(), end(&whole));
}
