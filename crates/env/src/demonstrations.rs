//! Worked attempts, one conversation per line, as chat files write them:
//!
//! ```text
//! {"messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "..."},
//!               {"role": "assistant", "content": "..."}, {"role": "tool", "content": "..."}, ...]}
//! ```
//!
//! An optional system message and one user message open it. What follows is the attempt: assistant
//! messages are trained, unless they say `"train": false`; tool and further user messages are
//! observations.

use std::path::Path;

use serde::Deserialize;
use stepwell_tree::{Demonstration, Opening, Segment};

use crate::EnvError;
use crate::tasks::{fault, line, read};

/// A file of demonstrations, read.
#[derive(Clone, PartialEq, Debug)]
pub struct Loaded {
    /// `[D]` in file order.
    pub demonstrations: Vec<Demonstration>,
    /// BLAKE3 of the file's bytes.
    pub digest: [u8; 32],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Conversation {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    role: Role,
    content: String,
    #[serde(default = "yes")]
    train: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    System,
    User,
    Assistant,
    Tool,
}

fn yes() -> bool {
    true
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
    let mut demonstrations = Vec::new();
    for (number, text) in line::lines(name, bytes)? {
        let conversation: Conversation = line::json(name, number, text)?;
        let demonstration = convert(conversation)
            .map_err(|what| EnvError::Data(format!("{name}:{number}: {what}")))?;
        demonstrations.push(demonstration);
    }
    if demonstrations.is_empty() {
        return fault(format!("{name}: holds no demonstrations; expected one object per line"));
    }
    Ok(Loaded { demonstrations, digest: *blake3::hash(bytes).as_bytes() })
}

fn convert(conversation: Conversation) -> Result<Demonstration, &'static str> {
    let mut messages = conversation.messages.into_iter().peekable();
    let system = messages.next_if(|message| message.role == Role::System);
    let user = messages.next_if(|message| message.role == Role::User);
    let user = user.ok_or("`messages` must open with a user message, after the system's if any")?;
    let segments: Vec<Segment> = messages
        .map(|Message { role, content, train }| match role {
            Role::System => Err("a system message may only stand first"),
            Role::Assistant => Ok(Segment { text: content, train, observation: false }),
            Role::User | Role::Tool => {
                Ok(Segment { text: content, train: false, observation: true })
            }
        })
        .collect::<Result<_, _>>()?;
    if !segments.iter().any(|segment| segment.train) {
        return Err("no assistant message to train on");
    }
    let system = system.map_or_else(String::new, |message| message.content);
    Ok(Demonstration { opening: Opening { system, user: user.content }, segments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_becomes_an_opening_and_segments() {
        let text = r#"{"messages": [{"role": "system", "content": "s"},
            {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
            {"role": "tool", "content": "o"},
            {"role": "assistant", "content": "b", "train": false}]}"#
            .replace('\n', " ");
        let loaded = parse("chat.jsonl", text.as_bytes()).unwrap();
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
        assert_eq!(loaded.demonstrations, [expect]);
    }

    #[test]
    fn faults_name_file_and_line() {
        for (text, expect) in [
            ("\n\n", "c.jsonl: holds no demonstrations; expected one object per line"),
            ("{\"messages\": [}", "c.jsonl:1:15: expected value (line starts: {\"messages\": [})"),
            (
                "{\"messages\": []}",
                "c.jsonl:1: `messages` must open with a user message, after the system's if any",
            ),
            (
                "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}]}",
                "c.jsonl:1: no assistant message to train on",
            ),
            (
                "{\"messages\": [{\"role\": \"robot\", \"content\": \"q\"}]}",
                "c.jsonl:1:30: unknown variant `robot`, expected one of `system`, `user`, \
                 `assistant`, `tool` (line starts: {\"messages\": [{\"role…)",
            ),
        ] {
            assert_eq!(parse("c.jsonl", text.as_bytes()).unwrap_err().to_string(), expect);
        }
    }
}
