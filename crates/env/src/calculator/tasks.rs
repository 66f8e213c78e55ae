//! Task files of the `calculator` environment, and what is wrong with them.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use stepwell_tree::Task;

use super::answer;
use super::expression::evaluate;
use super::number::Number;
use crate::EnvError;
use crate::tasks::line::shown_id;
use crate::tasks::{self, Field, Kind, Loaded, Options, Schema};

/// A step of the gold solution as a task file writes it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What is calculated.
    pub expression: String,
    /// What comes out, as its author wrote it.
    pub value: String,
}

/// What re-evaluating a step says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evaluation {
    /// The value that is stated, or that the stated one is rounded from.
    Holds(Number),
    /// There is nothing to calculate: the value is one of the numbers in the expression.
    Trivial,
    /// The calculator cannot read the expression; its words.
    Unreadable(String),
    /// The stated value is no number; why.
    ValueUnreadable(String),
    /// Another value comes out.
    Differs {
        /// What comes out.
        computed: Number,
        /// What is stated.
        stated: Number,
    },
}

impl Step {
    /// Calculates the expression and compares.
    pub fn evaluate(&self) -> Evaluation {
        let stated = match answer::read(&self.value) {
            Ok(stated) => stated,
            Err(refusal) => return Evaluation::ValueUnreadable(refusal.to_string()),
        };
        let decimals = self
            .value
            .split_once('.')
            .map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        match evaluate(&self.expression) {
            Err(fault) => Evaluation::Unreadable(fault.to_string()),
            Ok(found)
                if !found.value.agrees(stated) && !found.value.rounds_to(stated, decimals) =>
            {
                Evaluation::Differs { computed: found.value, stated }
            }
            Ok(found) if !found.calculated => Evaluation::Trivial,
            Ok(found) => Evaluation::Holds(found.value),
        }
    }
}

/// The gold steps of a task; none where it has none.
///
/// # Errors
/// A field that is not what a task file may hold.
pub(super) fn steps(task: &Task) -> Result<Vec<Step>, String> {
    let Some(text) = task.field("steps") else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|error| format!("`steps` cannot be read: {error}"))
}

/// Values that an attempt should compute on its way: those of the gold steps, as they are and not
/// as they were rounded; the answer where no step says anything.
pub(super) fn milestones(steps: &[Step], answer: Number) -> Vec<Number> {
    let value = |step: &Step| match step.evaluate() {
        Evaluation::Holds(value) => Some(value),
        Evaluation::Differs { stated, .. } => Some(stated),
        Evaluation::Unreadable(_) => answer::read(&step.value).ok(),
        Evaluation::Trivial | Evaluation::ValueUnreadable(_) => None,
    };
    let values: Vec<Number> = steps.iter().filter_map(value).collect();
    if values.is_empty() { vec![answer] } else { values }
}

/// The fields of a task: `id, question, answer, steps?`.
pub fn schema() -> Schema {
    Schema::new(&[
        Field::required("answer", Kind::Number),
        Field::optional("steps", Kind::List(&["expression", "value"])),
    ])
}

/// Reads a task file.
///
/// Errors: what [`tasks::load`] refuses, and an answer that attempts could not be compared with.
/// Steps are not looked at: ask [`check`].
pub fn load(file: &Path, options: &Options) -> Result<Loaded, EnvError> {
    let loaded = tasks::load(file, &schema(), options)?;
    for (task, line) in loaded.tasks.iter().zip(&loaded.line) {
        let text = task.field("answer").unwrap_or_default();
        let shown = shown_id(text);
        if let Err(refusal) = answer::read(text) {
            return Err(EnvError::Data(format!(
                "{}:{line}: `answer` is not a number the grader accepts: `{shown}` ({refusal})",
                file.display()
            )));
        }
    }
    Ok(loaded)
}

/// Something wrong with a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The task's id.
    pub id: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a task. The first two leave every attempt unscored; the others only
/// make the part `steps` less telling.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The gold answer is no number; why.
    Answer(String),
    /// The gold steps are no list of steps; why.
    Steps(String),
    /// A gold step whose expression or value cannot be read; its expression, and why.
    Unreadable(String, String),
    /// A gold step that does not give its value.
    Differs {
        /// What is calculated.
        expression: String,
        /// What is stated.
        stated: Number,
        /// What comes out.
        computed: Number,
    },
    /// No gold step gives the answer.
    NotReached,
}

impl Fault {
    /// True where attempts at the task cannot be judged.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Fault::Answer(_) | Fault::Steps(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Answer(why) => write!(f, "the answer is not a number: {why}"),
            Fault::Steps(why) => write!(f, "{why}"),
            Fault::Unreadable(expression, why) => {
                write!(f, "the gold step `{expression}` cannot be read: {why}")
            }
            Fault::Differs { expression, stated, computed } => {
                write!(f, "the gold step `{expression}` gives {computed}, stated: {stated}")
            }
            Fault::NotReached => write!(f, "no gold step gives the answer"),
        }
    }
}

/// Re-evaluates every gold step; tasks without a finding are sound.
pub fn check(tasks: &[Task]) -> Vec<Finding> {
    let named = |task: &Task| {
        let id = task.id.clone();
        faults(task).into_iter().map(move |fault| Finding { id: id.clone(), fault })
    };
    tasks.iter().flat_map(named).collect()
}

fn faults(task: &Task) -> Vec<Fault> {
    let answer = match answer::read(task.field("answer").unwrap_or_default()) {
        Ok(answer) => answer,
        Err(refusal) => return vec![Fault::Answer(refusal.to_string())],
    };
    let steps = match steps(task) {
        Ok(steps) => steps,
        Err(why) => return vec![Fault::Steps(why)],
    };
    let fault = |step: &Step| {
        let expression = step.expression.clone();
        match step.evaluate() {
            Evaluation::Holds(_) | Evaluation::Trivial => None,
            Evaluation::Unreadable(why) => Some(Fault::Unreadable(expression, why)),
            Evaluation::ValueUnreadable(why) => {
                Some(Fault::Unreadable(expression, format!("its value: {why}")))
            }
            Evaluation::Differs { computed, stated } => {
                Some(Fault::Differs { expression, stated, computed })
            }
        }
    };
    let mut faults: Vec<Fault> = steps.iter().filter_map(fault).collect();
    let reaches = |step: &Step| answer::read(&step.value).is_ok_and(|value| value.agrees(answer));
    if !steps.is_empty() && !steps.iter().any(reaches) {
        faults.push(Fault::NotReached);
    }
    faults
}
