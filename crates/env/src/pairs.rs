//! Pairs of answers, one per line, as preference files write them:
//!
//! ```text
//! {"prompt": "...", "chosen": "...", "rejected": "..."}
//! {"prompt": [{"role": "system", "content": "..."}, {"role": "user", "content": "..."}],
//!  "chosen": [{"role": "assistant", "content": "..."}],
//!  "rejected": [{"role": "assistant", "content": "..."}]}
//! ```
//!
//! Each of the three is a text or a list of messages: a prompt's texts are the user's, an answer's
//! the assistant's. A prompt may be a conversation of many turns. Where it is missing, `chosen` and
//! `rejected` are whole conversations, and what both begin with is the prompt.

use std::path::Path;

use serde_json::{Map, Value};

use crate::EnvError;
use crate::chat::{Message, Role, messages, place, require_opening, roles};
use crate::tasks::{fault, line, read};

/// A prompt and two answers, the first the better.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// What both answer; the last message is not the assistant's.
    pub prompt: Vec<Message>,
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
        let pair = convert(&object).map_err(|(field, what)| {
            EnvError::Data(format!("{}: {what}", place(name, number, text, &field)))
        })?;
        pairs.push(pair);
        numbers.push(number);
    }
    if pairs.is_empty() {
        return fault(format!("{name}: holds no pairs; expected one object per line"));
    }
    Ok(Loaded { pairs, line: numbers, digest: *blake3::hash(bytes).as_bytes() })
}

/// The field at fault, and what is expected.
type Wrong = (String, String);

fn convert(object: &Map<String, Value>) -> Result<Comparison, Wrong> {
    if let Some(key) = object.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        let what = format!(
            "unknown field `{}`; a pair has `prompt`, `chosen` and `rejected`; take it out",
            line::shown_id(key).escape_debug()
        );
        return Err((key.clone(), what));
    }
    let (mut chosen, mut rejected) = (field(object, "chosen")?, field(object, "rejected")?);
    if chosen == rejected {
        let what = "`chosen` and `rejected` are the same; a pair must differ; take the line out";
        return Err(("rejected".to_owned(), what.to_owned()));
    }
    let prompt = match object.get("prompt") {
        Some(_) => field(object, "prompt")?,
        None => shared(&mut chosen, &mut rejected)?,
    };
    require_opening(&prompt, "prompt").map_err(|what| ("prompt".to_owned(), what))?;
    if prompt.last().is_some_and(|last| last.role == Role::Assistant) {
        let what = format!(
            "`prompt` must not end with an assistant message, got: {}; the answers begin there",
            roles(&prompt)
        );
        return Err(("prompt".to_owned(), what));
    }
    let (chosen, rejected) = (answer(chosen, "chosen")?, answer(rejected, "rejected")?);
    Ok(Comparison { prompt, chosen, rejected })
}

fn field(object: &Map<String, Value>, name: &str) -> Result<Vec<Message>, Wrong> {
    let role = if name == "prompt" { Role::User } else { Role::Assistant };
    let missing = || {
        let what = format!("`{name}` is missing; a pair has `prompt`, `chosen` and `rejected`");
        (String::new(), what)
    };
    let value = object.get(name).ok_or_else(missing)?;
    let told = messages(value, name, role, false).map_err(|what| (name.to_owned(), what))?;
    Ok(told.into_iter().map(|(message, _)| message).collect())
}

/// Takes out of two conversations what both begin with.
fn shared(chosen: &mut Vec<Message>, rejected: &mut Vec<Message>) -> Result<Vec<Message>, Wrong> {
    let same = chosen.iter().zip(rejected.iter()).take_while(|(one, other)| one == other).count();
    if same == 0 {
        let what = "`prompt` is missing, and `chosen` and `rejected` do not begin with the same \
                    messages; a pair has `prompt`, `chosen` and `rejected`";
        return Err((String::new(), what.to_owned()));
    }
    rejected.drain(..same);
    Ok(chosen.drain(..same).collect())
}

fn answer(messages: Vec<Message>, name: &str) -> Result<String, Wrong> {
    match &messages[..] {
        [Message { role: Role::Assistant, content }] if !content.trim().is_empty() => {
            Ok(content.clone())
        }
        other => {
            let what = format!(
                "`{name}` must be one assistant message that is not empty, got: {}; what both \
                 answers share belongs into `prompt`",
                roles(other)
            );
            Err((name.to_owned(), what))
        }
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
        let pair = |prompt: &[(Role, &str)]| Comparison {
            prompt: prompt.iter().map(|(role, text)| Message::new(*role, *text)).collect(),
            chosen: "a".to_owned(),
            rejected: "b".to_owned(),
        };
        let user = (Role::User, "q");
        assert_eq!(loaded.pairs, [pair(&[user]), pair(&[(Role::System, "s"), user])]);
        assert_eq!(loaded.line, [1, 3]);

        // Many turns, told as a prompt or at the beginning of both answers.
        let said = |role: &str, text: &str| format!(r#"{{"role": "{role}", "content": "{text}"}}"#);
        let turns = [said("user", "q"), said("assistant", "x"), said("user", "r")].join(", ");
        let [a, b] = ["a", "b"].map(|text| said("assistant", text));
        let lines = format!(
            "{{\"prompt\": [{turns}], \"chosen\": [{a}], \"rejected\": [{b}]}}\n\
             {{\"chosen\": [{turns}, {a}], \"rejected\": [{turns}, {b}]}}\n"
        );
        let loaded = parse("p.jsonl", lines.as_bytes()).unwrap();
        let long = pair(&[user, (Role::Assistant, "x"), (Role::User, "r")]);
        assert_eq!(loaded.pairs, [long.clone(), long]);
    }

    #[test]
    fn faults_name_file_line_and_what_to_do() {
        let user = r#"{"role": "user", "content": "q"}"#;
        let answer = r#"{"role": "assistant", "content": "a"}"#;
        for (text, expect) in [
            ("\n".to_owned(), "p.jsonl: holds no pairs; expected one object per line"),
            ("[1]".to_owned(), "p.jsonl:1: expected an object, got: [1]"),
            (
                r#"{"chosen": "a", "rejected": "b"}"#.to_owned(),
                "p.jsonl:1: `prompt` is missing, and `chosen` and `rejected` do not begin with the \
                 same messages; a pair has `prompt`, `chosen` and `rejected`",
            ),
            (
                r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score": 1}"#.to_owned(),
                "p.jsonl:1:49: unknown field `score`; a pair has `prompt`, `chosen` and \
                 `rejected`; take it out",
            ),
            (
                r#"{"prompt": "q", "chosen": "a", "rejected": "a"}"#.to_owned(),
                "p.jsonl:1:32: `chosen` and `rejected` are the same; a pair must differ; take the \
                 line out",
            ),
            (
                r#"{"prompt": "q", "chosen": 7, "rejected": "a"}"#.to_owned(),
                "p.jsonl:1:17: `chosen` must be text that is not empty, or a list of messages, \
                 got: 7",
            ),
            (
                format!(r#"{{"prompt": [{user}, {answer}], "chosen": "a", "rejected": "b"}}"#),
                "p.jsonl:1:2: `prompt` must not end with an assistant message, got: user, \
                 assistant; the answers begin there",
            ),
            (
                format!(r#"{{"prompt": [{answer}], "chosen": "a", "rejected": "b"}}"#),
                "p.jsonl:1:2: `prompt` must open with a user message, after the system's if any, \
                 got: assistant",
            ),
            (
                format!(r#"{{"prompt": "q", "chosen": [{user}], "rejected": "b"}}"#),
                "p.jsonl:1:17: `chosen` must be one assistant message that is not empty, got: \
                 user; what both answers share belongs into `prompt`",
            ),
            (
                r#"{"prompt": "q", "chosen": [{"role": "bot"}], "rejected": "b"}"#.to_owned(),
                "p.jsonl:1:17: message 1 of `chosen`: `role` must be one of `system`, `user`, \
                 `assistant`, `tool`, got: \"bot\"",
            ),
        ] {
            assert_eq!(parse("p.jsonl", text.as_bytes()).unwrap_err().to_string(), expect);
        }
    }
}
