//! A program behind the door, from a recipe to trees: forked or replayed, stopped and resumed, and
//! failing in every attempt or in some.

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::runs::{Watch, end, finish, recipe, start};
use stepwell_engine::{EngineError, run};
use stepwell_store::RunReader;
use stepwell_tree::StepTree;

/// Two steps: the first is answered, the second is right where it begins with `a`. `tasks.txt`
/// holds the program's own tasks, `fault` is what happens before a second step is judged.
fn program(folder: &Path, offers: &str, fault: &str) {
    let text = r#"
IFS=
reply() { printf '{"id":%s,%s}\n' "$id" "$1"; }
number() { value=${line#*"\"$1\":"}; value=${value%%[!0-9]*}; }
while read -r line; do
  number id; id=$value
  number episode; ep=$value
  case $line in
  *'"method":"hello"'*) reply '"protocol":1,"name":"t","offers":[OFFERS],"stop":["."]' ;;
  *'"method":"tasks"'*) reply "\"tasks\":$(cat 'FOLDER/tasks.txt')" ;;
  *'"method":"start"'*) eval "n_$ep=0"; reply '"ok":1' ;;
  *'"method":"fork"'*) number into; eval "n_$value=\$n_$ep"; reply '"ok":1' ;;
  *'"method":"end"'*) reply '"ok":1' ;;
  *'"method":"step"'*)
    eval "n=\$n_$ep"; n=$((n + 1)); eval "n_$ep=$n"
    case $n-$line in
    1-*'"last":false'*) reply '"observation":" look "' ;;
    *) FAULT
       case $line in
       *'"text":"a'*) reply '"verdict":{"reward":1}' ;;
       *) reply '"verdict":{"reward":0}' ;;
       esac ;;
    esac ;;
  *'"method":"close"'*) exit 0 ;;
  *) reply '"error":"unknown"' ;;
  esac
done
"#;
    let text = text.replace("OFFERS", offers).replace("FAULT", fault);
    let text = text.replace("FOLDER", &folder.display().to_string());
    fs::write(folder.join("program.sh"), text).unwrap();
    let tasks = r#"[{"id":"a","question":"q"},{"id":"b","question":"r"}]"#;
    fs::write(folder.join("tasks.txt"), tasks).unwrap();
    let talks = r#"{"messages":[{"role":"user","content":"q\n"},{"role":"assistant","content":"b."},{"role":"tool","content":" look "},{"role":"assistant","content":"a."}]}
{"messages":[{"role":"user","content":"r\n"},{"role":"assistant","content":"a."},{"role":"tool","content":" look "},{"role":"assistant","content":"b."}]}
"#;
    fs::write(folder.join("talks.jsonl"), talks).unwrap();
}

fn text(folder: &Path, unscored_max: f64) -> String {
    format!(
        r#"
seed = 5
[model.scratch]
hidden = 24
layers = 1
heads = 2
context = 60
tokenizer = "bytes"
[environment]
type = "external"
command = ["sh", "{0}/program.sh"]
max_steps = 4
timeout_seconds = 20
[environment.tasks]
train = 2
[[stage]]
[stage.sft]
data = "{0}/talks.jsonl"
steps = 40
batch = 4
learning_rate = 2e-2
[[stage]]
[stage.rl]
steps = 3
tasks = 2
max_tokens = 6
learning_rate = 1e-3
unscored_max = {unscored_max:?}
grow = {{ type = "branch", attempts = 3, branches = 2, leaves = 6 }}
credit = {{ type = "sibling" }}
"#,
        folder.display()
    )
}

fn trees(run: &Path) -> Vec<StepTree> {
    let reader = RunReader::open(run).unwrap();
    let grown = (0..3).map(|update| reader.grown(1, update).unwrap().unwrap());
    grown.flatten().map(|stored| stored.tree).collect()
}

const OFFERS: &str = r#""episodes","tasks","fork""#;

#[test]
fn trees_are_the_same_forked_or_replayed_and_a_stopped_run_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = text(here, 0.0);
    program(here, OFFERS, "");
    let (whole, stopped) = (here.join("whole"), here.join("stopped"));
    assert_eq!(start(&text, &whole, 2).unwrap().steps, 43);
    let mut watch = Watch { stop_after: Some(41), ..Watch::default() };
    run::start(&recipe(&text), &stopped, 1, &mut watch).unwrap();
    assert_eq!(finish(&stopped, 2).unwrap(), end(&whole));

    let forked = trees(&whole);
    let reward = |tree: &StepTree| -> f64 { tree.verdict.iter().filter_map(|v| v.reward()).sum() };
    let right: f64 = forked.iter().map(reward).sum();
    let leaves = forked.iter().flat_map(|tree| &tree.verdict).filter_map(|v| v.reward()).count();
    assert!(right > 3.0 && right < leaves as f64, "{right} of {leaves}: nothing to learn from");
    program(here, r#""episodes","tasks""#, "");
    let replayed = here.join("replayed");
    start(&text, &replayed, 2).unwrap();
    assert_eq!(trees(&replayed), forked);
}

#[test]
fn a_program_that_gives_other_tasks_ends_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    program(here, OFFERS, "");
    let stopped = here.join("run");
    let mut watch = Watch { stop_after: Some(41), ..Watch::default() };
    run::start(&recipe(&text(here, 0.0)), &stopped, 1, &mut watch).unwrap();
    let other = r#"[{"id":"a","question":"q"},{"id":"b","question":"s"}]"#;
    fs::write(here.join("tasks.txt"), other).unwrap();
    match finish(&stopped, 1) {
        Err(EngineError::Store(error)) => {
            let expected = "position 1: `hash`, `question` differ";
            assert!(error.to_string().contains(expected), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn attempts_that_cannot_be_judged_end_the_run_or_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    program(here, OFFERS, "exit 7");
    let begun = Instant::now();
    let failed = start(&text(here, 0.2), &here.join("dead"), 2).map(|_| ());
    assert!(begun.elapsed() < Duration::from_secs(60));
    match failed {
        Err(EngineError::Unscored { unscored, attempts, reasons, .. }) => {
            let first = "first: environment exited (code 7) during `step`";
            assert!(unscored == attempts && reasons.ends_with(first), "{reasons}");
        }
        other => panic!("{other:?}"),
    }
    // It dies of one text in a few: the others are judged, those that were under way too.
    program(here, OFFERS, "case $line in *'\"text\":\"b'*) exit 7 ;; esac");
    let run = here.join("some");
    let restarts = text(here, 0.9).replace("max_steps", "restarts_max = 1000\nmax_steps");
    start(&restarts, &run, 2).unwrap();
    let verdicts: Vec<_> = trees(&run).into_iter().flat_map(|tree| tree.verdict).collect();
    let (mut scored, mut unscored) = (0, 0);
    for verdict in &verdicts {
        match verdict {
            stepwell_tree::Verdict::Scored { .. } => scored += 1,
            stepwell_tree::Verdict::Unscored(reason) => {
                let expected = "EnvironmentFailed(\"environment exited (code 7) during `step`\")";
                assert_eq!(format!("{reason:?}"), expected);
                unscored += 1;
            }
            stepwell_tree::Verdict::Pending => {}
        }
    }
    assert!(scored > 3 && unscored > 3, "{scored} scored, {unscored} not");
}
