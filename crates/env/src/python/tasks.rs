//! Task files of the `python` environment.

use std::path::Path;

use serde::Deserialize;
use stepwell_tree::Task;

use crate::EnvError;
use crate::exact::Exact;
use crate::tasks::{self, Field, Kind, Loaded, Options, Schema, line};

/// Cases of one task.
pub const CASES_MAX: usize = 1000;

/// One call of the function.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its arguments.
    pub input: Vec<Exact>,
    /// What it must return.
    pub output: Exact,
}

/// `id`, `question`, `function`, `cases`, `examples?`, `cases_held_out?`.
pub fn schema() -> Schema {
    Schema::new(&[
        Field::required("function", Kind::Text),
        Field::required("cases", Kind::Json),
        Field::optional("examples", Kind::Json),
        Field::optional("cases_held_out", Kind::Json),
    ])
}

/// Reads a task file.
///
/// Errors: what [`tasks::load`] refuses; cases that are none; a name that no function can have.
pub fn load(file: &Path, options: &Options) -> Result<Loaded, EnvError> {
    let loaded = tasks::load(file, &schema(), options)?;
    for (task, number) in loaded.tasks.iter().zip(&loaded.line) {
        let fault = |why: String| EnvError::Data(format!("{}:{number}: {why}", file.display()));
        let function = task.field("function").unwrap_or_default();
        if !is_name(function) {
            let got = line::shown_id(function);
            return Err(fault(format!("`function` must be a Python name, got: `{got}`")));
        }
        for field in ["cases", "examples", "cases_held_out"] {
            let found = cases(task, field).map_err(&fault)?;
            if field == "cases" && found.is_empty() {
                return Err(fault("`cases` must hold at least one case, got: []".to_owned()));
            }
        }
    }
    Ok(loaded)
}

/// The calls that a field lists; none where the task has no such field.
pub(super) fn cases(task: &Task, field: &str) -> Result<Vec<Case>, String> {
    let Some(text) = task.field(field) else { return Ok(Vec::new()) };
    let found: Vec<Case> = serde_json::from_str(text).map_err(|error| {
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        format!("`{field}` must list {{\"input\": [...], \"output\": ...}}: {why}")
    })?;
    if found.len() > CASES_MAX {
        return Err(format!("`{field}` must hold at most {CASES_MAX} cases, got: {}", found.len()));
    }
    Ok(found)
}

/// Words of the language that no function can be named.
const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

fn is_name(text: &str) -> bool {
    let mut letters = text.chars();
    !KEYWORDS.contains(&text)
        && letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
