//! Task files of the `math_answer` environment.

use std::path::Path;

use stepwell_tree::Task;

use super::value::read;
use crate::EnvError;
use crate::tasks::line::shown_id;
use crate::tasks::{self, Field, Kind, Loaded, Options, Schema};

/// The fields of a task: `id, question, answer`.
pub fn schema() -> Schema {
    Schema::new(&[Field::required("answer", Kind::Scalar)])
}

/// Reads a task file.
///
/// Errors: what [`tasks::load`] refuses, and an answer that attempts could not be compared with.
pub fn load(file: &Path, options: &Options) -> Result<Loaded, EnvError> {
    let loaded = tasks::load(file, &schema(), options)?;
    for (task, line) in loaded.tasks.iter().zip(&loaded.line) {
        let text = task.field("answer").unwrap_or_default();
        let shown = shown_id(text);
        if let Err(refusal) = read(text) {
            return Err(EnvError::Data(format!(
                "{}:{line}: `answer` is not one the grader accepts: `{shown}` ({refusal})",
                file.display()
            )));
        }
    }
    Ok(loaded)
}

/// Tasks whose answer is compared letter by letter, since it is neither a number, a choice nor a
/// list of those: `(id, the answer as it is compared)`.
pub fn check(tasks: &[Task]) -> Vec<(String, String)> {
    let text = |task: &Task| {
        let answer = read(task.field("answer")?).ok()?;
        answer.is_text().then(|| (task.id.clone(), answer.to_string()))
    };
    tasks.iter().filter_map(text).collect()
}
