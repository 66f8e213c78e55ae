//! A chat template of the user's own, in place of the model's.

use stepwell_model::template::{ChatTemplate, Controls, SOURCE_BYTES_MAX};
use stepwell_model::tokenizer::Tokenizer;
use stepwell_tree::Task;

use super::input;
use crate::bounded;
use crate::error::EngineError;
use crate::recipe::Recipe;

/// The Jinja text that a recipe names.
///
/// # Errors
/// Where the file cannot be read.
fn source(path: &str) -> Result<String, EngineError> {
    let cannot = |why: String| {
        input(format!("`model.chat_template`: {path}: cannot be read: {why}; check the path"))
    };
    let bytes = bounded::read(path.as_ref(), SOURCE_BYTES_MAX as u64).map_err(cannot)?;
    String::from_utf8(bytes)
        .map_err(|error| cannot(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))
}

/// The template of the recipe's file, or else the model's own. Names of the ends of a text are the
/// model's.
///
/// # Errors
/// Where the file cannot be read or is not Jinja; the message has its line and column.
pub(super) fn template(
    recipe: &Recipe,
    tokenizer: &Tokenizer,
    own: Option<ChatTemplate>,
) -> Result<Option<ChatTemplate>, EngineError> {
    let Some(path) = &recipe.chat_template else { return Ok(own) };
    let name_of = |id: &u32| {
        let found = tokenizer.controls().find(|(_, control)| control == id);
        found.map(|(name, _)| name.to_owned())
    };
    let end = tokenizer.end_of_text().first().and_then(name_of);
    let controls = own.map_or(Controls { begin: None, end }, |own| own.controls().clone());
    let template = ChatTemplate::new(&source(path)?, controls);
    template.map(Some).map_err(|error| wrong(path, &error.to_string()))
}

/// What is wrong with the template of a recipe: where it is of a file, that file's name.
pub(super) fn wrong(path: &str, error: &str) -> EngineError {
    let what = error.strip_prefix("chat_template").unwrap_or(error);
    input(format!("`model.chat_template`: {path}{what}"))
}

/// The template as the record knows it, so that a resume notices another one.
///
/// # Errors
/// Where the file cannot be read.
pub(crate) fn template_task(recipe: &Recipe) -> Result<Option<Task>, EngineError> {
    let Some(path) = &recipe.chat_template else { return Ok(None) };
    let (id, question) = ("chat_template".to_owned(), source(path)?);
    Ok(Some(Task { id, question, fields: Default::default() }))
}
