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
use super::part_error::{Blamed, blame, deepest, wild_number};
use super::section::Section;
use super::setting::shown;

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
    let place = Reader { stage, path: stage.key(P::KIND), at: stage.offset_of(P::KIND) };
    one(place, value, default.name()).unwrap_or(default)
}

/// Reads a list of parts, `filter = [{ type = "drop_uniform" }]`; what is wrong in it is left out.
pub(super) fn read_list<P: Part>(stage: &Section<'_>, example: &str) -> Vec<P> {
    let Some(value) = stage.take(P::KIND) else { return Vec::new() };
    let path = stage.key(P::KIND);
    let DeValue::Array(items) = value.get_ref() else {
        let got = shown(value.get_ref());
        let message =
            format!("`{path}` must be a list like `[{{ type = \"{example}\" }}]`, got: {got}");
        stage.notes.error(value.span().start, &path, message);
        return Vec::new();
    };
    let read = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
        let place = Reader { stage, path: format!("{path}[{index}]"), at: item.span().start };
        one(place, item, example)
    };
    items.iter().enumerate().filter_map(read).collect()
}

/// Reads one part where it stands; `None` where it is wrong.
fn one<P: Part>(reader: Reader<'_, '_>, value: &Spanned<DeValue<'_>>, example: &str) -> Option<P> {
    let Reader { stage, path, .. } = &reader;
    let DeValue::Table(table) = value.get_ref() else {
        let got = shown(value.get_ref());
        let message =
            format!("`{path}` must be a table like `{{ type = \"{example}\" }}`, got: {got}");
        stage.notes.error(value.span().start, path, message);
        return None;
    };
    let Some(name) = table.get("type") else {
        let message = format!("missing key `{path}.type`; known: {}", list(P::NAMES));
        stage.notes.error(reader.at, path, message);
        return None;
    };
    let text = name.get_ref().as_str().unwrap_or_default();
    if !P::NAMES.contains(&text) {
        let near = nearest(text, P::NAMES).map(|near| format!("; nearest: `{near}`"));
        let (got, near) = (shown(name.get_ref()), near.unwrap_or_default());
        let message = format!("unknown {} {got}; known: {}{near}", P::KIND, list(P::NAMES));
        stage.notes.error(name.span().start, format!("{path}.type"), message);
        return None;
    }
    let mut rest = table.clone();
    rest.remove("type");
    reader.read(text, rest)
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
                        self.refuse(&problem, &rest);
                    }
                    return Some(part);
                }
                Err(error) => error,
            };
            clean = false;
            match blame(&rest, &self.path, &error) {
                Some(blamed) => {
                    let Blamed { top, at, key, message } = blamed;
                    self.stage.notes.error(at, key, message);
                    rest.remove(top.as_str());
                }
                None => {
                    let message = format!("`{}`: {}", self.path, error.message().escape_debug());
                    self.stage.notes.error(self.at, &self.path, message);
                    return None;
                }
            }
            if self.stage.notes.is_full() {
                return None;
            }
        }
    }

    /// A method's own complaint starts with its key, `` `clipped.kl.coefficient` must be ... ``:
    /// said with the whole path, at that key's line.
    fn refuse(&self, problem: &str, table: &DeTable<'_>) {
        let name = problem.split('`').nth(1).unwrap_or_default();
        let is_key = |name: &&str| table.contains_key(name.split('.').next().unwrap_or_default());
        let inner = name.split_once('.').map_or(name, |(_, inner)| inner);
        let (key, at) = match [inner, name].into_iter().find(is_key) {
            None => (self.path.clone(), self.at),
            Some(inner) => (format!("{}.{inner}", self.path), deepest(table, inner)),
        };
        let message = match problem.strip_prefix(&format!("`{name}`")) {
            Some(rest) if key != self.path => format!("`{key}`{rest}"),
            _ => format!("`{}`: {problem}", self.path),
        };
        self.stage.notes.error(at, &key, message);
    }

    /// True where there were some.
    fn take_out_wild_numbers(&self, table: &mut DeTable<'_>) -> bool {
        let mut wild = Vec::new();
        for (key, value) in table.iter() {
            if let Some((rest, at, why)) = wild_number(value) {
                let path = format!("{}.{}{rest}", self.path, key.get_ref().escape_debug());
                self.stage.notes.error(at, &path, format!("`{path}` {why}"));
                wild.push(key.get_ref().to_string());
            }
        }
        for key in &wild {
            table.remove(key.as_str());
        }
        !wild.is_empty()
    }
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
                let inner = table.into_iter().map(|(key, v)| (format!("{path}.{}", bare(key)), v));
                open.extend(inner.rev());
            }
            // A method with nothing to set.
            toml::Value::Table(_) if path == P::KIND => {}
            value => push(out, section, &path, &value, String::new()),
        }
    }
}

/// Writes a list of parts on one line, each with every key of its `Config`.
pub(super) fn write_list<P: Part>(parts: &[P], section: &str, about: &str, out: &mut Vec<Entry>) {
    let table = |part: &P| {
        let config = toml::Value::try_from(part);
        config.expect("a method's settings are a TOML table")
    };
    let value = toml::Value::Array(parts.iter().map(table).collect());
    let about = format!("{about} Each one of {}.", list(P::NAMES));
    push(out, section, P::KIND, &value, about);
}

/// A key as TOML writes it: in quotes where a dot or a space would end it.
fn bare(key: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(plain) {
        return key;
    }
    toml::Value::String(key).to_string()
}

fn push(out: &mut Vec<Entry>, section: &str, name: &str, value: &toml::Value, about: String) {
    let value = Some(value.to_string());
    out.push(Entry { section: section.to_owned(), name: name.to_owned(), value, about });
}
