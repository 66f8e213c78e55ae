//! What an answer is, and when two are the same.
//!
//! An answer is a number, a choice, several answers in order, or text. Two numbers are equal up to
//! 1e-6; a letter is a choice; lists have the same brackets and equal members in order; text is the
//! same text without blanks. Whether two *expressions* are equal is not decided: `x + 1` is not
//! `1 + x`, and a grader that guessed would be a grader to be fooled.

use std::fmt;

use super::latex;
use crate::calculator::answer;
use crate::calculator::number::Number;

/// Longest answer, in bytes.
pub const BYTES_MAX: usize = 500;
/// Largest exponent of a power.
pub const POWER_MAX: i32 = 100;

/// What an attempt answered.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// A number, exactly.
    Number(Number),
    /// One of the choices `A` to `J`.
    Choice(char),
    /// A tuple, an interval, a set, or answers with commas between them.
    Many {
        /// The brackets around them; blanks where there are none.
        brackets: (char, char),
        /// The members in order.
        members: Vec<Answer>,
    },
    /// Anything else, without blanks.
    Text(String),
}

/// Why a text is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nothing is left when commands and blanks are gone.
    Empty,
    /// Longer than an answer may be.
    TooLong,
    /// A character that looks like a digit and is none.
    LookAlike(char),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Empty => write!(f, "it is empty"),
            Refusal::TooLong => write!(f, "it is longer than {BYTES_MAX} bytes"),
            Refusal::LookAlike(letter) => {
                write!(f, "`{}` is none of the digits 0 to 9", letter.escape_default())
            }
        }
    }
}

/// Reads an answer, LaTeX or not.
///
/// # Errors
/// Why it is none.
pub fn read(text: &str) -> Result<Answer, Refusal> {
    if text.len() > BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    if let Some(letter) = text.chars().find(|c| c.is_numeric() && !c.is_ascii_digit()) {
        return Err(Refusal::LookAlike(letter));
    }
    let plain = latex::plain(text);
    if plain.is_empty() { Err(Refusal::Empty) } else { Ok(understood(&plain)) }
}

fn understood(plain: &str) -> Answer {
    if let Some(number) = number(plain) {
        return Answer::Number(number);
    }
    if let Some(letter) = choice(plain) {
        return Answer::Choice(letter);
    }
    let (brackets, inner) = match bracketed(plain) {
        Some((brackets, inner)) => (Some(brackets), inner),
        None => (None, plain),
    };
    let members: Vec<&str> = split(inner);
    match (brackets, members.len()) {
        (Some(('(', ')')), 1) => understood(inner),
        (None, 1) => Answer::Text(plain.split_whitespace().collect()),
        (brackets, _) => Answer::Many {
            brackets: brackets.unwrap_or((' ', ' ')),
            members: members.into_iter().map(understood).collect(),
        },
    }
}

/// A number with its unit, a mixed number or a power.
fn number(plain: &str) -> Option<Number> {
    let plain = plain.strip_suffix("^2").or(plain.strip_suffix("^3")).map_or(plain, |rest| {
        // Square and cubic units.
        if rest.ends_with(char::is_alphabetic) { rest } else { plain }
    });
    mixed(plain).or_else(|| power(plain)).or_else(|| answer::read(plain).ok())
}

/// `3 1/2`.
fn mixed(plain: &str) -> Option<Number> {
    let (whole, part) = plain.split_once(' ')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (top, bottom) = part.split_once('/')?;
    let unsigned = whole.strip_prefix(['-', '\u{2212}']).unwrap_or(whole);
    if ![unsigned, top, bottom].iter().all(|text| digits(text)) {
        return None;
    }
    let size = answer::read(unsigned).ok()?.plus(answer::read(part).ok()?).ok()?;
    Some(if unsigned.len() < whole.len() { size.negative() } else { size })
}

/// `10^3`, `3 * 10^(-5)`.
fn power(plain: &str) -> Option<Number> {
    let (left, exponent) = plain.split_once('^')?;
    let exponent = exponent.trim().trim_start_matches('(').trim_end_matches(')');
    let exponent: i32 = exponent.replace('\u{2212}', "-").parse().ok()?;
    if exponent.abs() > POWER_MAX {
        return None;
    }
    let (factor, base) = match left.rsplit_once('*') {
        Some((factor, base)) => (answer::read(factor).ok()?, base),
        None => (Number::new(1, 1).ok()?, left),
    };
    // A unit between base and exponent, `5 cm^3`, is no power.
    if !base.trim().ends_with(|letter: char| letter.is_ascii_digit()) {
        return None;
    }
    // The sign is the power's: -2^2 is -4.
    let unsigned = base.trim().trim_start_matches(['-', '\u{2212}']);
    let factor = if unsigned.len() < base.trim().len() { factor.negative() } else { factor };
    let base = answer::read(unsigned).ok()?;
    let step = |value: Number| {
        if exponent < 0 { value.over(base) } else { value.times(base) }
    };
    (0..exponent.abs()).try_fold(factor, |value, _| step(value)).ok()
}

/// `B`, `(B)`, `B.`, `B) 12 dollars`.
fn choice(plain: &str) -> Option<char> {
    let inner = plain.strip_prefix('(').unwrap_or(plain);
    let mut letters = inner.chars();
    let letter = letters.next().filter(|letter| ('A'..='J').contains(letter))?;
    match letters.next() {
        None => (inner.len() == plain.len()).then_some(letter),
        Some(')') => Some(letter),
        Some('.' | ':') if inner.len() == plain.len() => Some(letter),
        Some(_) => None,
    }
}

/// The brackets around the whole, and what is in them.
fn bracketed(plain: &str) -> Option<((char, char), &str)> {
    let (open, close) = (plain.chars().next()?, plain.chars().next_back()?);
    let pairs = "([{".contains(open) && ")]}".contains(close) && plain.len() >= 2;
    let inner = pairs.then(|| &plain[1..plain.len() - 1])?;
    // `(1, 2) and (3)`: the first bracket closes before the end.
    let mut depth = 0;
    for letter in inner.chars() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            return None;
        }
    }
    (depth == 0).then_some(((open, close), inner))
}

/// Parts between commas that are in no bracket.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts
}

impl Answer {
    /// True where it is compared letter by letter, or a member of it is.
    #[must_use]
    pub fn is_text(&self) -> bool {
        match self {
            Answer::Number(_) | Answer::Choice(_) => false,
            Answer::Many { members, .. } => members.iter().any(Answer::is_text),
            Answer::Text(_) => true,
        }
    }

    /// True where an attempt's answer is this one, the gold one.
    #[must_use]
    pub fn accepts(&self, other: &Answer) -> bool {
        match (self, other) {
            (Answer::Number(gold), Answer::Number(got)) => gold.agrees(*got),
            (Answer::Choice(gold), Answer::Choice(got)) => gold == got,
            (Answer::Choice(gold), Answer::Text(got)) => *got == gold.to_lowercase().to_string(),
            (
                Answer::Many { brackets, members },
                Answer::Many { brackets: others, members: got },
            ) => {
                let alike = members.iter().zip(got).all(|(gold, got)| gold.accepts(got));
                brackets == others && members.len() == got.len() && alike
            }
            (Answer::Text(gold), Answer::Text(got)) => {
                let word = gold.len() > 1 && gold.chars().all(char::is_alphabetic);
                gold == got || (word && gold.to_lowercase() == got.to_lowercase())
            }
            _ => false,
        }
    }
}

/// One text for equal answers, up to the rounding of numbers.
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Number(number) => write!(f, "{number}"),
            Answer::Choice(letter) => write!(f, "{letter}"),
            Answer::Many { brackets: (open, close), members } => {
                let members: Vec<String> = members.iter().map(Answer::to_string).collect();
                write!(f, "{}", format!("{open}{}{close}", members.join(", ")).trim())
            }
            Answer::Text(text) => write!(f, "{text}"),
        }
    }
}
