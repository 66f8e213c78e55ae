//! What can be wrong with a chat template.

use minijinja::ErrorKind;

use super::{FUEL, OUTPUT_BYTES_MAX, SOURCE_BYTES_MAX};

/// Why a template was refused or did not render.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Not Jinja, or Jinja that asks for what is not there.
    #[error("chat_template:{line}:{column}: {problem}")]
    Wrong {
        /// Counted from 1.
        line: usize,
        /// Counted from 1; 0 if unknown.
        column: usize,
        /// The engine's words.
        problem: String,
    },
    /// The template itself is too long.
    #[error("chat_template: got {got} bytes, expected at most {SOURCE_BYTES_MAX}")]
    Long {
        /// Its length.
        got: usize,
    },
    /// The library that runs templates failed on it.
    #[error("chat_template: the library that runs templates failed on it; use another template")]
    Library,
    /// It ran too long or used too much memory.
    #[error("chat_template: template ran out of budget ({FUEL} steps of 64 bytes)")]
    Budget,
    /// It wrote too much.
    #[error("chat_template: output over {} MiB", OUTPUT_BYTES_MAX >> 20)]
    Output,
    /// A content stands there never or more than once.
    #[error(
        "chat_template: message {message} ({role}) is written {times} times, expected once; \
         use another template"
    )]
    Count {
        /// Counted from 1.
        message: usize,
        /// Its role.
        role: String,
        /// How often its content stands in the result.
        times: usize,
    },
    /// Messages come in another order.
    #[error("chat_template: message {message} stands before an earlier one; use another template")]
    Order {
        /// Counted from 1.
        message: usize,
    },
    /// A later message changes what was written for the earlier ones.
    #[error(
        "chat_template: template is not append-only: turn {turn} rewrites tokens of turn 1 \
         (first difference at {at})"
    )]
    Rewrites {
        /// The turn that changed what was there.
        turn: usize,
        /// The first token that differs.
        at: usize,
    },
    /// The start-of-text token stands there twice.
    #[error("chat_template: `{name}` is written {times} times, expected at most once")]
    Begin {
        /// The token.
        name: String,
        /// How often.
        times: usize,
    },
}

/// The engine's error in our words, with its place in the source.
pub(super) fn explain(source: &str, wrong: &minijinja::Error) -> TemplateError {
    if wrong.kind() == ErrorKind::OutOfFuel {
        return TemplateError::Budget;
    }
    let (line, column) = match wrong.range() {
        Some(range) => {
            let before = source.get(..range.start).unwrap_or(source);
            let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
            (before.matches('\n').count() + 1, column)
        }
        None => (wrong.line().unwrap_or(1), 0),
    };
    let mut problem = wrong.kind().to_string();
    if wrong.kind() == ErrorKind::UndefinedError
        && let Some(text) = wrong.range().and_then(|range| source.get(range))
    {
        problem = format!("`{}` is undefined", text.trim());
    } else if let Some(detail) = wrong.detail() {
        problem = format!("{problem}: {detail}");
    }
    TemplateError::Wrong { line, column, problem }
}
