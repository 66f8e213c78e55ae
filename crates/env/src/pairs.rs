//! Pairs of answers, one per line, as preference files write them:
//!
//! ```text
//! {"prompt": "...", "chosen": "...", "rejected": "..."}
//! {"prompt": [{"role": "system", "content": "..."}, {"role": "user", "content": "..."}],
//!  "chosen": [{"role": "assistant", "content": "..."}],
//!  "rejected": [{"role": "assistant", "content": "..."}]}
//! ```
//!
//! Each of the three is a text or a list of messages. A prompt's messages are one of the user,
//! after one of the system if any; an answer's is one of the assistant.

use std::path::Path;

use serde_json::{Map, Value};
use stepwell_tree::Opening;

use crate::EnvError;
use crate::tasks::{fault, line, read};

/// A prompt and two answers, the first the better.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// What both answer.
    pub opening: Opening,
    /// The better answer.
    pub chosen: String,
    /// The worse answer.
    pub rejected: String,
}

/// A file of pairs, read.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// `[P]` in file order.
    pub pairs: Vec<Comparison>,
    /// `[P]` the line of each, from 1.
    pub line: Vec<usize>,
    /// BLAKE3 of the file's bytes: [`crate::tasks::changed`] compares it later.
    pub digest: [u8; 32],
}

const FIELDS: [&str; 3] = ["prompt", "chosen", "rejected"];

/// Reads a file of pairs.
///
/// # Errors
/// No file, no lines, a line that is no pair, or one whose answers are the same.
pub fn load(path: &Path) -> Result<Loaded, EnvError> {
    parse(&path.display().to_string(), &read(path)?)
}

/// Reads pairs from memory; `name` stands for the file in messages.
///
/// # Errors
/// As [`load`].
pub fn parse(name: &str, bytes: &[u8]) -> Result<Loaded, EnvError> {
    let (mut pairs, mut numbers) = (Vec::new(), Vec::new());
    for (number, text) in line::lines(name, bytes)? {
        let object = line::object(name, number, text)?;
        let pair =
            convert(&object).map_err(|what| EnvError::Data(format!("{name}:{number}: {what}")))?;
        pairs.push(pair);
        numbers.push(number);
    }
    if pairs.is_empty() {
        return fault(format!("{name}: holds no pairs; expected one object per line"));
    }
    Ok(Loaded { pairs, line: numbers, digest: *blake3::hash(bytes).as_bytes() })
}

fn convert(object: &Map<String, Value>) -> Result<Comparison, String> {
    if let Some(key) = object.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let key = key.escape_debug();
        return Err(format!(
            "unknown field `{key}`; a pair has `prompt`, `chosen` and `rejected`; take it out"
        ));
    }
    let opening = match field(object, "prompt")? {
        Field::Text(user) => Opening { system: String::new(), user },
        Field::Messages(messages) => prompt(messages)?,
    };
    let (chosen, rejected) = (answer(object, "chosen")?, answer(object, "rejected")?);
    if chosen == rejected {
        return Err("`chosen` and `rejected` are the same; a pair must differ; take the line out"
            .to_owned());
    }
    Ok(Comparison { opening, chosen, rejected })
}

enum Field {
    Text(String),
    /// Role and content of each.
    Messages(Vec<(String, String)>),
}

fn field(object: &Map<String, Value>, name: &str) -> Result<Field, String> {
    let wrong = |got: &Value| {
        let got = line::shown(&got.to_string());
        format!("`{name}` must be text that is not empty, or a list of messages, got: {got}")
    };
    match object.get(name) {
        None => Err(format!(
            "`{name}` is missing; a pair has `prompt`, `chosen` and `rejected`; where the prompt \
             stands inside the answers, take it out of them"
        )),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Field::Text(text.clone())),
        Some(Value::Array(items)) => {
            let text = |item: &Value, key| item.get(key).and_then(Value::as_str).map(str::to_owned);
            let of = |item: &Value| text(item, "role").zip(text(item, "content"));
            let messages = items.iter().map(|item| of(item).ok_or_else(|| wrong(item)));
            messages.collect::<Result<_, _>>().map(Field::Messages)
        }
        Some(other) => Err(wrong(other)),
    }
}

fn prompt(messages: Vec<(String, String)>) -> Result<Opening, String> {
    let roles: Vec<&str> = messages.iter().map(|(role, _)| role.as_str()).collect();
    let got = line::shown(&roles.join(", "));
    let mut texts = messages.iter().map(|(_, content)| content.clone());
    let mut next = || texts.next().unwrap_or_default();
    match roles[..] {
        ["user"] => Ok(Opening { system: String::new(), user: next() }),
        ["system", "user"] => Ok(Opening { system: next(), user: next() }),
        _ => Err(format!(
            "`prompt` must be one user message, after one of the system if any, got: {got}; longer \
             conversations are not read yet"
        )),
    }
}

fn answer(object: &Map<String, Value>, name: &str) -> Result<String, String> {
    match field(object, name)? {
        Field::Text(text) => Ok(text),
        Field::Messages(messages) => match &messages[..] {
            [(role, content)] if role == "assistant" && !content.trim().is_empty() => {
                Ok(content.clone())
            }
            other => {
                let roles: Vec<&str> = other.iter().map(|(role, _)| role.as_str()).collect();
                Err(format!(
                    "`{name}` must be one assistant message that is not empty, got: {}; what both \
                     answers share belongs into `prompt`",
                    line::shown(&roles.join(", "))
                ))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_messages_are_the_same_pair() {
        let text = r#"{"prompt": "q", "chosen": "a", "rejected": "b"}"#;
        let messages = r#"{"prompt": [{"role": "system", "content": "s"},
            {"role": "user", "content": "q"}],
            "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"}"#
            .replace('\n', " ");
        let loaded = parse("p.jsonl", format!("{text}\n\n{messages}\n").as_bytes()).unwrap();
        let pair = |system: &str| Comparison {
            opening: Opening { system: system.to_owned(), user: "q".to_owned() },
            chosen: "a".to_owned(),
            rejected: "b".to_owned(),
        };
        assert_eq!(loaded.pairs, [pair(""), pair("s")]);
        assert_eq!(loaded.line, [1, 3]);
    }

    #[test]
    fn faults_name_file_line_and_what_to_do() {
        let user = r#"{"role": "user", "content": "q"}"#;
        for (text, expect) in [
            ("\n".to_owned(), "p.jsonl: holds no pairs; expected one object per line"),
            ("[1]".to_owned(), "p.jsonl:1: expected an object, got: [1]"),
            (
                r#"{"chosen": "a", "rejected": "b"}"#.to_owned(),
                "p.jsonl:1: `prompt` is missing; a pair has `prompt`, `chosen` and `rejected`; \
                 where the prompt stands inside the answers, take it out of them",
            ),
            (
                r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score": 1}"#.to_owned(),
                "p.jsonl:1: unknown field `score`; a pair has `prompt`, `chosen` and `rejected`; \
                 take it out",
            ),
            (
                r#"{"prompt": "q", "chosen": "a", "rejected": "a"}"#.to_owned(),
                "p.jsonl:1: `chosen` and `rejected` are the same; a pair must differ; take the \
                 line out",
            ),
            (
                r#"{"prompt": "q", "chosen": 7, "rejected": "a"}"#.to_owned(),
                "p.jsonl:1: `chosen` must be text that is not empty, or a list of messages, got: 7",
            ),
            (
                format!(r#"{{"prompt": [{user}, {user}], "chosen": "a", "rejected": "b"}}"#),
                "p.jsonl:1: `prompt` must be one user message, after one of the system if any, \
                 got: user, user; longer conversations are not read yet",
            ),
            (
                format!(r#"{{"prompt": "q", "chosen": [{user}], "rejected": "b"}}"#),
                "p.jsonl:1: `chosen` must be one assistant message that is not empty, got: user; \
                 what both answers share belongs into `prompt`",
            ),
        ] {
            assert_eq!(parse("p.jsonl", text.as_bytes()).unwrap_err().to_string(), expect);
        }
    }
}
