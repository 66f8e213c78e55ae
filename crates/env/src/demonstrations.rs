//! Worked attempts, one conversation per line, as chat files write them, or a prompt and its
//! completion:
//!
//! ```text
//! {"messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "..."},
//!               {"role": "assistant", "content": "..."}, {"role": "tool", "content": "..."}, ...]}
//! {"prompt": "...", "completion": "..."}
//! {"prompt": [{"role": "user", "content": "..."}],
//!  "completion": [{"role": "assistant", "content": "..."}]}
//! ```
//!
//! An optional system message and one user message open it. Assistant messages are trained, unless
//! they say `"train": false` or stand in a `prompt`; all others are read and not trained.

use std::path::Path;

use serde_json::{Map, Value};
use stepwell_tree::{Demonstration, Opening, Segment};

use crate::EnvError;
use crate::chat::{Message, Role, messages, place, require_opening};
use crate::tasks::{fault, line, read};

/// Messages, and which of them are trained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conversation {
    /// `[M]` what is said.
    pub messages: Vec<Message>,
    /// `[M]` true where an `sft` stage trains it.
    pub train: Vec<bool>,
}

/// A file of demonstrations, read.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// `[D]` in file order.
    pub conversations: Vec<Conversation>,
    /// `[D]` the line of each, from 1.
    pub line: Vec<usize>,
    /// BLAKE3 of the file's bytes.
    pub digest: [u8; 32],
}

/// Reads a file of demonstrations.
///
/// Errors: no file, no lines, a line that is no conversation, one that does not open with a user
/// message or that trains nothing.
pub fn load(path: &Path) -> Result<Loaded, EnvError> {
    parse(&path.display().to_string(), &read(path)?)
}

/// Reads demonstrations from memory; `name` stands for the file in messages.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Loaded, EnvError> {
    let (mut conversations, mut numbers) = (Vec::new(), Vec::new());
    for (number, text) in line::lines(name, bytes)? {
        let object = line::object(name, number, text)?;
        let conversation = convert(&object).map_err(|(field, what)| {
            EnvError::Data(format!("{}: {what}", place(name, number, text, &field)))
        })?;
        conversations.push(conversation);
        numbers.push(number);
    }
    if conversations.is_empty() {
        return fault(format!("{name}: holds no demonstrations; expected one object per line"));
    }
    Ok(Loaded { conversations, line: numbers, digest: *blake3::hash(bytes).as_bytes() })
}

/// The field at fault, and what is expected.
type Wrong = (String, String);

fn convert(object: &Map<String, Value>) -> Result<Conversation, Wrong> {
    let pair = object.contains_key("prompt") || object.contains_key("completion");
    let known: &[&str] = if pair { &["prompt", "completion"] } else { &["messages"] };
    if let Some(key) = object.keys().find(|key| !known.contains(&key.as_str())) {
        let what = format!(
            "unknown field `{}`; a line has `messages`, or `prompt` and `completion`; take it out",
            line::shown_id(key).escape_debug()
        );
        return Err((key.clone(), what));
    }
    let field = |name: &'static str, role, marks| {
        let missing = || {
            let what = "a line has `messages`, or `prompt` and `completion`";
            (String::new(), format!("`{name}` is missing; {what}"))
        };
        let value = object.get(name).ok_or_else(missing)?;
        messages(value, name, role, marks).map_err(|what| (name.to_owned(), what))
    };
    let (opening, told) = match pair {
        true => {
            let prompt = field("prompt", Role::User, false)?;
            let given = prompt.into_iter().map(|(message, _)| (message, Some(false)));
            let completion = field("completion", Role::Assistant, true)?;
            if completion.first().is_some_and(|(first, _)| first.role != Role::Assistant) {
                let what = "`completion` must begin with an assistant message; what it answers \
                            belongs into `prompt`";
                return Err(("completion".to_owned(), what.to_owned()));
            }
            ("prompt", given.chain(completion).collect())
        }
        false => ("messages", field("messages", Role::User, true)?),
    };
    let train: Vec<bool> = told
        .iter()
        .map(|(message, train)| message.role == Role::Assistant && train.unwrap_or(true))
        .collect();
    let messages: Vec<Message> = told.into_iter().map(|(message, _)| message).collect();
    require_opening(&messages, opening).map_err(|what| (opening.to_owned(), what))?;
    let wrong = |what: &str| Err((opening.to_owned(), what.to_owned()));
    let empty = |(message, train): (&Message, &bool)| *train && message.content.is_empty();
    match train.contains(&true) {
        false => wrong("no assistant message to train on"),
        true if messages.iter().zip(&train).any(empty) => {
            wrong("an assistant message that is trained must not be empty; say `\"train\": false`")
        }
        true => Ok(Conversation { messages, train }),
    }
}

impl Conversation {
    /// The conversation as an environment would have it: everything after the first user message
    /// is one turn of the policy, with observations in it.
    pub fn inline(&self) -> Demonstration {
        let mut told = self.messages.iter().zip(&self.train).peekable();
        let mut next = |role| {
            let found = told.next_if(|(message, _)| message.role == role);
            found.map_or_else(String::new, |(message, _)| message.content.clone())
        };
        let opening = Opening { system: next(Role::System), user: next(Role::User) };
        let segment = |(message, train): (&Message, &bool)| Segment {
            text: message.content.clone(),
            train: *train,
            observation: message.role != Role::Assistant,
        };
        Demonstration { opening, segments: told.map(segment).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Conversation {
        parse("chat.jsonl", text.replace('\n', " ").as_bytes()).unwrap().conversations.remove(0)
    }

    #[test]
    fn a_conversation_becomes_an_opening_and_segments() {
        let text = r#"{"messages": [{"role": "system", "content": "s"},
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
            {"role": "tool", "content": "o"},
            {"role": "assistant", "content": "b", "train": false}]}"#;
        let segment =
            |text: &str, train, observation| Segment { text: text.to_owned(), train, observation };
        let expect = Demonstration {
            opening: Opening { system: "s".to_owned(), user: "q".to_owned() },
            segments: vec![
                segment("a", true, false),
                segment("o", false, true),
                segment("b", false, false),
            ],
        };
        assert_eq!(one(text).inline(), expect);
    }

    #[test]
    fn a_prompt_and_its_completion_are_texts_or_messages() {
        let text = one(r#"{"prompt": "q", "completion": "a"}"#);
        let user = r#"[{"role": "user", "content": "q"}]"#;
        let assistant = r#"[{"role": "assistant", "content": "a"}]"#;
        assert_eq!(one(&format!(r#"{{"prompt": {user}, "completion": {assistant}}}"#)), text);
        assert_eq!(text.train, [false, true]);
        // What the prompt's assistant said is read and not trained; two answers are.
        let long = one(r#"{"prompt": [{"role": "user", "content": "q"},
            {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}],
            "completion": [{"role": "assistant", "content": "b"},
            {"role": "tool", "content": "o"}, {"role": "assistant", "content": "c"}]}"#);
        assert_eq!(long.train, [false, false, false, true, false, true]);
        let roles: Vec<Role> = long.messages.iter().map(|message| message.role).collect();
        let [user, assistant, tool] = [Role::User, Role::Assistant, Role::Tool];
        assert_eq!(roles, [user, assistant, user, assistant, tool, assistant]);
    }

    #[test]
    fn faults_name_file_line_column_and_what_is_expected() {
        let user = r#"{"role": "user", "content": "q"}"#;
        for (text, expect) in [
            ("\n\n".to_owned(), "c.jsonl: holds no demonstrations; expected one object per line"),
            (
                "{\"messages\": [}".to_owned(),
                "c.jsonl:1:15: expected value (line starts: {\"messages\": [})",
            ),
            (
                "{\"messages\": []}".to_owned(),
                "c.jsonl:1:2: `messages` must be text that is not empty, or a list of messages, \
                 got: []",
            ),
            (
                format!("{{\"messages\": [{user}]}}"),
                "c.jsonl:1:2: no assistant message to train on",
            ),
            (
                "{\"messages\": [{\"role\": \"robot\", \"content\": \"q\"}]}".to_owned(),
                "c.jsonl:1:2: message 1 of `messages`: `role` must be one of `system`, `user`, \
                 `assistant`, `tool`, got: \"robot\"",
            ),
            (
                format!("\n{{\"prompt\": \"é\", \"completion\": [{user}, 5]}}"),
                "c.jsonl:2:17: message 2 of `completion`: expected an object with `role` and \
                 `content`, got: 5",
            ),
            (
                format!("{{\"prompt\": \"q\", \"completion\": [{user}]}}"),
                "c.jsonl:1:17: `completion` must begin with an assistant message; what it answers \
                 belongs into `prompt`",
            ),
            (
                "{\"prompt\": \"q\"}".to_owned(),
                "c.jsonl:1: `completion` is missing; a line has `messages`, or `prompt` and \
                 `completion`",
            ),
            (
                "{\"text\": \"q\"}".to_owned(),
                "c.jsonl:1:2: unknown field `text`; a line has `messages`, or `prompt` and \
                 `completion`; take it out",
            ),
            (
                "{\"prompt\": \"q\", \"completion\": [{\"role\": \"assistant\", \"content\": \
                 null}]}"
                    .to_owned(),
                "c.jsonl:1:17: message 1 of `completion`: `content` must be text, got: null",
            ),
            (
                "{\"prompt\": \"q\", \"completion\": [{\"role\": \"assistant\", \"name\": \
                 \"x\"}]}"
                    .to_owned(),
                "c.jsonl:1:17: message 1 of `completion`: unknown key `name`; known: `role`, \
                 `content`, `train`; take it out",
            ),
        ] {
            assert_eq!(parse("c.jsonl", text.as_bytes()).unwrap_err().to_string(), expect);
        }
    }
}
