//! When a value that a program returned is the one that a task expects.
//!
//! | expected (JSON) | returned (Python) |
//! |---|---|
//! | `null`, `true`, `false`, text | the same, of exactly that type: `True` is not `1` |
//! | a whole number, of any size | an `int` or `float` of exactly that value |
//! | with a fraction or an exponent | a `float` within 1e-6 of it; an `int` that is exactly it |
//! | a list | a `list` or `tuple` of equal length and items |
//! | an object | a `dict` with the same keys, in any order |
//!
//! An `int` and a `float` are compared as Python compares them: `2**64` equals
//! `18446744073709551616.0`, and `10**30` does not equal `1e30`, whose value is
//! 1000000000000000019884624838656. Where the expected number has a fraction, no `int` is exactly
//! it, and one within 1e-6 passes.

use serde_json::Value as Json;
use stepwell_sandbox::python::Value;

use crate::exact::Exact;

/// How far a number with a fraction may be off, relative to it.
const TOLERANCE: f64 = 1e-6;

/// True where they are equal by the table above.
pub fn equal(expected: &Exact, returned: &Value) -> bool {
    match (expected, returned) {
        (Exact::Plain(expected), returned) => plain(expected, returned),
        (Exact::Whole(a), Value::Int(b)) => a == b,
        (Exact::Whole(a), Value::Float(b)) => whole(*b).is_some_and(|b| *a == b),
        (Exact::List(a), Value::List(b) | Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Exact::Object(a), Value::Dict(b)) => {
            // A dict's keys are different, so equal counts and every key found is equality.
            a.len() == b.len() && b.iter().all(|(key, b)| a.get(key).is_some_and(|a| equal(a, b)))
        }
        _ => false,
    }
}

fn plain(expected: &Json, returned: &Value) -> bool {
    match (expected, returned) {
        (Json::Null, Value::None) => true,
        (Json::Bool(a), Value::Bool(b)) => a == b,
        (Json::String(a), Value::Str(b)) => a == b,
        (Json::Number(a), Value::Int(b)) => match (a.as_i128(), a.as_f64()) {
            (Some(a), _) => b.parse() == Ok(a),
            (None, Some(a)) => match whole(a) {
                Some(a) => a == *b,
                None => b.parse().is_ok_and(|b| near(a, b)),
            },
            (None, None) => false,
        },
        (Json::Number(a), Value::Float(b)) => match a.as_i128() {
            Some(a) => whole(*b).is_some_and(|b| b == a.to_string()),
            None => a.as_f64().is_some_and(|a| near(a, *b)),
        },
        _ => false,
    }
}

/// Every digit of a float that is a whole number.
fn whole(float: f64) -> Option<String> {
    // Adding zero takes the sign of a zero away.
    (float.fract() == 0.0).then(|| format!("{:.0}", float + 0.0))
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
            (json!(1e30), int("1000000000000000019884624838656"), true),
            (json!(1e30), int("1000000000000000000000000000000"), false),
            (json!(1e6), int("1000001"), false),
            (json!(-0.0), int("0"), true),
            (json!(0), Value::Float(-0.0), true),
            (json!(3.0), Value::Float(3.000_000_1), true),
            (json!(0.5), int("0"), false),
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
            let expected = Exact::from(expected);
            assert_eq!(equal(&expected, &returned), same, "{expected} {returned:?}");
        }
    }

    /// What Python's own `==` says of the same pairs.
    #[test]
    fn whole_numbers_of_any_size_are_compared_exactly() {
        let read = |text: &str| serde_json::from_str::<Exact>(text).unwrap();
        let int = |text: &str| Value::Int(text.to_owned());
        let two_64 = "18446744073709551616";
        let ten_30 = "1000000000000000000000000000000";
        for (expected, returned, same) in [
            (two_64, int(two_64), true),
            (two_64, int("18446744073709551617"), false),
            (two_64, int("18446744073709551615"), false),
            (two_64, Value::Float(2f64.powi(64)), true),
            ("18446744073709551617", Value::Float(2f64.powi(64)), false),
            ("18446744073709551615", Value::Float(2f64.powi(64)), false),
            (ten_30, int(ten_30), true),
            (ten_30, int("1000000000000000000000000000001"), false),
            (ten_30, Value::Float(1e30), false),
            ("1000000000000000019884624838656", Value::Float(1e30), true),
            ("-1000000000000000019884624838656", Value::Float(-1e30), true),
            (ten_30, Value::Str(ten_30.to_owned()), false),
            (ten_30, Value::Float(f64::INFINITY), false),
            (ten_30, Value::Float(f64::NAN), false),
        ] {
            assert_eq!(equal(&read(expected), &returned), same, "{expected} {returned:?}");
        }
        let list = Value::List(vec![int(ten_30)]);
        assert!(equal(&read(&format!("[{ten_30}]")), &list));
    }
}
