//! A recipe as a tree of positions: parsed text, with overrides put in.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::section::{Notes, PROBLEMS_MAX, WHOLE_FILE};
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
    let (twice, broken): (Vec<_>, Vec<_>) =
        errors.into_iter().partition(|error| error.message() == "duplicate key");
    let span = |error: &toml::de::Error| error.span().unwrap_or(0..0);
    let twice = twice.iter().map(span).take(PROBLEMS_MAX + 1).collect();
    duplicates(text, twice, notes);
    // The parser goes on in the middle of a line; what it finds there follows from the first.
    let mut line = 0..0;
    for error in &broken {
        let at = error.span().map_or(0, |span| span.start);
        if notes.is_full() || line.contains(&at) {
            continue;
        }
        let rest = text.as_bytes().get(at..).unwrap_or_default();
        line = at..at + rest.iter().position(|b| *b == b'\n').unwrap_or(text.len()) + 1;
        notes.error(at, "", format!("not TOML: {}", error.message().to_lowercase()));
    }
    broken.is_empty().then(|| DeValue::Table(tree.into_inner()))
}

/// Keys that are set twice, with the line that set them first. `toml` tells only where the second
/// one is, so the second ones are renamed in a copy and found in the copy's tree: their neighbour
/// of the old name is the first.
fn duplicates(text: &str, mut twice: Vec<Range<usize>>, notes: &Notes) {
    twice.sort_by_key(|span| span.start);
    twice.dedup();
    if twice.is_empty() {
        return;
    }
    let (mut renamed, mut from) = (String::new(), 0);
    for (index, span) in twice.iter().enumerate() {
        renamed.push_str(&text[from..span.start]);
        renamed.push_str(&format!("{STRANGER}{index}"));
        from = span.end;
    }
    renamed.push_str(&text[from..]);
    let (copy, _) = DeTable::parse_recoverable(&renamed);
    // The names as the parser reads them, with quotes and escapes undone.
    let names: Vec<String> = twice.iter().map(|span| key_text(&text[span.clone()])).collect();
    let mut first = BTreeMap::new();
    neighbours(copy.get_ref(), &names, String::new(), &mut first);
    for (index, span) in twice.iter().enumerate() {
        let name = names[index].escape_debug();
        match first.get(&index) {
            Some((path, first)) => {
                // A key holds no line break, so the copy has the file's lines.
                let line = position(&renamed, *first).0;
                notes.error(span.start, path, format!("`{path}` was already set on line {line}"));
            }
            None => notes.error(span.start, "", format!("`{name}` is set twice")),
        }
    }
}

fn key_text(raw: &str) -> String {
    let one = format!("{raw} = 0");
    let parsed = DeTable::parse(&one).ok();
    let name = parsed.and_then(|t| t.get_ref().keys().next().map(|k| k.get_ref().to_string()));
    name.unwrap_or_else(|| raw.to_owned())
}

/// By the index of each renamed key: path and place of its neighbour of the old name. The depth of
/// the tree is bounded by [`too_deep`], so the recursion is.
fn neighbours(
    table: &DeTable<'_>,
    names: &[String],
    path: String,
    first: &mut BTreeMap<usize, (String, usize)>,
) {
    let join = |key: &str| {
        let key = key.escape_debug();
        if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
    };
    for (key, value) in table {
        let index = key.get_ref().strip_prefix(STRANGER).and_then(|rest| rest.parse().ok());
        let name = index.and_then(|index: usize| names.get(index));
        if let (Some(index), Some(name)) = (index, name)
            && let Some((old, _)) = table.get_key_value(name.as_str())
        {
            first.insert(index, (join(name), old.span().start));
        }
        match value.get_ref() {
            DeValue::Table(inner) => neighbours(inner, names, join(key.get_ref()), first),
            DeValue::Array(items) => {
                for (i, item) in items.iter().enumerate() {
                    if let DeValue::Table(inner) = item.get_ref() {
                        let path = format!("{}[{i}]", join(key.get_ref()));
                        neighbours(inner, names, path, first);
                    }
                }
            }
            _ => {}
        }
    }
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
