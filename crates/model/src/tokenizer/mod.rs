//! Text to ids and back.
//!
//! Three sources, one path: a Hugging Face `tokenizer.json`, a word list made from a task set
//! ([`Tokenizer::from_words`]) and plain bytes ([`Tokenizer::bytes`]). The latter two are written
//! as a `tokenizer.json` first and read back, so that transformers encodes as we do.
//!
//! **Content cannot forge structure (P17).** The encoder is built without any control token:
//! `<|im_end|>` in a question is ten ordinary characters. Control ids come from
//! [`Tokenizer::control`] by name only.

mod alphabet;
mod document;
mod error;
/// Named maxima of tokenizers.
pub(crate) mod limits {
    pub use super::document::{ADDED_MAX as ADDED_TOKENS, ID_MAX as TOKEN_IDS};
    pub use super::words::WORDS_MAX as WORDS;
}
mod own;
mod stop;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;

pub use self::error::TokenizerError;
pub use self::stop::StopMatcher;
pub use self::words::{normalise, words_of};

/// Ends a text made by our own tokenizers.
pub const END: &str = "<|end|>";
/// Opens what the policy reads, in our own template.
pub const PROMPT: &str = "<|prompt|>";
/// Opens what the policy writes, in our own template.
pub const ANSWER: &str = "<|answer|>";
/// What a word tokenizer cannot spell.
pub const UNKNOWN: &str = "<|unknown|>";

/// Part of a text to be encoded: content, or a control token by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The control token with this name.
    Control(&'a str),
    /// Text that no control token can come from.
    Text(&'a str),
}

/// A token that text cannot produce.
#[derive(Clone, Debug)]
struct Control {
    name: String,
    /// Role markers and ends are not shown; Qwen3's `<think>` is, although no text forges it.
    shown: bool,
}

/// How ids are joined to text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joining {
    /// By the decoder of the tokenizer's own file.
    Decoder,
    /// By the word rule (`words.rs`).
    Words,
}

/// Text to ids and back. Cheap to share, immutable but for the ends of text.
pub struct Tokenizer {
    /// Knows no control token, no post-processor, no truncation.
    content: tokenizers::Tokenizer,
    joining: Joining,
    /// The file as it was given: what is saved is what was loaded.
    json: Vec<u8>,
    control: BTreeMap<u32, Control>,
    by_name: BTreeMap<String, u32>,
    unknown: Option<(u32, String)>,
    /// Characters with a byte that this vocabulary lacks are spelled U+FFFD.
    unspellable: Vec<u8>,
    end_of_text: Vec<u32>,
    vocabulary: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("joining", &self.joining)
            .field("vocabulary", &self.vocabulary)
            .field("controls", &self.by_name)
            .field("end_of_text", &self.end_of_text)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads a Hugging Face `tokenizer.json`. Notes say what was ignored.
    ///
    /// # Errors
    /// If the file is not one, or would lose text, or would make the encoder fail later.
    pub fn from_json(bytes: &[u8]) -> Result<(Self, Vec<String>), TokenizerError> {
        let document::Read { content, joining, controls, unknown, unspellable, vocabulary, notes } =
            document::read(bytes)?;
        let mut control = BTreeMap::new();
        let mut by_name = BTreeMap::new();
        for added in controls {
            by_name.insert(added.name.clone(), added.id);
            control.insert(added.id, Control { name: added.name, shown: !added.special });
        }
        let end_of_text = by_name.get(END).copied().into_iter().collect();
        let json = bytes.to_vec();
        let made = Self {
            content,
            joining,
            json,
            control,
            by_name,
            unknown,
            unspellable,
            end_of_text,
            vocabulary,
        };
        Ok((made, notes))
    }

    /// The ids of a text, without any control token, whatever the text says (P17).
    ///
    /// Characters that the vocabulary cannot spell become U+FFFD, or `?` if that is lacking too.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let spelled = self.spellable(text);
        match self.joining {
            Joining::Decoder => self.encode_part(&spelled),
            Joining::Words => words::chunks(&spelled)
                .into_iter()
                .flat_map(|part| self.encode_part(part))
                .collect(),
        }
    }

    fn encode_part(&self, text: &str) -> Vec<u32> {
        match self.content.encode_fast(text, false) {
            Ok(encoding) => encoding.get_ids().to_vec(),
            // The pre-tokenizer's pattern gave up on the whole text (its backtracking is
            // limited). One character at a time cannot: longer, but the same text.
            Err(_) => {
                let one = |c: char| self.content.encode_fast(c.to_string(), false).ok();
                text.chars().filter_map(one).flat_map(|e| e.get_ids().to_vec()).collect()
            }
        }
    }

    fn spellable<'t>(&self, text: &'t str) -> std::borrow::Cow<'t, str> {
        if self.unspellable.is_empty() || !text.bytes().any(|b| self.unspellable.contains(&b)) {
            return text.into();
        }
        let lacks = |c: char| {
            let mut buffer = [0; 4];
            c.encode_utf8(&mut buffer).bytes().any(|byte| self.unspellable.contains(&byte))
        };
        let stand_in = if lacks('\u{fffd}') { '?' } else { '\u{fffd}' };
        text.chars().map(|c| if lacks(c) { stand_in } else { c }).collect()
    }

    /// The ids of content and control tokens in order; content is encoded piece by piece.
    ///
    /// # Errors
    /// If a control token has no id here.
    pub fn encode_pieces(&self, pieces: &[Piece<'_>]) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => ids.extend(self.encode(text)),
                Piece::Control(name) => {
                    ids.push(self.control(name).ok_or_else(|| TokenizerError::UnknownControl {
                        name: (*name).to_owned(),
                        known: self.by_name.keys().cloned().collect::<Vec<_>>().join(", "),
                    })?)
                }
            }
        }
        Ok(ids)
    }

    /// The text of ids. Role markers and ends are left out; an incomplete character, an id
    /// without a token and `<|unknown|>` are U+FFFD.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        match self.joining {
            Joining::Words => words::join(ids.iter().filter_map(|id| self.word(*id))),
            Joining::Decoder => self.decode_runs(ids),
        }
    }

    fn word(&self, id: u32) -> Option<words::Spelled> {
        if self.control.contains_key(&id) {
            return None;
        }
        if self.unknown.as_ref().is_some_and(|(unknown, _)| *unknown == id) {
            return Some(words::Spelled::unknown());
        }
        Some(self.content.id_to_token(id).map_or_else(words::Spelled::unknown, words::Spelled::new))
    }

    /// Runs between control tokens, each by the file's own decoder.
    fn decode_runs(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        let mut run = Vec::new();
        for id in ids {
            match self.control.get(id) {
                None => run.push(*id),
                Some(control) => {
                    text.push_str(&self.decode_run(&mut run));
                    if control.shown {
                        text.push_str(&control.name);
                    }
                }
            }
        }
        text.push_str(&self.decode_run(&mut run));
        text
    }

    fn decode_run(&self, run: &mut Vec<u32>) -> String {
        let decoded =
            if run.is_empty() { Ok(String::new()) } else { self.content.decode(run, false) };
        run.clear();
        decoded.unwrap_or_else(|_| '\u{fffd}'.to_string())
    }

    /// One past the largest id.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// The id of a control token by its name, such as `<|im_end|>`.
    #[must_use]
    pub fn control(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// The name of a control id.
    #[must_use]
    pub fn control_name(&self, id: u32) -> Option<&str> {
        self.control.get(&id).map(|control| control.name.as_str())
    }

    /// Every control token and its id, by name.
    pub fn controls(&self) -> impl Iterator<Item = (&str, u32)> {
        self.by_name.iter().map(|(name, id)| (name.as_str(), *id))
    }

    /// The token that stands for what cannot be spelled, if there is one.
    #[must_use]
    pub fn unknown(&self) -> Option<&str> {
        self.unknown.as_ref().map(|(_, name)| name.as_str())
    }

    /// Ids after which nothing follows.
    #[must_use]
    pub fn end_of_text(&self) -> &[u32] {
        &self.end_of_text
    }

    /// Replaces the ends of text: a folder names them in files of its own.
    pub fn set_end_of_text(&mut self, ids: Vec<u32>) {
        self.end_of_text = ids;
    }

    /// The `tokenizer.json` of this tokenizer.
    #[must_use]
    pub fn to_json(&self) -> &[u8] {
        &self.json
    }

    /// One token as a viewer shows it: its spelling, control or not.
    #[must_use]
    pub fn spelling(&self, id: u32) -> Option<String> {
        let control = self.control_name(id).map(str::to_owned);
        control.or_else(|| self.content.id_to_token(id))
    }
}
