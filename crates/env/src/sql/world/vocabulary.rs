//! Every word that a generated world can say, for a tokenizer over words.

use super::attribute::ATTRIBUTES;
use super::words::{NUMBERS, PUNCTUATION, SPEECH, TABLES, TAGS, YEARS};

/// All words in a fixed order, each once: tags, punctuation, digits, the numbers inside dates, the
/// words of queries and questions, names, values in all styles. Other numbers are spelled by
/// digits.
pub fn words() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut put = |word: &str| {
        if !all.iter().any(|known| known == word) {
            all.push(word.to_owned());
        }
    };
    [TAGS, PUNCTUATION].iter().flat_map(|list| list.split_whitespace()).for_each(&mut put);
    (0..10).for_each(|digit| put(&digit.to_string()));
    (1..=12).for_each(|month| put(&format!("{month:02}")));
    YEARS.iter().for_each(|year| put(year));
    SPEECH.split_whitespace().for_each(&mut put);
    for table in TABLES {
        put(table);
        put(&format!("{table}_id"));
    }
    NUMBERS.iter().for_each(|number| put(number));
    for attribute in ATTRIBUTES.iter() {
        put(attribute.word);
        attribute.columns.iter().for_each(|column| put(column));
        for wording in &attribute.values {
            pieces(&wording.spoken).iter().for_each(|piece| put(piece));
            wording.stored.iter().flat_map(|form| pieces(form)).for_each(&mut put);
        }
    }
    all
}

/// Cuts a text as tokenizers over words do: tags, runs of letters and `_`, runs of digits, and
/// single marks.
pub(super) fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let run = |of: fn(char) -> bool| rest.find(|letter| !of(letter)).unwrap_or(rest.len());
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        let tag = rest.find('>').filter(|end| {
            let inner = rest[..*end].trim_start_matches('<').trim_start_matches('/');
            first == '<' && !inner.is_empty() && inner.chars().all(letter)
        });
        let length = match tag {
            Some(end) => end + 1,
            None if letter(first) => run(letter),
            None if first.is_ascii_digit() => run(|c| c.is_ascii_digit()),
            None => first.len_utf8(),
        };
        pieces.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    pieces
}
