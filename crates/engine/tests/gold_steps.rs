//! Gold steps of the user's own tasks as demonstrations.

mod common;

use std::path::Path;

use common::runs::{end, recipe, start};
use stepwell_engine::problem::Problem;

const TASKS: &str = r#"{"id":"a","question":"A box holds 12 pens. How many do 5 boxes hold?","answer":"60","steps":[{"expression":"12 * 5","value":"60"}]}
{"id":"b","question":"48 in April and half as many in May. How many in all?","answer":"72","steps":[{"expression":"48/2","value":"24"},{"expression":"48+24","value":"72"}]}
{"id":"wrong","question":"The steps do not lead here.","answer":"9","steps":[{"expression":"2 + 2","value":"4"}]}
"#;

fn text(folder: &Path, tasks: &str) -> String {
    let file = folder.join("tasks.jsonl");
    std::fs::write(&file, tasks).unwrap();
    format!(
        r#"
seed = 3
[model.scratch]
hidden = 24
layers = 1
heads = 2
context = 400
[environment]
type = "calculator"
[environment.files]
train = "{}"
[[stage]]
[stage.sft]
demonstrations = "gold_steps"
steps = 8
batch = 4
learning_rate = 2e-2
"#,
        file.display()
    )
}

#[test]
fn a_model_warms_up_on_the_steps_of_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path(), TASKS);
    let problem = Problem::build(&recipe(&text)).unwrap();
    assert_eq!(problem.gold().len(), 2, "a task whose steps are wrong teaches nothing");
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    let watch = start(&text, &one, 2).unwrap();
    start(&text, &other, 1).unwrap();
    assert_eq!(watch.steps, 8);
    assert_eq!(end(&one), end(&other), "threads change nothing");
}

#[test]
fn tasks_without_good_steps_are_told_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let text = text(folder.path(), TASKS.lines().last().unwrap());
    let told = Problem::build(&recipe(&text)).err().unwrap().to_string();
    let expected = "none of 1 training tasks has gold steps that lead to its answer in at most 3 \
                    calls; `stepwell tasks check` says what is wrong with them, `max_interactions` \
                    grants calls";
    assert_eq!(told, expected);
}
