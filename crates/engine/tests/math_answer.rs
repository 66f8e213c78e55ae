//! Reasoning in paragraphs, from a task file to branched trees: steps end at blank lines, where
//! the environment has nothing to say.

mod common;

use std::path::Path;

use common::runs::{Watch, end, finish, recipe, start};
use stepwell_engine::run;
use stepwell_store::RunReader;
use stepwell_tree::Origin;

const TASKS: &str = r#"{"id":"a","question":"2 + 3?","answer":"5"}
{"id":"b","question":"2 + 6?","answer":"\\frac{16}{2}"}
"#;

/// Two paragraphs each; the policy learns them by heart, and then samples.
const TALKS: &str = r#"{"messages":[{"role":"user","content":"2 + 3?\n"},{"role":"assistant","content":"I add.\n\n\\boxed{5}"}]}
{"messages":[{"role":"user","content":"2 + 6?\n"},{"role":"assistant","content":"I add.\n\n\\boxed{8}"}]}
"#;

fn text(folder: &Path) -> String {
    let (tasks, talks) = (folder.join("tasks.jsonl"), folder.join("talks.jsonl"));
    std::fs::write(&tasks, TASKS).unwrap();
    std::fs::write(&talks, TALKS).unwrap();
    format!(
        r#"
seed = 3
[model.scratch]
hidden = 32
layers = 2
heads = 2
context = 120
tokenizer = "bytes"
[environment]
type = "math_answer"
instructions = false
max_steps = 4
[environment.files]
train = "{0}"
held_out = "{0}"
allow_overlap = true
[[stage]]
[stage.sft]
data = "{1}"
steps = 60
batch = 4
learning_rate = 1e-2
[[stage]]
[stage.rl]
steps = 3
tasks = 2
max_tokens = 24
learning_rate = 1e-3
grow = {{ type = "branch", attempts = 2, branches = 2, leaves = 4 }}
credit = {{ type = "sibling" }}
[[stage]]
[stage.evaluate]
questions = 2
max_tokens = 24
"#,
        tasks.display(),
        talks.display()
    )
}

#[test]
fn trees_fork_between_paragraphs_and_a_stopped_run_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path());
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    let watch = start(&text, &whole, 2).unwrap();
    assert_eq!(watch.steps, 63);
    let mut watch = Watch { stop_after: Some(62), ..Watch::default() };
    run::start(&recipe(&text), &stopped, 1, &mut watch).unwrap();
    assert_eq!(finish(&stopped, 2).unwrap(), end(&whole));

    let reader = RunReader::open(&whole).unwrap();
    let grown = (0..3).map(|update| reader.grown(1, update).unwrap().unwrap());
    let trees: Vec<_> = grown.flatten().collect();
    let (mut forks, mut right) = (0, 0);
    for tree in trees.iter().map(|stored| &stored.tree) {
        for step in 1..tree.len() {
            if tree.origin[step] == Origin::Environment {
                assert_eq!(tree.span[step].range().len(), 0, "nothing is said between steps");
            }
            let children = tree.parent.iter().filter(|parent| parent.index() == step).count();
            forks += usize::from(children > 1);
            right += usize::from(tree.verdict[step].reward() == Some(1.0));
        }
    }
    assert!(forks >= 6, "{forks} forks in {} trees", trees.len());
    assert!(right >= 8, "{right} right answers: the policy knows them by heart");
}
