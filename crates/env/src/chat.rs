//! Messages as the field's chat files write them: a list of objects with `role` and `content`.

use std::fmt;

use serde_json::{Map, Value};

use crate::tasks::line::{shown, shown_id};

/// Who says a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Instructions, before everything else.
    System,
    /// A person, or whatever asks.
    User,
    /// The policy.
    Assistant,
    /// A tool's result.
    Tool,
}

impl Role {
    const ALL: [Role; 4] = [Role::System, Role::User, Role::Assistant, Role::Tool];

    /// The word in files and in chat templates.
    pub fn word(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said; never interpreted.
    pub content: String,
}

impl Message {
    /// A message of this role.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message { role, content: content.into() }
    }
}

/// A message of a file, and whether it is to be trained where the file says so.
pub(crate) type Marked = (Message, Option<bool>);

/// The messages of a field: a list, or a text that stands for one message of `role`. With `marks`
/// a message may say `"train": false`. `Err` says what is expected.
pub(crate) fn messages(
    value: &Value,
    field: &str,
    role: Role,
    marks: bool,
) -> Result<Vec<Marked>, String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => {
            Ok(vec![(Message::new(role, text.as_str()), None)])
        }
        Value::Array(items) if !items.is_empty() => {
            let place = |at: usize| format!("message {} of `{field}`", at + 1);
            let read = |(at, item): (usize, &Value)| {
                message(item, marks).map_err(|what| format!("{}: {what}", place(at)))
            };
            items.iter().enumerate().map(read).collect()
        }
        other => {
            let got = shown(&other.to_string());
            Err(format!(
                "`{field}` must be text that is not empty, or a list of messages, got: {got}"
            ))
        }
    }
}

fn message(item: &Value, marks: bool) -> Result<Marked, String> {
    let object: &Map<String, Value> = item.as_object().ok_or_else(|| {
        let got = shown(&item.to_string());
        format!("expected an object with `role` and `content`, got: {got}")
    })?;
    let known = if marks { &["role", "content", "train"][..] } else { &["role", "content"][..] };
    if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
        let (key, known) = (shown_id(key).escape_debug().to_string(), known.join("`, `"));
        return Err(format!("unknown key `{key}`; known: `{known}`; take it out"));
    }
    let got = |key: &str| object.get(key).map_or("nothing".to_owned(), |v| shown(&v.to_string()));
    let role = object.get("role").and_then(Value::as_str);
    let role = Role::ALL.into_iter().find(|known| Some(known.word()) == role).ok_or_else(|| {
        let known = Role::ALL.map(Role::word).join("`, `");
        format!("`role` must be one of `{known}`, got: {}", got("role"))
    })?;
    let content = object.get("content").and_then(Value::as_str);
    let content =
        content.ok_or_else(|| format!("`content` must be text, got: {}", got("content")))?;
    let train = match object.get("train") {
        None => None,
        Some(Value::Bool(train)) => Some(*train),
        Some(_) => return Err(format!("`train` must be true or false, got: {}", got("train"))),
    };
    Ok((Message::new(role, content), train))
}

/// What every conversation must be that a policy reads: an optional system message, then one of
/// the user, and no system message later. `Err` says what is expected.
pub(crate) fn require_opening(messages: &[Message], field: &str) -> Result<(), String> {
    let rest = match messages {
        [Message { role: Role::System, .. }, rest @ ..] => rest,
        all => all,
    };
    if rest.first().is_none_or(|message| message.role != Role::User) {
        return Err(format!(
            "`{field}` must open with a user message, after the system's if any, got: {}",
            roles(messages)
        ));
    }
    match rest.iter().position(|message| message.role == Role::System) {
        None => Ok(()),
        Some(_) => Err(format!("a system message may only stand first, got: {}", roles(messages))),
    }
}

/// The roles of a conversation, as messages show them.
pub(crate) fn roles(messages: &[Message]) -> String {
    let words: Vec<&str> = messages.iter().map(|message| message.role.word()).collect();
    if words.is_empty() { "nothing".to_owned() } else { shown(&words.join(", ")) }
}

/// `file:line:column` of a field, whose name stands in the line as written.
pub(crate) fn place(name: &str, number: usize, text: &str, field: &str) -> String {
    match text.find(&format!("\"{field}\"")) {
        Some(at) => format!("{name}:{number}:{}", text[..at].chars().count() + 1),
        None => format!("{name}:{number}"),
    }
}
