//! Values and tables: what a query returns, free of any database library's types (INV-22).

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// One cell.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Value {
    /// Unknown or absent.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating number; never NaN, which SQLite stores as NULL.
    Real(f64),
    /// Text; bytes that are not UTF-8 are replaced.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// The rows of one query.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// `[C]` names as the query gives them.
    pub columns: Vec<String>,
    /// `[R][C]` rows in the order they came.
    pub rows: Vec<Vec<Value>>,
}

impl Value {
    /// The number where there is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Integer(whole) => Some(*whole as f64),
            Value::Real(real) => Some(*real),
            Value::Null | Value::Text(_) | Value::Blob(_) => None,
        }
    }

    /// A total order: NULL, numbers by value, text, bytes. A whole number stands before a floating
    /// one of its value, and whole numbers that one floating number cannot tell apart stand in
    /// their own order: both keep the order transitive.
    pub(crate) fn order(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Text(a), Value::Text(b)) => a.cmp(b),
            (Value::Blob(a), Value::Blob(b)) => a.cmp(b),
            (a, b) => match (a.place(), b.place()) {
                (Some(a), Some(b)) => a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)),
                _ => a.class().cmp(&b.class()),
            },
        }
    }

    fn place(&self) -> Option<(f64, (bool, i64))> {
        match self {
            Value::Integer(whole) => Some((*whole as f64, (false, *whole))),
            // Minus zero is zero.
            Value::Real(real) => Some((real + 0.0, (true, 0))),
            Value::Null | Value::Text(_) | Value::Blob(_) => None,
        }
    }

    fn class(&self) -> u8 {
        match self {
            Value::Null => 0,
            Value::Integer(_) | Value::Real(_) => 1,
            Value::Text(_) => 2,
            Value::Blob(_) => 3,
        }
    }
}
