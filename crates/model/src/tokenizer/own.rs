//! Tokenizers made here: from a word list, and from bytes.

use super::{Tokenizer, TokenizerError, alphabet, words};

impl Tokenizer {
    /// A tokenizer whose vocabulary is these words (each item may hold several; they are split by
    /// the word rule) and the printable ASCII characters, from which any other word is spelled.
    ///
    /// The rule, exactly. Text is cut into pieces: a tag (`<think>`, `</final_sql>`); a run of
    /// letters, digits and `_`, with an apostrophe between letters, a point between digits and a
    /// minus sign before a number inside it; an operator (`<=`, `<>`, `||`, `####` ...); a
    /// newline; any other character that is not blank. A piece in the vocabulary is one id;
    /// any other is one id per character, the second and later ones from a set of their own, so
    /// that `4 7` and `47` differ. A character that is in no word and not ASCII is `<|unknown|>`,
    /// decoded as U+FFFD.
    ///
    /// Decoding puts one space between two pieces, none around a newline. Between two equal
    /// quotes (`'` or `"`) punctuation is joined to its neighbours, so that `'2021-03'` and
    /// `'New York'` come back as SQL needs them. `decode(encode(x)) == normalise(x)`, where
    /// [`normalise`] cuts and joins without ids.
    ///
    /// # Errors
    /// If there are more than 1,000,000 distinct words.
    pub fn from_words<W: AsRef<str>>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, TokenizerError> {
        let json = words::document(words)?;
        Self::from_json(&json).map(|(made, _)| made)
    }

    /// One id per byte, which is the byte, and controls from 256 on. Decoding is exact for text;
    /// bytes that are no UTF-8 come back as U+FFFD.
    ///
    /// # Panics
    /// Never: the file is made here and has every byte.
    #[must_use]
    pub fn bytes() -> Self {
        let json = alphabet::byte_document();
        match Self::from_json(&json) {
            Ok((made, _)) => made,
            Err(wrong) => panic!("the byte tokenizer is made here: {wrong}"),
        }
    }
}
