//! What templates expect of Python: methods of strings and maps, and two functions.

use minijinja::{Environment, Error, ErrorKind, State, Value, value::ValueKind};

/// Adds everything to an environment.
pub(super) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    // No clock: two runs of one recipe must read the same prompt. The date is the one that
    // Llama 3.1's template falls back to.
    environment.add_function("strftime_now", |_format: String| "26 Jul 2024");
}

/// The methods that templates of the supported families call.
fn method(
    _: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    given: &[Value],
) -> Result<Value, Error> {
    let unknown = || Error::from(ErrorKind::UnknownMethod);
    if value.kind() == ValueKind::Map {
        return map_method(value, name, given).ok_or_else(unknown);
    }
    let text = value.as_str().ok_or_else(unknown)?;
    string_method(text, name, given).ok_or_else(unknown)
}

fn map_method(map: &Value, name: &str, given: &[Value]) -> Option<Value> {
    let keys = || map.try_iter().ok();
    match (name, given) {
        ("get", [key]) => Some(found(map, key).unwrap_or(Value::from(()))),
        ("get", [key, default]) => Some(found(map, key).unwrap_or_else(|| default.clone())),
        ("keys", []) => Some(keys()?.collect()),
        ("values", []) => Some(keys()?.filter_map(|key| found(map, &key)).collect()),
        ("items", []) => {
            let pair = |key: Value| found(map, &key).map(|value| Value::from(vec![key, value]));
            Some(keys()?.filter_map(pair).collect())
        }
        _ => None,
    }
}

fn found(map: &Value, key: &Value) -> Option<Value> {
    map.get_item(key).ok().filter(|value| !value.is_undefined())
}

fn string_method(text: &str, name: &str, given: &[Value]) -> Option<Value> {
    let arguments: Option<Vec<&str>> = given.iter().map(Value::as_str).collect();
    Some(match (name, arguments?.as_slice()) {
        ("strip", []) => Value::from(text.trim()),
        ("lstrip", []) => Value::from(text.trim_start()),
        ("rstrip", []) => Value::from(text.trim_end()),
        ("strip", [set]) => Value::from(text.trim_matches(|c| set.contains(c))),
        ("lstrip", [set]) => Value::from(text.trim_start_matches(|c| set.contains(c))),
        ("rstrip", [set]) => Value::from(text.trim_end_matches(|c| set.contains(c))),
        ("startswith", [start]) => text.starts_with(start).into(),
        ("endswith", [end]) => text.ends_with(end).into(),
        ("split", []) => text.split_whitespace().map(Value::from).collect(),
        ("split", [at]) if !at.is_empty() => text.split(at).map(Value::from).collect(),
        // Never longer than its parts: the result is charged to the budget.
        ("replace", [old, new]) if new.len() <= old.len() && !old.is_empty() => {
            text.replace(old, new).into()
        }
        ("upper", []) => text.to_uppercase().into(),
        ("lower", []) => text.to_lowercase().into(),
        ("title" | "capitalize", []) => {
            let mut letters = text.chars();
            let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
            format!("{first}{}", letters.as_str().to_lowercase()).into()
        }
        _ => return None,
    })
}
