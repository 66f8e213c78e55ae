//! A recipe as a tree of positions: parsed text, with overrides put in.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::{Notes, Problem, WHOLE_FILE};
use super::source::{DEPTH_MAX, position, refuse, too_deep};

/// Stands for a key while the table it belongs to is looked for; no recipe has it.
const STRANGER: &str = "stepwell-finds-this-key";

/// Parses a recipe. What cannot be parsed is noted; a tree comes back where one can be trusted.
pub(super) fn parse<'d>(text: &'d str, notes: &Notes) -> Option<DeValue<'d>> {
    if let Some(why) = refuse(text) {
        notes.error(WHOLE_FILE, "", format!("cannot read recipe: {why}"));
        return None;
    }
    if let Some(at) = too_deep(text) {
        notes.error(at, "", format!("nested deeper than {DEPTH_MAX} levels"));
        return None;
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    let (mut trusted, mut last_line) = (true, 0);
    for error in errors {
        if notes.is_full() {
            return None;
        }
        let at = error.span().map_or(0, |span| span.start);
        if let Some(problem) = duplicate(text, &error) {
            notes.errors.borrow_mut().push(problem);
            continue;
        }
        trusted = false;
        // The parser goes on in the middle of a line; what it finds there follows from the first.
        let line = position(text, at).0;
        if line != std::mem::replace(&mut last_line, line) {
            notes.error(at, "", format!("not TOML: {}", error.message().to_lowercase()));
        }
    }
    trusted.then(|| DeValue::Table(tree.into_inner()))
}

/// A duplicate key, with the line that set it first. `toml` tells only where the second one is, so
/// the second is renamed in a copy, found in the copy's tree, and its neighbour of the old name is
/// the first.
fn duplicate(text: &str, error: &toml::de::Error) -> Option<Problem> {
    let span = error.span().filter(|_| error.message() == "duplicate key")?;
    let renamed = format!("{}{STRANGER}{}", &text[..span.start], &text[span.end..]);
    let (copy, _) = DeTable::parse_recoverable(&renamed);
    // The name as the parser reads it, with quotes and escapes undone.
    let name = key_text(text.get(span.clone())?);
    let (path, first) = neighbour(copy.get_ref(), &name, String::new())?;
    let line = position(text, first).0;
    let message = format!("`{path}` was already set on line {line}");
    Some(Problem { offset: span.start, key: path, message })
}

fn key_text(raw: &str) -> String {
    let one = format!("{raw} = 0");
    let parsed = DeTable::parse(&one).ok();
    let name = parsed.and_then(|t| t.get_ref().keys().next().map(|k| k.get_ref().to_string()));
    name.unwrap_or_else(|| raw.to_owned())
}

/// Path and place of `name` in the table that holds the stranger. The depth of the tree is bounded
/// by [`too_deep`], so the recursion is.
fn neighbour(table: &DeTable<'_>, name: &str, path: String) -> Option<(String, usize)> {
    let join = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if table.contains_key(STRANGER) {
        return table.get_key_value(name).map(|(key, _)| (join(name), key.span().start));
    }
    table.iter().find_map(|(key, value)| match value.get_ref() {
        DeValue::Table(inner) => neighbour(inner, name, join(key.get_ref())),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(i, item)| {
            let inner = item.get_ref().as_table()?;
            neighbour(inner, name, format!("{}[{i}]", join(key.get_ref())))
        }),
        _ => None,
    })
}

/// Where a dotted path stands; its nearest ancestor where it is not set.
pub(super) fn locate(tree: &DeValue<'_>, path: &str) -> usize {
    let (mut at, mut value) = (0, tree);
    for step in super::overrides::steps(path).unwrap_or_default() {
        let Some((key, inner)) = value.as_table().and_then(|t| t.get_key_value(step.name)) else {
            return at;
        };
        (at, value) = (key.span().start, inner.get_ref());
        if let Some(index) = step.index {
            let Some(item) = value.as_array().and_then(|items| items.get(index)) else {
                return at;
            };
            (at, value) = (item.span().start, item.get_ref());
        }
    }
    at
}

/// A value that stands further on, with all that is in it.
pub(super) fn moved<'d>(value: Spanned<DeValue<'d>>, by: usize) -> Spanned<DeValue<'d>> {
    let further = |span: std::ops::Range<usize>| span.start + by..span.end + by;
    let span = further(value.span());
    let value = match value.into_inner() {
        DeValue::Table(table) => {
            let pair =
                |(key, inner): (Spanned<std::borrow::Cow<'d, str>>, Spanned<DeValue<'d>>)| {
                    (Spanned::new(further(key.span()), key.into_inner()), moved(inner, by))
                };
            DeValue::Table(table.into_iter().map(pair).collect())
        }
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| moved(item, by)).collect())
        }
        other => other,
    };
    Spanned::new(span, value)
}
