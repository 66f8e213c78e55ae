//! Values that a program returned, decoded outside its jail.

use std::collections::BTreeSet;

use serde_json::Value as Json;

/// A Python value of an exact built-in type. Equality is strict: `True`, `1`, `1.0` and `"1"`
/// differ, a list differs from a tuple.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `bool`.
    Bool(bool),
    /// `int`, in decimal: of any size.
    Int(String),
    /// `float`; may be infinite or not a number.
    Float(f64),
    /// `str`.
    Str(String),
    /// `list`.
    List(Vec<Value>),
    /// `tuple`.
    Tuple(Vec<Value>),
    /// `dict` with text as keys, in its order.
    Dict(Vec<(String, Value)>),
}

/// One reply of the driver to a case: a value, or the program's error. `None` where it is neither.
pub fn outcome(bytes: &[u8]) -> Option<Result<Value, String>> {
    let reply: Json = serde_json::from_slice(bytes).ok()?;
    match (reply.get("value"), reply.get("error").and_then(Json::as_str)) {
        (Some(found), None) => decode(found).map(Ok),
        (None, Some(error)) => Some(Err(error.to_owned())),
        _ => None,
    }
}

/// A tagged value: `["int", "5"]`. The depth of what serde_json reads is bounded by it.
fn decode(found: &Json) -> Option<Value> {
    let (tag, rest) = found.as_array()?.split_first()?;
    let one = || rest.first();
    Some(match tag.as_str()? {
        "none" => Value::None,
        "bool" => Value::Bool(one()?.as_bool()?),
        "int" => Value::Int(whole(one()?.as_str()?)?),
        "float" => Value::Float(one()?.as_str()?.parse().ok()?),
        "str" => Value::Str(one()?.as_str()?.to_owned()),
        "list" => Value::List(items(one()?)?),
        "tuple" => Value::Tuple(items(one()?)?),
        "dict" => Value::Dict(pairs(one()?)?),
        _ => return None,
    })
}

fn items(found: &Json) -> Option<Vec<Value>> {
    found.as_array()?.iter().map(decode).collect()
}

/// The pairs of a `dict`, whose keys differ: the program could write another reply itself.
fn pairs(found: &Json) -> Option<Vec<(String, Value)>> {
    let pairs: Vec<(String, Value)> = found.as_array()?.iter().map(pair).collect::<Option<_>>()?;
    let keys: BTreeSet<&str> = pairs.iter().map(|(key, _)| key.as_str()).collect();
    (keys.len() == pairs.len()).then_some(pairs)
}

fn pair(found: &Json) -> Option<(String, Value)> {
    match &found.as_array()?[..] {
        [key, value] => Some((key.as_str()?.to_owned(), decode(value)?)),
        _ => None,
    }
}

/// Digits with at most a sign.
fn whole(text: &str) -> Option<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tagged_values_are_read_and_anything_else_is_not() {
        let read = |text: &str| outcome(text.as_bytes());
        let value = |text: &str| read(text).unwrap().unwrap();
        assert_eq!(value(r#"{"value":["int","-12"]}"#), Value::Int("-12".to_owned()));
        assert_eq!(
            value(r#"{"value":["list",[["bool",true],["none"],["float","1.5"]]]}"#),
            Value::List(vec![Value::Bool(true), Value::None, Value::Float(1.5)])
        );
        assert_eq!(
            value(r#"{"value":["dict",[["a",["str","b"]]]]}"#),
            Value::Dict(vec![("a".to_owned(), Value::Str("b".to_owned()))])
        );
        assert_eq!(read(r#"{"error":"no"}"#), Some(Err("no".to_owned())));
        for wrong in [
            "",
            "1",
            "{}",
            r#"{"value":1}"#,
            r#"{"value":["int",1]}"#,
            r#"{"value":["int","1e3"]}"#,
            r#"{"value":["set",[]]}"#,
            r#"{"value":["none"],"error":"both"}"#,
            r#"{"value":["dict",[["a",["none"]],["a",["none"]]]]}"#,
            r#"{"value":[]}"#,
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
