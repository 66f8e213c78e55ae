//! What can be wrong with a tokenizer.

/// Why a tokenizer was refused or could not encode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The file is not a `tokenizer.json`.
    #[error("tokenizer.json: {problem}; save it with transformers' `save_pretrained`")]
    Unreadable {
        /// What does not fit.
        problem: String,
    },
    /// A merge has a result or a part that no id stands for.
    #[error("tokenizer.json: merge {number} makes `{token}`, which is not in the vocabulary")]
    Merge {
        /// Counted from 0.
        number: usize,
        /// The token that is lacking.
        token: String,
    },
    /// Text could be lost: a byte has no spelling.
    #[error("tokenizer.json: cannot encode byte 0x{byte:02X}: {problem}")]
    Byte {
        /// The first such byte.
        byte: u8,
        /// What would spell it.
        problem: &'static str,
    },
    /// An added token is out of range, empty, or there twice.
    #[error("tokenizer.json: added token \"{name}\": {problem}")]
    Added {
        /// Its text.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// A pattern that would take hours for a long text.
    #[error(
        "tokenizer.json: its pattern takes longer than 0.3 s to cut 16 kB of \"{unit}\"; use a \
         tokenizer whose pattern does not look ahead without bound"
    )]
    Slow {
        /// What the text repeated.
        unit: String,
    },
    /// A control token was asked for that the vocabulary does not have.
    #[error("control token `{name}` is not in the tokenizer: expected one of {known}")]
    UnknownControl {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A task set has more words than a vocabulary may hold.
    #[error("too many words: got {got}, expected at most {most}; use a byte-level tokenizer")]
    TooManyWords {
        /// Distinct words.
        got: usize,
        /// The limit.
        most: usize,
    },
}

impl TokenizerError {
    pub(crate) fn unreadable(problem: impl Into<String>) -> Self {
        Self::Unreadable { problem: problem.into() }
    }
}
