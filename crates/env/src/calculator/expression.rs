//! The calculator: one line of arithmetic to an exact number, or what is wrong with it.
//!
//! ```text
//! expression = sign* value { operator sign* value }
//! value      = ( [ "$" ] number | "(" expression ")" ) { "%" }
//! operator   = "+" | "-" | "−" | "–" | "*" | "×" | "x" | "X" | "·" | "/" | "÷"
//! number     = digits, thousands in groups of three, decimals:  12   1,000   .5
//! ```
//!
//! Products bind tighter than sums, signs tighter than products, all from the left; `20%` is 0.2.
//! Total and linear: two stacks, no recursion, bounded length and depth.

use std::fmt;

use super::number::{Number, written};

/// Longest expression, in bytes.
pub const BYTES_MAX: usize = 200;
/// Most open parentheses.
pub const DEPTH_MAX: usize = 32;

/// What is wrong with an expression; the policy reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing to calculate.
    Empty,
    /// Longer than the calculator reads.
    TooLong,
    /// A character that is no part of arithmetic.
    Unknown(char),
    /// Digits that are no number: `1,00`.
    BadNumber(String),
    /// A number is missing here; `None` at the end.
    ExpectedNumber(Option<char>),
    /// An operator is missing before this.
    ExpectedOperator(char),
    /// A parenthesis without its other half.
    Unbalanced(char),
    /// Parentheses deeper than the calculator goes.
    TooDeep,
    /// A divisor of 0.
    DivisionByZero,
    /// A number past 10^30, or finer than 10^-30.
    TooLarge,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Empty => write!(f, "nothing to calculate"),
            Fault::TooLong => write!(f, "too long"),
            Fault::Unknown(letter) => write!(f, "unknown character {}", letter.escape_default()),
            Fault::BadNumber(text) => write!(f, "not a number: {text}"),
            Fault::ExpectedNumber(Some(found)) => write!(f, "expected a number before {found}"),
            Fault::ExpectedNumber(None) => write!(f, "expected a number at the end"),
            Fault::ExpectedOperator(found) => write!(f, "expected an operator before {found}"),
            Fault::Unbalanced(half) => write!(f, "parenthesis {half} has no other half"),
            Fault::TooDeep => write!(f, "too many parentheses"),
            Fault::DivisionByZero => write!(f, "division by zero"),
            Fault::TooLarge => write!(f, "number too large"),
        }
    }
}

/// A result and what it was made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evaluated {
    /// The result.
    pub value: Number,
    /// True where it was calculated: there is an operation, and the result is none of the numbers
    /// that went in. `12`, `12 + 0` and `1 * 12` only say what was known before.
    pub calculated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operator {
    Plus,
    Minus,
    Times,
    Over,
    /// A sign before a value.
    Negative,
    Open,
}

impl Operator {
    fn binds(self) -> u8 {
        match self {
            Operator::Open => 0,
            Operator::Plus | Operator::Minus => 1,
            Operator::Times | Operator::Over => 2,
            Operator::Negative => 3,
        }
    }

    fn of(letter: char) -> Option<Operator> {
        match letter {
            '+' => Some(Operator::Plus),
            '-' | '\u{2212}' | '\u{2013}' => Some(Operator::Minus),
            '*' | '×' | 'x' | 'X' | '·' => Some(Operator::Times),
            '/' | '÷' => Some(Operator::Over),
            _ => None,
        }
    }
}

/// Calculates.
///
/// # Errors
/// The first thing wrong, from the left.
pub fn evaluate(text: &str) -> Result<Evaluated, Fault> {
    let text = text.trim();
    if text.len() > BYTES_MAX {
        return Err(Fault::TooLong);
    }
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    let mut machine = Machine::default();
    let mut at = 0;
    while let Some(letter) = text[at..].chars().next() {
        at += match letter {
            _ if letter.is_whitespace() => letter.len_utf8(),
            _ if letter.is_ascii_digit() || matches!(letter, '.' | '$') => {
                let sign = usize::from(letter == '$');
                let (number, length) = match written(&text[at + sign..]) {
                    Err(_) if letter == '$' && !follows(&text[at + sign..]) => {
                        return Err(Fault::Unknown('$'));
                    }
                    read => read?,
                };
                machine.number(number, letter)?;
                sign + length
            }
            _ => {
                machine.mark(letter)?;
                letter.len_utf8()
            }
        };
    }
    machine.end()
}

/// True where a number begins here.
fn follows(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_digit() || letter == '.')
}

/// Dijkstra's two stacks.
#[derive(Default)]
struct Machine {
    values: Vec<Number>,
    operators: Vec<Operator>,
    /// Parentheses that are open.
    depth: usize,
    /// True where a value stands to the left, so that an operator must follow.
    after_value: bool,
    operations: usize,
    /// The numbers that went in.
    given: Vec<Number>,
}

impl Machine {
    fn number(&mut self, number: Number, first: char) -> Result<(), Fault> {
        if self.after_value {
            return Err(Fault::ExpectedOperator(first));
        }
        self.values.push(number);
        self.given.push(number);
        self.after_value = true;
        Ok(())
    }

    fn mark(&mut self, letter: char) -> Result<(), Fault> {
        match (letter, Operator::of(letter)) {
            ('(', _) => {
                if self.after_value {
                    return Err(Fault::ExpectedOperator('('));
                }
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return Err(Fault::TooDeep);
                }
                self.operators.push(Operator::Open);
            }
            (')', _) => {
                if self.depth == 0 {
                    return Err(Fault::Unbalanced(')'));
                }
                self.require_value(Some(')'))?;
                self.apply_down_to(1)?;
                self.operators.pop();
                self.depth -= 1;
            }
            ('%', _) => {
                self.require_value(Some('%'))?;
                let value = self.pop()?.over(Number::new(100, 1)?)?;
                self.values.push(value);
                self.operations += 1;
            }
            (_, Some(Operator::Minus)) if !self.after_value => {
                self.operators.push(Operator::Negative);
            }
            (_, Some(Operator::Plus)) if !self.after_value => {}
            (_, Some(operator)) => {
                self.require_value(Some(letter))?;
                self.apply_down_to(operator.binds())?;
                self.operators.push(operator);
                self.after_value = false;
            }
            (_, None) => return Err(Fault::Unknown(letter)),
        }
        Ok(())
    }

    fn require_value(&self, found: Option<char>) -> Result<(), Fault> {
        if self.after_value { Ok(()) } else { Err(Fault::ExpectedNumber(found)) }
    }

    fn end(mut self) -> Result<Evaluated, Fault> {
        self.require_value(None)?;
        if self.depth > 0 {
            return Err(Fault::Unbalanced('('));
        }
        self.apply_down_to(1)?;
        let value = self.pop()?;
        let calculated = self.operations > 0 && !self.given.contains(&value);
        Ok(Evaluated { value, calculated })
    }

    /// Applies what binds at least so tightly, from the top of the stack.
    fn apply_down_to(&mut self, binds: u8) -> Result<(), Fault> {
        while self.operators.last().is_some_and(|operator| operator.binds() >= binds) {
            let operator = self.operators.pop().ok_or(Fault::Empty)?;
            let right = self.pop()?;
            let value = match operator {
                Operator::Open => right,
                Operator::Negative => right.negative(),
                Operator::Plus => self.pop()?.plus(right)?,
                Operator::Minus => self.pop()?.minus(right)?,
                Operator::Times => self.pop()?.times(right)?,
                Operator::Over => self.pop()?.over(right)?,
            };
            self.operations += usize::from(operator != Operator::Negative);
            self.values.push(value);
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Number, Fault> {
        self.values.pop().ok_or(Fault::Empty)
    }
}
