//! What the policy reads first.

use serde_json::Value as Json;
use stepwell_tree::Task;

use super::config::Config;
use super::tasks::{Case, cases};
use crate::exact::Exact;

/// What a model that was never trained on the markup has to be told.
const RUNNING: &str = "\
To try something, write Python between <python> and </python>; what it prints follows between \
<result> and </result>, which you never write yourself. Variables are kept.";
const ANSWERING: &str = "\
When you are sure, write a complete program that defines the function between <answer> and \
</answer>.";

/// The question, the function's name, the task's examples, and the rules.
pub(super) fn user(task: &Task, config: &Config) -> String {
    let function = task.field("function").unwrap_or_default();
    let mut text = format!("{}\n", task.question);
    text += &format!("Write the Python function `{function}`.\n");
    for example in cases(task, "examples").unwrap_or_default() {
        text += &format!("{}\n", shown(function, &example));
    }
    if config.instructions {
        text += "\n";
        if config.max_interactions > 0 {
            text += &format!("{RUNNING}\n");
        }
        match &config.artifact {
            None => text += &format!("{ANSWERING}\n"),
            Some(name) => {
                text += &format!(
                    "When you are sure, save a complete program that defines the function as \
                     `{name}` and write <answer>done</answer>.\n"
                );
            }
        }
    }
    text
}

/// `f(1, "a") == [True]`.
fn shown(function: &str, case: &Case) -> String {
    let arguments: Vec<String> = case.input.iter().map(literal).collect();
    format!("{function}({}) == {}", arguments.join(", "), literal(&case.output))
}

/// A JSON value as Python writes it.
fn literal(value: &Exact) -> String {
    match value {
        Exact::Plain(Json::Null) => "None".to_owned(),
        Exact::Plain(Json::Bool(true)) => "True".to_owned(),
        Exact::Plain(Json::Bool(false)) => "False".to_owned(),
        Exact::List(items) => {
            format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Exact::Object(pairs) => {
            let pair = |(key, value): (&String, &Exact)| {
                format!("{}: {}", Json::String(key.clone()), literal(value))
            };
            format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        Exact::Plain(_) | Exact::Whole(_) => value.to_string(),
    }
}
