//! The word rule: how our own tokenizer cuts text into pieces and joins pieces to text.
//!
//! The rule is stated for users at [`super::Tokenizer::from_words`]. It is a pattern and a BPE
//! model without merges, so that `tokenizer.json` says all of it and other programs encode alike.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::{ANSWER, END, PROMPT, TokenizerError, UNKNOWN, alphabet};

/// Pieces, first match wins: tag, word or number, operator, newline, anything else not blank.
pub(crate) const PATTERN: &str = concat!(
    r"</?[A-Za-z_][A-Za-z0-9_]*>",
    r"|(?:(?<![\p{L}\p{M}\p{N}_)\]])-(?=[0-9]))?",
    // Atomic: no match is ever shorter, and backtracking would be limited by its length.
    r"(?>[\p{L}\p{M}\p{N}_]+)(?>(?:(?<=[0-9])\.[0-9]+|'[A-Za-z]+)*)",
    r"|[<>=!]=|<>|\|\||\*\*|//|->|#+",
    r"|\n",
    r"|[^\s\p{L}\p{M}\p{N}_]",
);

/// Marks a character that continues a piece. It is a piece of one character in text, so no
/// piece of text begins with it and goes on.
pub(crate) const CONTINUED: char = '\u{2040}';

/// Most words of a vocabulary.
pub const WORDS_MAX: usize = 1_000_000;

/// A token of the vocabulary as text.
pub(crate) struct Spelled {
    text: String,
    continued: bool,
}

impl Spelled {
    pub(crate) fn new(token: String) -> Self {
        match token.strip_prefix(CONTINUED) {
            Some(rest) if !rest.is_empty() => Self { text: rest.to_owned(), continued: true },
            _ => Self { text: token, continued: false },
        }
    }

    pub(crate) fn unknown() -> Self {
        Self { text: '\u{fffd}'.to_string(), continued: false }
    }
}

static CUTTER: LazyLock<tokenizers::pre_tokenizers::split::Split> = LazyLock::new(|| {
    tokenizers::pre_tokenizers::split::Split::new(
        tokenizers::pre_tokenizers::split::SplitPattern::Regex(PATTERN.to_owned()),
        tokenizers::SplitDelimiterBehavior::Removed,
        true,
    )
    .expect("the pattern is a constant that the tests compile")
});

/// Longest text that the pattern sees at once. Where a match backtracks too often, the crate ends
/// the text there without a word; so it never sees enough for that.
const CHUNK_BYTES_MAX: usize = 16 << 10;

/// A long text in parts, cut before blanks, where the rule cuts anyway. A run of so many characters
/// without a blank is cut in two words.
pub(crate) fn chunks(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > CHUNK_BYTES_MAX {
        let boundary = (1..=CHUNK_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at));
        let most = boundary.unwrap_or(CHUNK_BYTES_MAX);
        let blank = text[..most].rfind(char::is_whitespace);
        let cut = blank.filter(|at| *at > 0).unwrap_or(most);
        let (part, rest) = text.split_at(cut);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

fn pieces(text: &str) -> Vec<String> {
    chunks(text).into_iter().flat_map(pieces_of_chunk).collect()
}

fn pieces_of_chunk(text: &str) -> Vec<String> {
    let mut cut = PreTokenizedString::from(text);
    if CUTTER.pre_tokenize(&mut cut).is_err() {
        return text.split_whitespace().map(str::to_owned).collect();
    }
    let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
    splits.into_iter().map(|(piece, _, _)| piece.to_owned()).collect()
}

/// The words of a text that a vocabulary should know: its pieces but numbers, which are better
/// spelled by digits than known one by one.
#[must_use]
pub fn words_of(text: &str) -> Vec<String> {
    let number =
        |piece: &String| piece.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    pieces(text).into_iter().filter(|piece| !number(piece)).collect()
}

/// What a text becomes when it is encoded and decoded by a word tokenizer.
#[must_use]
pub fn normalise(text: &str) -> String {
    join(pieces(text).into_iter().map(|text| Spelled { text, continued: false }))
}

/// Tokens as text.
pub(crate) fn join(tokens: impl Iterator<Item = Spelled>) -> String {
    let mut joiner = Joiner::default();
    let mut piece = String::new();
    for token in tokens {
        if !token.continued {
            joiner.push(&piece);
            piece.clear();
        }
        piece.push_str(&token.text);
    }
    joiner.push(&piece);
    joiner.text
}

/// What stands before the next piece.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Before {
    /// The start, a newline or an opening quote: no space follows.
    #[default]
    Open,
    /// Punctuation within quotes: no space follows.
    Glue,
    /// A word or number.
    Word,
    /// Anything else.
    Other,
}

#[derive(Default)]
struct Joiner {
    text: String,
    quote: Option<char>,
    before: Before,
}

impl Joiner {
    fn push(&mut self, piece: &str) {
        let Some(first) = piece.chars().next() else { return };
        let single = piece.chars().nth(1).is_none();
        let word = first.is_alphanumeric() || first == '_' || (first == '-' && !single);
        let tag = first == '<' && piece.ends_with('>') && piece.len() > 2;
        let quote = (single && matches!(first, '\'' | '"')).then_some(first);
        if first == '\n' || tag {
            // A quote that is still open here was an apostrophe: text goes on as usual.
            self.quote = None;
        }
        let closes = quote.is_some() && self.quote == quote;
        let inside = self.quote.is_some();
        let space = match self.before {
            Before::Open | Before::Glue => false,
            _ if first == '\n' || closes => false,
            Before::Word | Before::Other => !inside || word,
        };
        if space {
            self.text.push(' ');
        }
        self.text.push_str(piece);
        self.before = if first == '\n' || (quote.is_some() && !inside) {
            Before::Open
        } else if inside && !closes && !word && !matches!(first, ',' | ';') {
            Before::Glue
        } else if word {
            Before::Word
        } else {
            Before::Other
        };
        if closes {
            self.quote = None;
        } else if quote.is_some() && !inside {
            self.quote = quote;
        }
    }
}

/// The `tokenizer.json` of a word list.
pub(crate) fn document<W: AsRef<str>>(
    words: impl IntoIterator<Item = W>,
) -> Result<Vec<u8>, TokenizerError> {
    let mut known = BTreeSet::new();
    for word in words {
        known.extend(pieces(word.as_ref()));
    }
    if known.len() > WORDS_MAX {
        return Err(TokenizerError::TooManyWords { got: known.len(), most: WORDS_MAX });
    }
    let mut letters: BTreeSet<char> = ('!'..='~').collect();
    letters.extend(known.iter().flat_map(|word| word.chars()));
    letters.insert('\n');
    // Controls first, then characters, then words: each group sorted, so that the ids are a
    // function of the set and not of the order of tasks.
    let mut vocabulary: Map<String, Value> = Map::new();
    let singles = letters.iter().map(char::to_string);
    let continued =
        letters.iter().filter(|c| !c.is_whitespace()).map(|c| format!("{CONTINUED}{c}"));
    let controls = [UNKNOWN, END, PROMPT, ANSWER];
    let all = controls.iter().map(|name| (*name).to_owned());
    for token in all.chain(singles).chain(continued).chain(known.iter().cloned()) {
        let next = vocabulary.len();
        vocabulary.entry(token).or_insert_with(|| json!(next));
    }
    let added: Vec<Value> =
        controls.iter().zip(0..).map(|(name, id)| alphabet::added_token(name, id)).collect();
    Ok(assemble(&added, &vocabulary).to_string().into_bytes())
}

fn assemble(added: &[Value], vocabulary: &Map<String, Value>) -> Value {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Split", "pattern": { "Regex": PATTERN }, "behavior": "Removed", "invert": true
        },
        "post_processor": null,
        // Close to our own rule, which knows about quotes: a space before every piece.
        "decoder": {
            "type": "WordPiece", "prefix": CONTINUED.to_string(), "cleanup": false
        },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": CONTINUED.to_string(),
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": true,
            "vocab": vocabulary,
            "merges": [],
        },
    })
}
