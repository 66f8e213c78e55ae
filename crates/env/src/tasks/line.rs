//! One line of a task file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use stepwell_tree::Task;

use super::{Field, Kind, LINE_BYTES_MAX, Options, Schema, fault, nearest};
use crate::EnvError;
use crate::exact::Exact;

/// How much of a faulty line a message shows, in characters.
const SHOWN: usize = 20;
/// How much of a name that a person chose a message shows, in characters.
const NAME_SHOWN: usize = 100;

/// The lines that hold something, numbered from 1, without their line ends.
pub(crate) fn lines<'a>(name: &str, bytes: &'a [u8]) -> Result<Vec<(usize, &'a str)>, EnvError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        if line.len() > LINE_BYTES_MAX {
            return fault(format!(
                "{name}:{number}: line longer than 8 MiB; is it one object per line?"
            ));
        }
        let text = std::str::from_utf8(line).map_err(|error| {
            let at = error.valid_up_to();
            let (byte, column) = (line[at], at + 1);
            EnvError::Data(format!(
                "{name}:{number}: byte {byte:#04x} at column {column} is not UTF-8"
            ))
        })?;
        let text = text.trim();
        if !text.is_empty() {
            found.push((number, text));
        }
    }
    Ok(found)
}

/// The JSON of a line.
pub(crate) fn json<'a, T: Deserialize<'a>>(
    name: &str,
    number: usize,
    text: &'a str,
) -> Result<T, EnvError> {
    serde_json::from_str(text).map_err(|error| unreadable(name, number, text, 0, &error))
}

/// What is wrong with the JSON that begins behind so many bytes of a line.
fn unreadable(
    name: &str,
    number: usize,
    text: &str,
    behind: usize,
    error: &serde_json::Error,
) -> EnvError {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or_default();
    let (column, start) = (behind + error.column(), shown(text));
    EnvError::Data(format!("{name}:{number}:{column}: {what} (line starts: {start})"))
}

/// The JSON object of a line.
pub(crate) fn object(
    name: &str,
    number: usize,
    text: &str,
) -> Result<Map<String, Value>, EnvError> {
    match json(name, number, text)? {
        Value::Object(object) => Ok(object),
        other => {
            let got = shown(&other.to_string());
            fault(format!("{name}:{number}: expected an object, got: {got}"))
        }
    }
}

/// The fields of a line, none of them read: a number may be longer than the library's values hold.
fn fields_of<'a>(
    name: &str,
    number: usize,
    text: &'a str,
) -> Result<BTreeMap<String, &'a RawValue>, EnvError> {
    let line: &RawValue = json(name, number, text)?;
    if !line.get().starts_with('{') {
        // Says what it is instead.
        object(name, number, text)?;
    }
    json(name, number, text)
}

/// The task of a line, every field checked.
pub(super) fn task(
    name: &str,
    number: usize,
    text: &str,
    schema: &Schema,
    options: &Options,
) -> Result<Task, EnvError> {
    let object = fields_of(name, number, text)?;
    let read = |raw: &RawValue| -> Result<Value, EnvError> {
        let behind = raw.get().as_ptr().addr() - text.as_ptr().addr();
        serde_json::from_str(raw.get())
            .map_err(|error| unreadable(name, number, text, behind, &error))
    };
    for key in object.keys() {
        let known = schema.fields.iter().any(|field| field.name == key);
        if !known && !schema.open && !options.extra.contains(key) {
            return fault(unknown(name, number, key, schema));
        }
    }
    let mut fields = BTreeMap::new();
    let others = object.iter().filter(|(key, _)| schema.open && !options.extra.contains(key));
    for (key, raw) in others {
        let value = read(raw)?;
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        fields.insert(key.clone(), value);
    }
    for field in &schema.fields {
        let raw = object.get(field.name).copied();
        let value = match raw.filter(|raw| raw.get() != "null") {
            None if !field.required => continue,
            Some(raw) if field.kind == Kind::Json => exact(raw, field.name),
            _ => convert(field, raw.map(read).transpose()?.as_ref()),
        };
        let value = value.map_err(|what| EnvError::Data(format!("{name}:{number}: {what}")))?;
        fields.insert(field.name.to_owned(), value);
    }
    let mut own = |field: &str| fields.remove(field).expect("`id` and `question` are required");
    let (id, question) = (own("id"), own("question"));
    Ok(Task { id, question, fields })
}

fn unknown(name: &str, number: usize, key: &str, schema: &Schema) -> String {
    let shown = shown_id(key);
    let hint = match nearest(key, schema.fields.iter().map(|field| field.name)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("to allow it: extra = [\"{shown}\"]"),
    };
    format!("{name}:{number}: unknown field `{shown}`; {hint}")
}

/// A field's value as text, or what is wrong with it.
fn convert(field: &Field, value: Option<&Value>) -> Result<String, String> {
    let Some(value) = value else { return Err(format!("`{}` is missing", field.name)) };
    let wrong = |kind: &str| {
        Err(format!("`{}` must be {kind}, got: {}", field.name, shown(&value.to_string())))
    };
    match (field.kind, value) {
        (Kind::Text | Kind::Scalar, Value::String(text)) if text.trim().is_empty() => {
            wrong("text that is not empty")
        }
        (Kind::Text | Kind::Scalar, Value::String(text)) => Ok(text.clone()),
        (Kind::Scalar, Value::Number(number)) => Ok(number.to_string()),
        (Kind::Scalar, _) => wrong("text or a number"),
        (Kind::Text, _) => wrong("text"),
        (Kind::Number, Value::Number(number)) => Ok(number.to_string()),
        (Kind::Number, Value::String(text)) => number(text).ok_or_else(|| {
            format!("`{}` is not a number the grader accepts: `{}`", field.name, shown(text))
        }),
        (Kind::Number, _) => wrong("a number"),
        (Kind::List(names), Value::Array(items)) => {
            let holds = |item: &Value| {
                item.as_object().is_some_and(|object| {
                    object.len() == names.len()
                        && names.iter().all(|name| object.get(*name).is_some_and(Value::is_string))
                })
            };
            match items.iter().find(|item| !holds(item)) {
                None => Ok(value.to_string()),
                Some(item) => Err(format!(
                    "`{}` must list objects with the texts `{}`, got: {}",
                    field.name,
                    names.join("`, `"),
                    shown(&item.to_string())
                )),
            }
        }
        (Kind::List(_), _) => wrong("a list"),
        (Kind::Json, _) => wrong("a value"),
    }
}

/// A field's JSON, every digit of it.
fn exact(raw: &RawValue, name: &str) -> Result<String, String> {
    serde_json::from_str::<Exact>(raw.get()).map(|value| value.to_string()).map_err(|error| {
        let why = error.to_string();
        format!("`{name}`: {}", why.split(" at line ").next().unwrap_or_default())
    })
}

/// A number as people write it, without separators of thousands.
pub(crate) fn number(text: &str) -> Option<String> {
    let plain: String = text.trim().chars().filter(|letter| *letter != ',').collect();
    let starts =
        plain.trim_start_matches(['-', '+']).starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let finite = plain.parse::<f64>().is_ok_and(f64::is_finite);
    (starts && finite).then_some(plain)
}

/// The start of a faulty text, as messages show it.
pub(crate) fn shown(text: &str) -> String {
    start(text, SHOWN)
}

/// A name that a person or a file chose, whole unless it is very long.
pub(crate) fn shown_id(text: &str) -> String {
    start(text, NAME_SHOWN)
}

fn start(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
