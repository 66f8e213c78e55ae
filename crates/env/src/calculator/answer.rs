//! Reads the number of an answer.
//!
//! ```text
//! answer  = [ sign ] [ currency ] [ sign ] number [ exponent ] [ "/" number ] [ unit ]
//! number  = digits, thousands in groups of three, decimals
//! unit    = letters and % $ € £ ' - / . without any digit
//! ```
//!
//! One number and what it counts, nothing else: an answer that lists numbers, names a range or
//! leaves a calculation open is refused, and so are digits that only look like 0 to 9. A percent
//! sign is a unit: `20%` is 20, as graders of word problems read it. The minus of typesetters
//! (U+2212) is a sign.

use std::fmt;

use super::expression::Fault;
use super::number::{Number, written};

/// Longest answer, in bytes.
pub const BYTES_MAX: usize = 100;

/// Why a text is no answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nothing but blanks.
    Empty,
    /// Longer than an answer may be.
    TooLong,
    /// It does not begin with a number.
    NotANumber,
    /// A digit stands after the number: there are several, or it is part of something larger.
    Several,
    /// A character that looks like a digit.
    LookAlike(char),
    /// A character that is no part of an answer.
    Unknown(char),
    /// The number itself is wrong or too large.
    Number(Fault),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Empty => write!(f, "it is empty"),
            Refusal::TooLong => write!(f, "it is longer than {BYTES_MAX} bytes"),
            Refusal::NotANumber => write!(f, "it does not begin with a number"),
            Refusal::Several => write!(f, "more digits follow the number"),
            Refusal::LookAlike(letter) => {
                write!(f, "`{}` is none of the digits 0 to 9", letter.escape_default())
            }
            Refusal::Unknown(letter) => {
                write!(f, "`{}` is no part of an answer", letter.escape_default())
            }
            Refusal::Number(fault) => write!(f, "{fault}"),
        }
    }
}

/// The number that a text answers.
///
/// # Errors
/// The first reason why it is none.
pub fn read(text: &str) -> Result<Number, Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::Empty);
    }
    if text.len() > BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    if let Some(letter) = text.chars().find(|c| c.is_numeric() && !c.is_ascii_digit()) {
        return Err(Refusal::LookAlike(letter));
    }
    let (first_sign, rest) = sign(text);
    let rest = rest.trim_start_matches(currency).trim_start();
    let (second_sign, rest) = sign(rest);
    if !begins(rest) || (first_sign.is_some() && second_sign.is_some()) {
        return Err(Refusal::NotANumber);
    }
    let (number, length) = written(rest).map_err(Refusal::Number)?;
    let (number, rest) = scaled(number, &rest[length..])?;
    unit(rest)?;
    let negative = first_sign.or(second_sign) == Some(true);
    Ok(if negative { number.negative() } else { number })
}

fn currency(letter: char) -> bool {
    matches!(letter, '$' | '€' | '£')
}

fn begins(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.')
}

/// A leading sign: `Some(true)` where it is a minus.
fn sign(text: &str) -> (Option<bool>, &str) {
    for (mark, negative) in [('-', true), ('\u{2212}', true), ('+', false)] {
        if let Some(rest) = text.strip_prefix(mark) {
            return (Some(negative), rest.trim_start());
        }
    }
    (None, text)
}

/// An exponent and a divisor, where they follow.
fn scaled(mut number: Number, mut rest: &str) -> Result<(Number, &str), Refusal> {
    if let Some(tail) = rest.strip_prefix(['e', 'E']) {
        let (negative, digits) = match tail.strip_prefix(['-', '+']) {
            Some(digits) => (tail.starts_with('-'), digits),
            None => (false, tail),
        };
        let run = digits.bytes().take_while(u8::is_ascii_digit).count();
        if run > 0 {
            let too_large = || Refusal::Number(Fault::TooLarge);
            let power: i32 = digits[..run].parse().map_err(|_| too_large())?;
            let scale = Number::power_of_ten(if negative { -power } else { power });
            number = scale.and_then(|scale| number.times(scale)).map_err(Refusal::Number)?;
            rest = &digits[run..];
        }
    }
    if let Some(tail) = rest.strip_prefix('/')
        && begins(tail)
    {
        let (divisor, length) = written(tail).map_err(Refusal::Number)?;
        number = number.over(divisor).map_err(Refusal::Number)?;
        rest = &tail[length..];
    }
    Ok((number, rest))
}

/// Refuses what is no unit.
fn unit(text: &str) -> Result<(), Refusal> {
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            return Err(Refusal::Several);
        }
        let known = letter.is_alphabetic() || letter.is_whitespace() || currency(letter);
        if !known && !matches!(letter, '%' | '\'' | '-' | '/' | '.') {
            return Err(Refusal::Unknown(letter));
        }
    }
    Ok(())
}
