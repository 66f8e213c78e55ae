//! The environment `python` through the binary: a run whose model writes code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod support;

use std::fs;

use stepwell_store::RunReader;
use support::{count_skip, run};

const RECIPE: &str = r#"
seed = 3

[model.scratch]
hidden = 32
layers = 1
heads = 2
context = 160
tokenizer = "bytes"

[environment]
type = "python"
prompt = "{question}\n"
max_interactions = 1
seconds = 2

[environment.files]
train = "tasks.jsonl"

[[stage]]
[stage.sft]
data = "talks.jsonl"
steps = 150
batch = 4
learning_rate = 1e-2
warmup_steps = 5

[[stage]]
[stage.rl]
steps = 2
tasks = 1
max_tokens = 60
grow = { type = "branch", attempts = 3, branches = 2, leaves = 4 }
credit = { type = "sibling" }
objective = { type = "clipped" }

[[stage]]
[stage.evaluate]
split = "train"
questions = 1
decoding = "greedy"
max_tokens = 60
"#;

const TASK: &str = r#"{"id": "twice", "question": "Twice n.", "function": "f",
 "cases": [{"input": [2], "output": 4}, {"input": ["ab"], "output": "abab"}]}"#;

/// One attempt that looks first, and its answer.
const TALK: &str = r#"{"messages": [{"role": "user", "content": "Twice n.\n"},
 {"role": "assistant", "content": "<python>2 * 2</python>"},
 {"role": "tool", "content": " <result>4</result>\n"},
 {"role": "assistant", "content": "<answer>def f(n): return 2 * n</answer>"}]}"#;

#[test]
fn a_model_learns_to_run_code_and_to_answer_with_it() {
    if !std::path::Path::new("/usr/bin/bwrap").is_file() {
        return count_skip("cli python", "/usr/bin/bwrap is missing");
    }
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::write(at("tasks.jsonl"), TASK.replace('\n', " ") + "\n").unwrap();
    fs::write(at("talks.jsonl"), TALK.replace('\n', " ") + "\n").unwrap();
    fs::write(at("recipe.toml"), RECIPE).unwrap();
    let shown = run(place.path(), &["train", "recipe.toml", "--run", "run"]).fine();
    assert!(!shown.err.contains("weak"), "{}", shown.err);
    let reader = RunReader::open(&at("run")).unwrap();
    let accuracy = reader.metric_series("accuracy").unwrap();
    assert_eq!(accuracy.last().unwrap().value, 1.0);
    assert_eq!(reader.weak_sandbox().unwrap(), None);
    let shown = run(place.path(), &["inspect", "run"]).fine().out;
    assert!(shown.contains("<result>4</result>"), "{shown}");
}
