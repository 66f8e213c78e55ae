//! JSON whose whole numbers keep their digits: the library's own values hold 64 bits and make a
//! float of the rest.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Digits of a whole number. Python reads and writes up to 4,300.
pub const DIGITS_MAX: usize = 4000;
/// As deep as the library's own values go.
const DEPTH_MAX: usize = 128;

/// A JSON value.
#[derive(Clone, PartialEq, Debug)]
pub enum Exact {
    /// `null`, `true`, `false`, a text, or a number that 64 bits or a float hold.
    Plain(Value),
    /// The digits of a whole number past 64 bits, with a sign where it is negative.
    Whole(String),
    /// A list.
    List(Vec<Exact>),
    /// An object; of equal keys the last counts.
    Object(BTreeMap<String, Exact>),
}

impl Exact {
    /// Reads a text that is JSON.
    fn read(text: &str, depth: usize) -> Result<Exact, String> {
        if depth > DEPTH_MAX {
            return Err(format!("nested deeper than {DEPTH_MAX}"));
        }
        let text = text.trim();
        let fault = |error: serde_json::Error| error.to_string();
        let inner = |raw: &RawValue| Exact::read(raw.get(), depth + 1);
        match text.as_bytes().first() {
            Some(b'{') => {
                let pairs: BTreeMap<String, &RawValue> =
                    serde_json::from_str(text).map_err(fault)?;
                let pairs = pairs.into_iter().map(|(key, raw)| Ok((key, inner(raw)?)));
                Ok(Exact::Object(pairs.collect::<Result<_, String>>()?))
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(fault)?;
                Ok(Exact::List(items.into_iter().map(inner).collect::<Result<_, String>>()?))
            }
            _ if is_long(text) => match text.trim_start_matches('-').len() {
                digits if digits > DIGITS_MAX => {
                    Err(format!("a whole number of {digits} digits, at most {DIGITS_MAX}"))
                }
                _ => Ok(Exact::Whole(text.to_owned())),
            },
            _ => serde_json::from_str(text).map(Exact::Plain).map_err(fault),
        }
    }
}

/// True for the digits of a whole number that 64 bits do not hold.
fn is_long(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole && text.parse::<i64>().is_err() && text.parse::<u64>().is_err()
}

impl From<Value> for Exact {
    fn from(value: Value) -> Exact {
        match value {
            Value::Array(items) => Exact::List(items.into_iter().map(Exact::from).collect()),
            Value::Object(pairs) => {
                Exact::Object(pairs.into_iter().map(|(key, own)| (key, own.into())).collect())
            }
            plain => Exact::Plain(plain),
        }
    }
}

/// As the library writes it: without spaces, keys in their order.
impl std::fmt::Display for Exact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Exact, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Exact::read(raw.get(), 0).map_err(D::Error::custom)
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        match self {
            Exact::Plain(value) => value.serialize(serializer),
            Exact::Whole(digits) => {
                let raw = RawValue::from_string(digits.clone()).map_err(S::Error::custom)?;
                raw.serialize(serializer)
            }
            Exact::List(items) => items.serialize(serializer),
            Exact::Object(pairs) => pairs.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_written_as_the_library_does_and_digits_stay() {
        for text in [
            "null",
            "[true,-1,18446744073709551615,1.5,1e30,-0.0,\"a\\n\\u0001é\"]",
            "{\"b\":[],\"a\":{\"c\":0.1}}",
            "[-9223372036854775808]",
        ] {
            let value: Value = serde_json::from_str(text).unwrap();
            let exact: Exact = serde_json::from_str(text).unwrap();
            assert_eq!(exact.to_string(), value.to_string());
            assert_eq!(exact, Exact::from(value));
        }
        let long = "{\"a\":[18446744073709551616,-9223372036854775809]}";
        assert_eq!(serde_json::from_str::<Exact>(long).unwrap().to_string(), long);
        let most = "9".repeat(DIGITS_MAX);
        assert_eq!(serde_json::from_str::<Exact>(&most).unwrap(), Exact::Whole(most.clone()));
        let error = serde_json::from_str::<Exact>(&format!("{most}9")).unwrap_err().to_string();
        assert!(error.contains("a whole number of 4001 digits, at most 4000"), "{error}");
        let deep = "[".repeat(200) + &"]".repeat(200);
        let error = serde_json::from_str::<Exact>(&deep).unwrap_err().to_string();
        assert!(error.contains("nested deeper than 128"), "{error}");
        assert!(serde_json::from_str::<Exact>("[01]").is_err());
    }
}
