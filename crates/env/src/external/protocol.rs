//! What replies mean: everything a stranger's program says is checked here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use stepwell_tree::{STRICT, Stop, Task, Verdict};

use super::door::{Reply, value};
use crate::tasks::{Options, Schema, parse};

/// The version this program speaks.
pub(super) const PROTOCOL: u64 = 1;
/// Most stop strings and parts, and most bytes of one.
pub const NAMES_MAX: usize = 64;
pub const NAME_BYTES_MAX: usize = 256;

/// What a program said of itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Hello {
    /// What it calls itself.
    pub name: String,
    /// What it can do.
    pub offers: BTreeSet<Offer>,
    /// Texts that end a step.
    pub stop: Vec<String>,
    /// Names of the verdict's parts.
    pub parts: Vec<String>,
    /// Range of the reward.
    pub reward: (f64, f64),
}

/// Something that a program can do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Offer {
    /// `start`, `step` and `end`.
    Episodes,
    /// `fork`.
    Fork,
    /// `grade`.
    Grade,
    /// `tasks`.
    Tasks,
}

impl Offer {
    const ALL: [Offer; 4] = [Offer::Episodes, Offer::Fork, Offer::Grade, Offer::Tasks];

    /// The word in the protocol.
    pub fn word(self) -> &'static str {
        match self {
            Offer::Episodes => "episodes",
            Offer::Fork => "fork",
            Offer::Grade => "grade",
            Offer::Tasks => "tasks",
        }
    }
}

/// The reply to `hello`. `Err` says what is wrong with it.
pub(super) fn hello(reply: &Reply) -> Result<Hello, String> {
    let got = |key: &str| value(reply.get(key));
    if reply.get("protocol").and_then(Value::as_u64) != Some(PROTOCOL) {
        return Err(format!("hello: `protocol` must be {PROTOCOL}, got: {}", got("protocol")));
    }
    let name = reply.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| format!("hello: `name` must be text, got: {}", got("name")))?;
    let mut offers = BTreeSet::new();
    for word in texts(reply, "offers")? {
        let offer = Offer::ALL.into_iter().find(|offer| offer.word() == word);
        offers.insert(offer.ok_or_else(|| {
            let known = Offer::ALL.map(Offer::word).join("`, `");
            format!("hello: `offers` must be among `{known}`, got: `{}`", word.escape_debug())
        })?);
    }
    let parts = texts(reply, "parts")?;
    if parts.iter().collect::<BTreeSet<_>>().len() < parts.len() {
        return Err(format!("hello: `parts` must differ, got: {}", got("parts")));
    }
    if parts.iter().any(|part| part == STRICT) {
        let what = "is the verdict of a stricter judge, which nothing trains on";
        return Err(format!("hello: `parts`: `{STRICT}` {what}; give the part another name"));
    }
    let reward = match reply.get("reward") {
        None => Some((0.0, 1.0)),
        Some(Value::Array(ends)) => match &ends[..] {
            [least, most] => least.as_f64().zip(most.as_f64()).filter(|(least, most)| least < most),
            _ => None,
        },
        Some(_) => None,
    };
    let reward = reward.ok_or_else(|| {
        format!("hello: `reward` must be `[least, most]`, got: {}", got("reward"))
    })?;
    Ok(Hello { name: name.to_owned(), offers, stop: texts(reply, "stop")?, parts, reward })
}

/// A list of short texts; absent is empty.
fn texts(reply: &Reply, key: &str) -> Result<Vec<String>, String> {
    let wrong = || {
        format!(
            "hello: `{key}` must be a list of at most {NAMES_MAX} texts of 1 to {NAME_BYTES_MAX} \
             bytes, got: {}",
            value(reply.get(key))
        )
    };
    let Some(found) = reply.get(key) else { return Ok(Vec::new()) };
    let items = found.as_array().filter(|items| items.len() <= NAMES_MAX).ok_or_else(wrong)?;
    let text = |item: &Value| {
        let text = item.as_str().filter(|text| (1..=NAME_BYTES_MAX).contains(&text.len()));
        text.map(str::to_owned).ok_or_else(wrong)
    };
    items.iter().map(text).collect()
}

/// What an episode says of a step.
pub(super) enum Said {
    Observation(String),
    /// Judged, or the program's own reason why it cannot be.
    Verdict(Result<Verdict, String>),
}

/// The reply to `step`. `Err`: it is neither an observation nor a verdict.
pub(super) fn said(reply: &Reply, range: (f64, f64), parts: &[String]) -> Result<Said, String> {
    match (reply.get("observation"), reply.get("verdict")) {
        (Some(Value::String(text)), None) => Ok(Said::Observation(text.clone())),
        (Some(other), None) => {
            Err(format!("`observation` must be text, got: {}", value(Some(other))))
        }
        (None, Some(found)) => verdict(found, range, parts).map(Said::Verdict),
        (found, _) => {
            let found = if found.is_some() { "both" } else { "neither" };
            Err(format!("a reply holds an `observation` or a `verdict`, found: {found}"))
        }
    }
}

/// A verdict in the declared form. `Err`: it is none; `Ok(Err)`: the program could not judge.
pub(super) fn verdict(
    found: &Value,
    (least, most): (f64, f64),
    names: &[String],
) -> Result<Result<Verdict, String>, String> {
    let wrong = || format!("a verdict must hold a `reward`, got: {}", value(Some(found)));
    let fields = found.as_object().ok_or_else(wrong)?;
    if let Some(why) = fields.get("unscored") {
        let why = why.as_str().ok_or_else(|| format!("`unscored` must be text, got: {why}"))?;
        return Ok(Err(why.chars().take(200).collect()));
    }
    let reward = fields.get("reward").ok_or_else(wrong)?;
    let number = reward.as_f64().filter(|number| (least..=most).contains(number));
    let number = number.ok_or_else(|| {
        format!("reward outside declared range {least}..={most}: {}", value(Some(reward)))
    })?;
    let none = Map::new();
    let given = match fields.get("parts") {
        None => &none,
        Some(Value::Object(given)) => given,
        Some(other) => return Err(format!("`parts` must be a table, got: {}", value(Some(other)))),
    };
    let mut parts = BTreeMap::new();
    for name in names {
        let part = given.get(name).and_then(Value::as_f64).filter(|part| part.is_finite());
        let part = part.ok_or_else(|| {
            format!("the part `{name}` must be a number, got: {}", value(given.get(name)))
        })?;
        parts.insert(name.clone(), part);
    }
    if let Some(other) = given.keys().find(|name| !names.contains(name)) {
        return Err(format!("the part `{}` was not declared in hello", other.escape_debug()));
    }
    Ok(Ok(Verdict::Scored { reward: number, parts }))
}

/// The reply to `tasks` as lines of a task file.
pub(super) fn tasks(reply: &Reply, from: usize, count: usize) -> Result<String, String> {
    let found = reply.get("tasks").and_then(Value::as_array);
    let found = found.filter(|tasks| tasks.len() == count).ok_or_else(|| {
        let got = value(reply.get("tasks"));
        format!("`tasks` must be a list of {count} tasks from {from}, got: {got}")
    })?;
    Ok(found.iter().map(|task| task.to_string() + "\n").collect())
}

/// A task as the program reads it: one flat object of texts.
pub(super) fn task(task: &Task) -> Value {
    let mut object: Map<String, Value> =
        task.fields.iter().map(|(name, text)| (name.clone(), json!(text))).collect();
    object.insert("id".to_owned(), json!(task.id));
    object.insert("question".to_owned(), json!(task.question));
    Value::Object(object)
}

/// Why a step ended, in the protocol's words.
pub(super) fn stop(stop: Stop) -> &'static str {
    match stop {
        Stop::StopString => "stop_string",
        Stop::EndOfText | Stop::NotSampled => "end_of_text",
        Stop::Length => "length",
        Stop::Context => "context",
    }
}

/// What a line of a program's output would mean as an answer to each request: for tests that invent
/// such lines.
#[doc(hidden)]
pub fn meanings(line: &str) -> String {
    let Ok(Value::Object(reply)) = serde_json::from_str(line) else { return "no reply".to_owned() };
    let parts = ["format".to_owned()];
    let hello = hello(&reply).map_or_else(|why| why, |hello| format!("hello: {}", hello.name));
    let said = match said(&reply, (0.0, 1.0), &parts) {
        Ok(Said::Observation(text)) => format!("observation of {} bytes", text.len()),
        Ok(Said::Verdict(verdict)) => format!("{verdict:?}"),
        Err(why) => why,
    };
    let graded = reply.get("verdict").map(|found| verdict(found, (-1.0, 2.0), &[]));
    let tasks = tasks(&reply, 0, 1).and_then(|lines| {
        let read = parse("t", lines.as_bytes(), &Schema::open(), &Options::default());
        read.map(|loaded| loaded.tasks.len()).map_err(|error| error.to_string())
    });
    format!("{hello}; {said}; {graded:?}; {tasks:?}")
}
