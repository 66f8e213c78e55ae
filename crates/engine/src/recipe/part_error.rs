//! What serde says of a method's table, in this house's words and at the key it is about.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::{list, nearest};
use super::setting::{Limit, Setting, shown};

/// A complaint with its place.
pub(super) struct Blamed {
    /// The key of the part's own table that holds what is wrong.
    pub(super) top: String,
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) message: String,
}

/// The key that an error is about; `None` where its position is in no key of the table.
pub(super) fn blame(table: &DeTable<'_>, part: &str, error: &toml::de::Error) -> Option<Blamed> {
    let span = error.span()?;
    let within = |outer: std::ops::Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let (mut path, mut top, mut found) = (part.to_owned(), None, None);
    let mut open = Some(table);
    while let Some((key, value)) = open.and_then(|table| {
        table.iter().find(|(key, value)| within(key.span()) || within(value.span()))
    }) {
        path = format!("{path}.{}", key.get_ref().escape_debug());
        top.get_or_insert_with(|| key.get_ref().to_string());
        found = Some((key, value));
        open = value.get_ref().as_table();
    }
    let ((key, value), top) = (found?, top?);
    let known = quoted(error.message().split_once("expected").map_or("", |(_, rest)| rest));
    let (at, message) = match unknown_field(error.message(), &known) {
        Some((wrong, help)) => {
            // Without a position of its own, the key is somewhere in the value.
            let inner = format!("{path}.{}", wrong.escape_debug());
            let inner = if wrong == key.get_ref().as_ref() { &path } else { &inner };
            (key.span().start, format!("unknown key `{inner}`{help}"))
        }
        None => {
            let why = unknown_variant(error.message(), &known)
                .or_else(|| wrong_type(value, &span, error.message()))
                .unwrap_or_else(|| format!("is wrong: {}", error.message().escape_debug()));
            (value.span().start, format!("`{path}` {why}"))
        }
    };
    Some(Blamed { top, at, key: path, message })
}

/// The names in backticks of a serde message.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

fn unknown_field<'m>(message: &'m str, known: &[&str]) -> Option<(&'m str, String)> {
    let wrong = message.strip_prefix("unknown field `")?.split('`').next()?;
    let help = match (nearest(wrong, known), known.is_empty()) {
        (Some(near), _) => format!("; did you mean `{near}`?"),
        (None, true) => "; it has nothing to set but its `type`".to_owned(),
        (None, false) => format!("; known: {}", list(known)),
    };
    Some((wrong, help))
}

fn unknown_variant(message: &str, known: &[&str]) -> Option<String> {
    let wrong = message.strip_prefix("unknown variant `")?.split('`').next()?;
    let near = nearest(wrong, known).map(|near| format!("; nearest: `{near}`"));
    let (wrong, near) = (wrong.escape_debug(), near.unwrap_or_default());
    Some(format!("must be one of {}, got: `{wrong}`{near}", list(known)))
}

/// A wrong type, said as [`Setting`] says it.
fn wrong_type(
    value: &Spanned<DeValue<'_>>,
    span: &std::ops::Range<usize>,
    message: &str,
) -> Option<String> {
    if value.span() != *span {
        return None;
    }
    let value = value.get_ref();
    let expected = message.rsplit_once("expected ").map(|(_, what)| what.trim())?;
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => match value {
            DeValue::Integer(n) if n.as_str().starts_with('-') => {
                Some(format!("must not be negative, got: {}", shown(value)))
            }
            DeValue::Integer(_) => Some(format!("is too large, got: {}", shown(value))),
            DeValue::Float(_) => u64::read(value, &Limit::Any).err(),
            other => Some(format!("must be a whole number, got: {}", shown(other))),
        },
        "f64" | "f32" => Some(format!("must be a number, got: {}", shown(value))),
        "a boolean" => bool::read(value, &Limit::Any).err(),
        "a string" => String::read(value, &Limit::Any).err(),
        _ => None,
    }
}

/// `nan`, `inf` and whole numbers beyond 64 bits, which serde would let through or TOML could not
/// write back: the dotted rest of the key, its place and the complaint.
pub(super) fn wild_number(value: &Spanned<DeValue<'_>>) -> Option<(String, usize, String)> {
    let at = value.span().start;
    match value.get_ref() {
        // The range is checked by the method; here only what is no number at all.
        number @ DeValue::Float(_) => {
            f64::read(number, &Limit::Any).err().map(|why| (String::new(), at, why))
        }
        number @ DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).err().map(|_| {
                let why = format!("must fit 64 bits with a sign, got: {}", shown(number));
                (String::new(), at, why)
            })
        }
        DeValue::Array(items) => items.iter().find_map(wild_number),
        DeValue::Table(table) => table.iter().find_map(|(key, inner)| {
            let (rest, at, why) = wild_number(inner)?;
            Some((format!(".{}{rest}", key.get_ref().escape_debug()), at, why))
        }),
        _ => None,
    }
}

/// Where the value of a dotted key stands, as far as the table has it.
pub(super) fn deepest(table: &DeTable<'_>, path: &str) -> usize {
    let (mut at, mut table) = (0, Some(table));
    for name in path.split('.') {
        let Some(value) = table.and_then(|t| t.get(name)) else { break };
        (at, table) = (value.span().start, value.get_ref().as_table());
    }
    at
}
