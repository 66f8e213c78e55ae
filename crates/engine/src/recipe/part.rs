//! Methods in a recipe: `credit = { type = "sibling" }`.
//!
//! The `type` is read first and the rest of the table is deserialised into that method's `Config`
//! with its positions: serde's internal tagging would buffer the table and lose them. serde stops
//! at its first complaint, so the key it complains of is noted and taken out, and the rest is read
//! again, until nothing is left to complain of.

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::macros::Entry;
use super::nearest::{list, nearest};
use super::section::Section;
use super::setting::{Limit, Setting, shown};

/// A kind of method: an enum of the registry.
pub(super) trait Part: Clone + Serialize {
    /// The key in a stage, `credit`.
    const KIND: &'static str;
    /// Every `type`.
    const NAMES: &'static [&'static str];

    /// Reads the `Config` of the named type; `None` where the registry has no such name.
    fn deserialize(
        name: &str,
        config: ValueDeserializer<'_>,
    ) -> Result<Option<Self>, toml::de::Error>;

    /// The `type`.
    fn name(&self) -> &'static str;

    /// What the method itself refuses.
    fn problem(&self) -> Option<String>;
}

/// Reads the part from its stage; the default where it is absent or wrong.
pub(super) fn read<P: Part>(stage: &Section<'_>, default: P) -> P {
    let Some(value) = stage.take(P::KIND) else { return default };
    let path = stage.key(P::KIND);
    let at = value.span().start;
    let DeValue::Table(table) = value.get_ref() else {
        let got = shown(value.get_ref());
        let message = format!(
            "`{path}` must be a table like `{{ type = \"{}\" }}`, got: {got}",
            default.name()
        );
        stage.notes.error(at, &path, message);
        return default;
    };
    let Some(name) = table.get("type") else {
        let message = format!("missing key `{path}.type`; known: {}", list(P::NAMES));
        stage.notes.error(stage.offset_of(P::KIND), &path, message);
        return default;
    };
    let text = name.get_ref().as_str().unwrap_or_default();
    if !P::NAMES.contains(&text) {
        let near = nearest(text, P::NAMES).map(|near| format!("; nearest: `{near}`"));
        let (got, near) = (shown(name.get_ref()), near.unwrap_or_default());
        let message = format!("unknown {} {got}; known: {}{near}", P::KIND, list(P::NAMES));
        stage.notes.error(name.span().start, format!("{path}.type"), message);
        return default;
    }
    let mut rest = table.clone();
    rest.remove("type");
    let reader = Reader { stage, path, at: stage.offset_of(P::KIND) };
    reader.read(text, rest).unwrap_or(default)
}

struct Reader<'s, 'd> {
    stage: &'s Section<'d>,
    path: String,
    at: usize,
}

impl Reader<'_, '_> {
    fn read<P: Part>(&self, name: &str, mut rest: DeTable<'_>) -> Option<P> {
        let mut clean = !self.take_out_wild_numbers(&mut rest);
        loop {
            let config = Spanned::new(self.at..self.at, DeValue::Table(rest.clone()));
            let error = match P::deserialize(name, ValueDeserializer::from(config)) {
                Ok(None) => return None,
                Ok(Some(part)) => {
                    let problem = part.problem().filter(|_| clean);
                    if let Some(problem) = problem {
                        self.stage.notes.error(self.at, &self.path, problem);
                    }
                    return Some(part);
                }
                Err(error) => error,
            };
            clean = false;
            let span = error.span().unwrap_or(self.at..self.at);
            let blamed = rest.iter().find(|(key, value)| {
                let within = |outer: std::ops::Range<usize>| {
                    outer.start <= span.start && span.end <= outer.end
                };
                within(key.span()) || within(value.span())
            });
            let Some((key, value)) = blamed else {
                let message = format!("`{}`: {}", self.path, error.message());
                self.stage.notes.error(span.start, &self.path, message);
                return None;
            };
            self.blame(key.get_ref(), key.span().start, value, &span, error.message());
            let name = key.get_ref().to_string();
            rest.remove(name.as_str());
        }
    }

    fn blame(
        &self,
        name: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
        span: &std::ops::Range<usize>,
        message: &str,
    ) {
        let key = format!("{}.{}", self.path, name.escape_debug());
        let known = quoted(message.split_once("expected").map_or("", |(_, rest)| rest));
        let deeper = value.span() != *span;
        if let Some(rest) = message.strip_prefix("unknown field `") {
            let wrong = rest.split('`').next().unwrap_or_default();
            let inner = if wrong == name { key.clone() } else { format!("{key}.{wrong}") };
            let help = match (nearest(wrong, &known), known.is_empty()) {
                (Some(near), _) => format!("; did you mean `{near}`?"),
                (None, true) => "; it has nothing to set but its `type`".to_owned(),
                (None, false) => format!("; known: {}", list(&known)),
            };
            self.stage.notes.error(at, &key, format!("unknown key `{inner}`{help}"));
            return;
        }
        let why = if let Some(rest) = message.strip_prefix("unknown variant `") {
            let wrong = rest.split('`').next().unwrap_or_default();
            let near = nearest(wrong, &known).map(|near| format!("; nearest: `{near}`"));
            let near = near.unwrap_or_default();
            format!("must be one of {}, got: `{}`{near}", list(&known), wrong.escape_debug())
        } else {
            (!deeper)
                .then(|| type_error(value.get_ref(), message))
                .flatten()
                .unwrap_or_else(|| format!("is wrong: {}", message.escape_debug()))
        };
        self.stage.notes.error(value.span().start, &key, format!("`{key}` {why}"));
    }

    /// `nan`, `inf` and whole numbers beyond 64 bits, which serde would let through or TOML could
    /// not write back.
    fn take_out_wild_numbers(&self, table: &mut DeTable<'_>) -> bool {
        let mut wild = Vec::new();
        for (key, value) in table.iter() {
            if let Some(why) = wild_number(value.get_ref()) {
                let path = format!("{}.{}", self.path, key.get_ref().escape_debug());
                self.stage.notes.error(value.span().start, &path, format!("`{path}` {why}"));
                wild.push(key.get_ref().to_string());
            }
        }
        for key in &wild {
            table.remove(key.as_str());
        }
        !wild.is_empty()
    }
}

fn wild_number(value: &DeValue<'_>) -> Option<String> {
    match value {
        // The range is checked by the method; here only what is no number at all.
        DeValue::Float(_) => f64::read(value, &Limit::Any).err(),
        DeValue::Integer(n) => match i64::from_str_radix(n.as_str(), n.radix()) {
            Ok(_) => None,
            Err(_) => Some(format!("must fit 64 bits, got: {}", shown(value))),
        },
        DeValue::Array(items) => items.iter().find_map(|item| wild_number(item.get_ref())),
        DeValue::Table(table) => table.iter().find_map(|(_, inner)| wild_number(inner.get_ref())),
        _ => None,
    }
}

/// Says a wrong type as [`Setting`] says it.
fn type_error(value: &DeValue<'_>, message: &str) -> Option<String> {
    let expected = message.rsplit_once("expected ").map(|(_, what)| what.trim())?;
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => {
            let limit = Limit::Whole(0, i64::MAX as u64);
            u64::read(value, &limit).err()
        }
        "f64" | "f32" => Some(format!("must be a number, got: {}", shown(value))),
        "a boolean" => bool::read(value, &Limit::Any).err(),
        "a string" => String::read(value, &Limit::Any).err(),
        _ => None,
    }
}

/// The names in backticks of a serde message.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// Writes `credit.type` and below it every key of the method's `Config`.
pub(super) fn write<P: Part>(part: &P, section: &str, out: &mut Vec<Entry>) {
    let about = format!("One of {}.", list(P::NAMES));
    push(out, section, &format!("{}.type", P::KIND), &part.name().into(), about);
    // Numbers beyond TOML's 64 bits were refused when the recipe was read.
    let mut config = toml::Table::try_from(part).expect("a method's settings are a TOML table");
    config.remove("type");
    let mut open: Vec<(String, toml::Value)> = vec![(P::KIND.to_owned(), config.into())];
    while let Some((path, value)) = open.pop() {
        match value {
            toml::Value::Table(table) if !table.is_empty() => {
                let inner = table.into_iter().map(|(key, v)| (format!("{path}.{key}"), v));
                open.extend(inner.rev());
            }
            // A method with nothing to set.
            toml::Value::Table(_) if path == P::KIND => {}
            value => push(out, section, &path, &value, String::new()),
        }
    }
}

fn push(out: &mut Vec<Entry>, section: &str, name: &str, value: &toml::Value, about: String) {
    let value = Some(value.to_string());
    out.push(Entry { section: section.to_owned(), name: name.to_owned(), value, about });
}
