//! `--set stage[1].rl.learning_rate=2e-5`: values put into the tree before it is read, so that an
//! override passes every check the file does.

use std::borrow::Cow;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::moved;
use super::section::Notes;
use super::source::{DEPTH_MAX, too_deep};

/// One step of a dotted path: `stage[1]` is a name and an index.
pub(super) struct Step<'p> {
    pub(super) name: &'p str,
    pub(super) index: Option<usize>,
}

/// The steps of a dotted path; `None` where it is none.
pub(super) fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    path.split('.').map(step).collect()
}

fn step(text: &str) -> Option<Step<'_>> {
    let (name, index) = match text.split_once('[') {
        None => (text, None),
        Some((name, rest)) => (name, Some(rest.strip_suffix(']')?.parse().ok()?)),
    };
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    (!name.is_empty() && name.chars().all(bare)).then_some(Step { name, index })
}

/// Puts every override into the tree. `base` is the length of the file: overrides are said to
/// stand behind it, one after the other.
pub(super) fn apply<'d>(
    tree: &mut DeValue<'d>,
    overrides: &'d [String],
    base: usize,
    notes: &Notes,
) {
    let mut next = base + 1;
    for text in overrides {
        let at = next;
        next += text.len() + 1;
        let shown: String = text.chars().take(80).collect();
        let shown = shown.escape_debug();
        let parts = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        let Some((key, value)) = parts.filter(|(key, value)| !key.is_empty() && !value.is_empty())
        else {
            notes.error(at, "", format!("expected `key=value`, got: `{shown}`"));
            continue;
        };
        let (Some(path), true) = (steps(key), key.split('.').count() < DEPTH_MAX) else {
            let message =
                format!("expected a dotted key like `stage[1].rl.learning_rate`, got: `{shown}`");
            notes.error(at, "", message);
            continue;
        };
        match parse_value(value) {
            Ok(value) => put(tree, key, &path, moved(value, at), notes),
            Err(why) => notes.error(at, key, format!("`{key}` {why}, got: `{shown}`")),
        }
    }
}

/// A TOML value; a bare word or path is text.
fn parse_value(text: &str) -> Result<Spanned<DeValue<'_>>, &'static str> {
    if too_deep(text).is_some() {
        return Err("is nested deeper than 64 levels");
    }
    let looks_like_toml = text.starts_with(['"', '\'', '[', '{']);
    match DeValue::parse(text) {
        Ok(value) => Ok(value),
        Err(_) if looks_like_toml => Err("must be a TOML value"),
        Err(_) => Ok(Spanned::new(0..text.len(), DeValue::String(Cow::Borrowed(text)))),
    }
}

fn put<'d>(
    tree: &mut DeValue<'d>,
    key: &str,
    path: &[Step<'d>],
    value: Spanned<DeValue<'d>>,
    notes: &Notes,
) {
    let at = value.span().start;
    let Some((last, above)) = path.split_last() else { return };
    let mut place = tree;
    for step in above {
        let Some(inner) = enter(place, step, at) else {
            notes.error(at, key, missing(key, step));
            return;
        };
        place = inner;
    }
    let Some(table) = table_of(place) else {
        notes.error(at, key, format!("`{key}` is not inside a table"));
        return;
    };
    match last.index {
        None => {
            // The old key goes too: its position is the file's, and the value is not.
            table.remove(last.name);
            table.insert(Spanned::new(at..at, Cow::Borrowed(last.name)), value);
        }
        Some(_) => match enter(place, last, at) {
            Some(old) => *old = value.into_inner(),
            None => notes.error(at, key, missing(key, last)),
        },
    }
}

fn missing(key: &str, step: &Step<'_>) -> String {
    match step.index {
        Some(index) => format!("`{key}`: the recipe has no `{}[{index}]`", step.name),
        None => format!("`{key}`: `{}` is not a table", step.name),
    }
}

fn table_of<'t, 'd>(value: &'t mut DeValue<'d>) -> Option<&'t mut DeTable<'d>> {
    match value {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// The value one step further, made as an empty table where the path allows one.
fn enter<'t, 'd>(
    place: &'t mut DeValue<'d>,
    step: &Step<'d>,
    at: usize,
) -> Option<&'t mut DeValue<'d>> {
    let table = table_of(place)?;
    if !table.contains_key(step.name) && step.index.is_none() {
        let empty = DeValue::Table(DeTable::new());
        table.insert(Spanned::new(at..at, Cow::Borrowed(step.name)), Spanned::new(at..at, empty));
    }
    let inner = table.get_mut(step.name)?.get_mut();
    match (step.index, inner) {
        (None, inner @ DeValue::Table(_)) => Some(inner),
        (Some(index), DeValue::Array(items)) => items.get_mut(index).map(Spanned::get_mut),
        _ => None,
    }
}
