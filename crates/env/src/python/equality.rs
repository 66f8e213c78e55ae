//! When a value that a program returned is the one that a task expects.
//!
//! | expected (JSON) | returned (Python) |
//! |---|---|
//! | `null`, `true`, `false`, text | the same, of exactly that type: `True` is not `1` |
//! | a number | an `int` or `float` of the same value; with a fraction, within 1e-6 of it |
//! | a list | a `list` or `tuple` of equal length and items |
//! | an object | a `dict` with the same keys, in any order |
//!
//! A whole number past 64 bits is read from JSON as one with a fraction, and compared so.

use serde_json::Value as Json;
use stepwell_sandbox::python::Value;

/// How far a number with a fraction may be off, relative to it.
const TOLERANCE: f64 = 1e-6;

/// True where they are equal by the table above.
pub fn equal(expected: &Json, returned: &Value) -> bool {
    match (expected, returned) {
        (Json::Null, Value::None) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::String(a), Value::Str(b)) => a == b,
        (Json::Number(a), Value::Int(b)) => whole(a, b),
        (Json::Number(a), Value::Float(b)) => match a.as_i128() {
            Some(a) => *b == a as f64 && *b as i128 == a,
            None => a.as_f64().is_some_and(|a| near(a, *b)),
        },
        (Json::Array(a), Value::List(b) | Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Json::Object(a), Value::Dict(b)) => {
            // A dict's keys are different, so equal counts and every key found is equality.
            a.len() == b.len() && b.iter().all(|(key, b)| a.get(key).is_some_and(|a| equal(a, b)))
        }
        _ => false,
    }
}

/// A whole number of any size against one of JSON.
fn whole(expected: &serde_json::Number, returned: &str) -> bool {
    match (expected.as_i128(), returned.parse::<i128>()) {
        (Some(expected), Ok(returned)) => expected == returned,
        (Some(_), Err(_)) => false,
        // With a fraction or an exponent: by value.
        (None, _) => {
            let pair = expected.as_f64().zip(returned.parse().ok());
            pair.is_some_and(|(expected, returned)| near(expected, returned))
        }
    }
}

fn near(expected: f64, returned: f64) -> bool {
    let wide = TOLERANCE * expected.abs().max(returned.abs());
    expected == returned || (wide.is_finite() && (expected - returned).abs() <= wide)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_count_and_numbers_are_compared_by_value() {
        let int = |text: &str| Value::Int(text.to_owned());
        let text = |text: &str| Value::Str(text.to_owned());
        let list = || vec![int("1"), Value::None];
        for (expected, returned, same) in [
            (json!(1), int("1"), true),
            (json!(1), Value::Float(1.0), true),
            (json!(1), Value::Bool(true), false),
            (json!(1), text("1"), false),
            (json!(true), int("1"), false),
            (json!(true), Value::Bool(true), true),
            (json!("1"), int("1"), false),
            (json!(null), Value::None, true),
            (json!(0), Value::None, false),
            (json!(0.1), Value::Float(0.1 + 1e-9), true),
            (json!(0.1), Value::Float(0.100_01), false),
            (json!(2.0), int("2"), true),
            (json!(1e20), int("100000000000000000000"), true),
            (json!(9_007_199_254_740_993_i64), int("9007199254740992"), false),
            (json!(1), int("1000000000000000000000000000000000000000000000"), false),
            (json!(1_234_567), Value::Float(1_234_567.4), false),
            (json!(2_000_000), Value::Float(2_000_001.0), false),
            (json!(1.0), Value::Float(f64::NAN), false),
            (json!(1.0), Value::Float(f64::INFINITY), false),
            (json!([1, null]), Value::List(list()), true),
            (json!([1, null]), Value::Tuple(list()), true),
            (json!([1]), Value::List(list()), false),
            (json!({"a": 1}), Value::Dict(vec![("a".to_owned(), int("1"))]), true),
            (json!({"a": 1}), Value::Dict(vec![("b".to_owned(), int("1"))]), false),
            (json!({}), Value::List(Vec::new()), false),
        ] {
            assert_eq!(equal(&expected, &returned), same, "{expected} {returned:?}");
        }
    }
}
