//! When two results are equal (DECISIONS 11).
//!
//! - Rows are tuples in column order; column names do not count, their number does, even where
//!   there are no rows.
//! - Rows form a multiset: order is free, duplicates count. They form a list where the gold query
//!   has `ORDER BY` outside all parentheses. With `set`, each row of an unordered result counts
//!   once.
//! - Whole and floating numbers are equal by value; where either is floating, within 1e-6 of the
//!   larger magnitude. NULL equals NULL. Text and bytes are exact; text `5` is not the number 5.
//!
//! Nearly equal numbers are no equivalence (a = b and b = c do not give a = c), so multisets are
//! matched row by row: after sorting, and where that fails, each row with the first that is free.

use std::cmp::Ordering;

use super::config::ResultCompare;
use super::lexer::{self, Kind};
use super::value::{Table, Value};

/// Relative distance within which two numbers are equal.
const TOLERANCE: f64 = 1e-6;
/// Row-by-row search is quadratic: beyond this many rows only the sorted comparison counts.
const SEARCHED_ROWS_MAX: usize = 1000;

/// How rows are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// Rows are a list.
    pub ordered: bool,
    /// Duplicates in unordered results.
    pub rows: ResultCompare,
}

impl Comparison {
    /// As a gold query asks for it.
    pub fn of(gold: &str, rows: ResultCompare) -> Comparison {
        Comparison { ordered: is_ordered(gold) && !stepwell_mutant::planted(24), rows }
    }

    /// True where the two results are equal.
    pub fn equal(self, a: &Table, b: &Table) -> bool {
        if a.columns.len() != b.columns.len() {
            return false;
        }
        if self.ordered {
            return same_list(
                &a.rows.iter().collect::<Vec<_>>(),
                &b.rows.iter().collect::<Vec<_>>(),
            );
        }
        let (a, b) = (sorted(&a.rows), sorted(&b.rows));
        match self.rows {
            ResultCompare::Multiset => same_list(&a, &b) || a.len() == b.len() && matched(&a, &b),
            ResultCompare::Set => held(&a, &b) && held(&b, &a),
        }
    }
}

/// A result as text for votes, which have no gold query: rows sorted, since its order may not
/// matter, and numbers to six digits, since equality of texts knows no tolerance.
pub(super) fn ballot(table: &Table) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        Value::Integer(whole) => format!("{:.5e}", *whole as f64),
        Value::Real(real) => format!("{real:.5e}"),
        Value::Text(text) => format!("{text:?}"),
        Value::Blob(bytes) => format!("{bytes:02x?}"),
    };
    let row = |row: &Vec<Value>| row.iter().map(cell).collect::<Vec<_>>().join(",");
    let mut rows: Vec<String> = table.rows.iter().map(row).collect();
    rows.sort();
    rows.insert(0, format!("{} columns", table.columns.len()));
    rows.join("\n")
}

/// True where a query orders its rows: `ORDER BY` outside all parentheses.
pub fn is_ordered(sql: &str) -> bool {
    let mut tokens = lexer::tokens(sql);
    tokens.retain(|token| token.kind != Kind::Comment);
    let mut depth = 0i64;
    for (at, token) in tokens.iter().enumerate() {
        depth += i64::from(token.is_symbol("(")) - i64::from(token.is_symbol(")"));
        let by = tokens.get(at + 1).is_some_and(|next| next.is_word("by"));
        if depth == 0 && token.is_word("order") && by {
            return true;
        }
    }
    false
}

/// True where two cells are equal.
pub fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Integer(a), Value::Integer(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Blob(a), Value::Blob(b)) => a == b,
        _ => match (a.number(), b.number()) {
            (Some(a), Some(b)) => close(a, b),
            _ => false,
        },
    }
}

fn close(a: f64, b: f64) -> bool {
    // Infinities are equal to themselves only: their distance is not a number.
    a.total_cmp(&b).is_eq()
        || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()) && (a - b).is_finite()
}

fn same_row(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
}

fn same_list(a: &[&Vec<Value>], b: &[&Vec<Value>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_row(a, b))
}

/// Rows in one order whatever order they came in. Texts and bytes decide before numbers, so that
/// two numbers within the tolerance do not tear apart rows that differ elsewhere.
fn sorted(rows: &[Vec<Value>]) -> Vec<&Vec<Value>> {
    let apart_from_numbers = |a: &Value, b: &Value| match (a.number(), b.number()) {
        (Some(_), Some(_)) => Ordering::Equal,
        _ => a.order(b),
    };
    let compare = |a: &[Value], b: &[Value], by: &dyn Fn(&Value, &Value) -> Ordering| {
        a.iter()
            .zip(b)
            .map(|(a, b)| by(a, b))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    let mut rows: Vec<&Vec<Value>> = rows.iter().collect();
    rows.sort_by(|a, b| {
        compare(a, b, &apart_from_numbers).then_with(|| compare(a, b, &Value::order))
    });
    rows
}

/// Gives each row the first free partner.
fn matched(a: &[&Vec<Value>], b: &[&Vec<Value>]) -> bool {
    let mut free = vec![true; b.len()];
    a.len() <= SEARCHED_ROWS_MAX
        && a.iter().all(|row| {
            let found = (0..b.len()).find(|&at| free[at] && same_row(row, b[at]));
            found.inspect(|&at| free[at] = false).is_some()
        })
}

/// True where every row of `a` has an equal in `b`. Past the limit of the search, a row's equal
/// must stand where the order puts it.
fn held(a: &[&Vec<Value>], b: &[&Vec<Value>]) -> bool {
    if a.len().max(b.len()) <= SEARCHED_ROWS_MAX {
        return a.iter().all(|row| b.iter().any(|other| same_row(row, other)));
    }
    let mut at = 0;
    a.iter().all(|row| {
        let found = (at..b.len()).find(|&place| same_row(row, b[place]));
        found.inspect(|&place| at = place).is_some()
    })
}
