//! What the policy reads back:
//! `<result> name , age | Ann , 31 | Bo , NULL | 5 more rows </result>`.
//!
//! One line; every separator stands between spaces, so a tokenizer over words sees the same words
//! everywhere. The same answer gives the same bytes.

use super::answer::Answer;
use super::config::Config;
use super::markup;
use super::value::{Table, Value};

/// Bytes of one cell; longer text ends in `...`.
const CELL_BYTES_MAX: usize = 100;

/// The observation that answers a query.
pub(super) fn render(answer: &Answer, config: &Config) -> String {
    let text = match &answer.outcome {
        Ok(table) => rows(table, config.rows_shown, config.observation_bytes_max),
        Err(error) => format!("error | {}", spaced(&clip(&error.to_string(), CELL_BYTES_MAX))),
    };
    format!("<result> {} </result>", markup::neutral(&text))
}

fn rows(table: &Table, rows_shown: usize, bytes_max: usize) -> String {
    let line = |cells: &[String]| cells.join(" , ");
    let names: Vec<String> = table.columns.iter().map(|name| clip(name, CELL_BYTES_MAX)).collect();
    let mut text = clip(&line(&names), bytes_max);
    if table.rows.is_empty() {
        return text + " | no rows";
    }
    let mut shown = 0;
    for row in table.rows.iter().take(rows_shown) {
        let cells: Vec<String> = row.iter().map(cell).collect();
        let next = line(&cells);
        if text.len() + next.len() + " | ".len() > bytes_max {
            break;
        }
        text = text + " | " + &next;
        shown += 1;
    }
    match table.rows.len() - shown {
        0 => text,
        1 => text + " | 1 more row",
        more => format!("{text} | {more} more rows"),
    }
}

/// A cell as text. Numbers are rounded to six decimals for the reader; judging uses the value.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(whole) => whole.to_string(),
        Value::Real(real) => number(*real),
        Value::Text(text) => clip(text, CELL_BYTES_MAX),
        Value::Blob(bytes) => format!("blob of {} bytes", bytes.len()),
    }
}

fn number(real: f64) -> String {
    let magnitude = real.abs();
    if magnitude >= 1e15 || magnitude > 0.0 && magnitude < 1e-4 || !real.is_finite() {
        return format!("{real:e}");
    }
    let text = format!("{real:.6}");
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// One line of at most so many bytes, cut between characters.
fn clip(text: &str, bytes_max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= bytes_max {
        return line;
    }
    let end = (0..=bytes_max).rev().find(|&at| line.is_char_boundary(at)).unwrap_or(0);
    format!("{} ...", line[..end].trim_end())
}

/// Punctuation of an error between spaces: `no such column : nme`.
fn spaced(text: &str) -> String {
    let mut words = String::new();
    for letter in text.chars() {
        if matches!(letter, ':' | ',' | '(' | ')' | '"' | ';') {
            words.extend([' ', letter, ' ']);
        } else {
            words.push(letter);
        }
    }
    clip(&words, usize::MAX)
}
