//! Prompts of the user's own: a text with the fields of a task in braces.
//!
//! `Question: {question}` has one field; `{{` and `}}` stand for braces. What a field holds is put
//! in as it is and never read as a template, and the whole is content: no text in it can become a
//! control token (INV-21).

use std::fmt;

use stepwell_tree::{Environment, Episode, Key, Opening, Task, UnscoredReason};

/// A prompt that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prompt {
    source: String,
    piece: Vec<Piece>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    Text(String),
    Field(String),
}

impl Prompt {
    /// Reads a template. `Err` says what is wrong with it and where, in characters from 1.
    pub fn new(source: &str) -> Result<Prompt, String> {
        let mut piece = Vec::new();
        let mut text = String::new();
        let mut letters = source.chars().enumerate().peekable();
        while let Some((at, letter)) = letters.next() {
            let twice = letters.next_if(|(_, next)| *next == letter && "{}".contains(letter));
            match letter {
                '{' | '}' if twice.is_some() => text.push(letter),
                '}' => {
                    return Err(format!(
                        "has a `}}` that closes nothing, at character {}; write `}}}}` for a brace",
                        at + 1
                    ));
                }
                '{' => {
                    let mut name = String::new();
                    let closed = loop {
                        match letters.next() {
                            Some((_, '}')) => break true,
                            Some((_, letter)) if is_of_name(letter) => name.push(letter),
                            _ => break false,
                        }
                    };
                    if !closed || name.is_empty() {
                        return Err(format!(
                            "has a `{{` at character {} that opens no field; write a field as \
                             `{{question}}`, and `{{{{` for a brace",
                            at + 1
                        ));
                    }
                    if !text.is_empty() {
                        piece.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    piece.push(Piece::Field(name));
                }
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            piece.push(Piece::Text(text));
        }
        Ok(Prompt { source: source.to_owned(), piece })
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The fields it names, in order.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.piece.iter().filter_map(|piece| match piece {
            Piece::Field(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The prompt with every field put in; a field that is not there stays empty.
    pub fn fill<'t>(&self, value: impl Fn(&str) -> Option<&'t str>) -> String {
        let text = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(name) => value(name).unwrap_or_default().to_owned(),
        };
        self.piece.iter().map(text).collect()
    }
}

impl Default for Prompt {
    /// The question on a line of its own.
    fn default() -> Self {
        let line = Piece::Text("\n".to_owned());
        let piece = vec![Piece::Field("question".to_owned()), line];
        Prompt { source: "{question}\n".to_owned(), piece }
    }
}

impl fmt::Display for Prompt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// An environment under a prompt of the user's own.
pub struct Prompted {
    /// What answers and judges, and whose own prompt the field `own` is.
    pub environment: Box<dyn Environment>,
    /// What the policy reads in its place.
    pub prompt: Prompt,
}

impl Prompted {
    /// Fields that every task has: its question, and what the environment itself would say.
    pub const FIELDS: [&'static str; 2] = ["question", "own"];
}

impl Environment for Prompted {
    fn name(&self) -> &'static str {
        self.environment.name()
    }

    fn opening(&self, task: &Task) -> Opening {
        let Opening { system, user } = self.environment.opening(task);
        let own = if system.is_empty() { user } else { format!("{system}\n\n{user}") };
        let value = |name: &str| match name {
            "question" => Some(task.question.as_str()),
            "own" => Some(own.as_str()),
            _ => None,
        };
        Opening { system: String::new(), user: self.prompt.fill(value) }
    }

    fn stop_strings(&self) -> Vec<String> {
        self.environment.stop_strings()
    }

    fn reward_range(&self) -> (f64, f64) {
        self.environment.reward_range()
    }

    fn parts(&self) -> Vec<String> {
        self.environment.parts()
    }

    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        self.environment.start(task, key)
    }

    fn answer(&self, task: &Task, text: &str) -> Option<String> {
        self.environment.answer(task, text)
    }

    fn hint(&self, task: &Task) -> Option<String> {
        self.environment.hint(task)
    }

    fn weakness(&self) -> Option<String> {
        self.environment.weakness()
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_put_in_and_never_read_again() {
        let prompt = Prompt::new("Q: {question}\n{{json}} {evidence}!").unwrap();
        assert_eq!(prompt.fields().collect::<Vec<_>>(), ["question", "evidence"]);
        let filled = prompt.fill(|name| Some(if name == "question" { "{evidence}" } else { "e" }));
        assert_eq!(filled, "Q: {evidence}\n{json} e!");
        let default = Prompt::default();
        assert_eq!(Prompt::new(default.source()), Ok(default));
    }

    #[test]
    fn an_environment_is_put_under_another_prompt() {
        use crate::math_answer::{Config, Form, MathAnswerEnvironment};
        let config = Config { form: Form::Tags, ..Config::default() };
        let environment = Box::new(MathAnswerEnvironment::new(config).unwrap());
        let task = Task {
            id: "a".to_owned(),
            question: "2 + 3?".to_owned(),
            fields: [("answer".to_owned(), "5".to_owned())].into(),
        };
        let own = environment.opening(&task);
        let prompt = Prompt::new("Think of {question}\n{own}").unwrap();
        let prompted = Prompted { environment, prompt };
        let expected = format!("Think of 2 + 3?\n{}", own.user);
        assert_eq!(prompted.opening(&task), Opening { system: own.system, user: expected });
        assert_eq!((prompted.name(), prompted.reward_range()), ("math_answer", (0.0, 1.0)));
        assert_eq!(prompted.answer(&task, "<answer>5</answer>"), Some("5".to_owned()));
        assert_eq!(prompted.hint(&task), Some("Hint: the answer is 5".to_owned()));
    }

    #[test]
    fn faults_name_the_place() {
        let closes = |at| {
            format!("has a `}}` that closes nothing, at character {at}; write `}}}}` for a brace")
        };
        let opens = |at| {
            format!(
                "has a `{{` at character {at} that opens no field; write a field as `{{question}}`, \
                 and `{{{{` for a brace"
            )
        };
        for (text, expect) in [
            ("a }", closes(3)),
            ("{question}}", closes(11)),
            ("{", opens(1)),
            ("é {}", opens(3)),
            ("{a b}", opens(1)),
            ("{a.b}", opens(1)),
            ("{{{question", opens(3)),
        ] {
            assert_eq!(Prompt::new(text).unwrap_err(), expect, "{text}");
        }
    }
}
