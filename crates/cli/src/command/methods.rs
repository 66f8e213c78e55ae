//! `methods`: what a recipe can choose from. The texts are those of `docs/METHODS.md`, which is
//! made from the heads of the method files; the defaults are those of this binary.

use std::fmt::Write as _;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::value::{Error, MapDeserializer};
use serde_json::Value;
use stepwell_methods::{
    CreditConfig, Curriculum, Filter, Grow, Objective, OfflineValue, PreferenceLoss, RewardConfig,
    Schedule,
};

use crate::arguments::Methods;
use crate::failure::input;
use crate::say::{say, width};
use crate::table::{Align, table};

const PAGE: &str = include_str!("../../../../docs/METHODS.md");

/// One method of the page.
#[derive(Debug, Default)]
struct Method {
    kind: String,
    name: String,
    title: String,
    /// `Paper` and so on with its text; notes without a label.
    paragraph: Vec<(Option<String>, String)>,
    /// Keys of the recipe, dotted below tables.
    key: Vec<(String, String)>,
}

/// Lists the methods, or tells of one.
pub(crate) fn methods(words: &Methods) -> anyhow::Result<ExitCode> {
    let known = read(PAGE);
    let Some(name) = &words.name else {
        let head = [("kind", Align::Left), ("type", Align::Left), ("", Align::Left)];
        let row = |m: &Method| vec![m.kind.clone(), m.name.clone(), m.title.clone()];
        say(table(&head, &known.iter().map(row).collect::<Vec<_>>()));
        return Ok(ExitCode::SUCCESS);
    };
    let found: Vec<&Method> = known.iter().filter(|method| method.name == *name).collect();
    if found.is_empty() {
        let names: Vec<String> = known.iter().map(|method| format!("`{}`", method.name)).collect();
        return Err(input(format!("no method `{name}`; known: {}", names.join(", "))));
    }
    let texts: Vec<String> = found.into_iter().map(|method| text(method, width())).collect();
    say(texts.join("\n"));
    Ok(ExitCode::SUCCESS)
}

fn text(method: &Method, width: usize) -> String {
    let Method { kind, name, title, paragraph, key } = method;
    let mut out = format!("{name} ({kind})\n{title}\n\n");
    for (label, words) in paragraph {
        let label = label.as_ref().map_or_else(String::new, |label| format!("{label}: "));
        wrap(&format!("{label}{words}"), "", width, &mut out);
    }
    if let Some(table) = defaults(kind, name) {
        let table = line(&table, key);
        let line = match kind.as_str() {
            "preference" => format!("loss = {table}"),
            "schedule" => format!("plan = {table}"),
            "filter" => format!("filter = [{table}]"),
            "offline" => format!("method = {table}"),
            kind => format!("{kind} = {table}"),
        };
        let _ = write!(out, "\nIn a recipe, with every default:\n  {line}\n");
    }
    if !key.is_empty() {
        out.push('\n');
    }
    for (name, meaning) in key {
        wrap(&format!("{name}: {meaning}"), "  ", width, &mut out);
    }
    out
}

/// Words in lines of at most `width` columns, those after the first indented.
fn wrap(words: &str, margin: &str, width: usize, out: &mut String) {
    let (mut column, mut first) = (margin.len(), true);
    out.push_str(margin);
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if !first && column + 1 + length > width {
            let _ = write!(out, "\n{margin}  ");
            column = margin.len() + 2;
        } else if !first {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
        first = false;
    }
    out.push('\n');
}

/// The settings of a method that a recipe names and says nothing else of; `None` for what is no
/// `type` of its kind.
fn defaults(kind: &str, name: &str) -> Option<Value> {
    type Empty = MapDeserializer<'static, std::iter::Empty<(&'static str, bool)>, Error>;
    fn value<T: Serialize>(read: Result<Option<T>, Error>) -> Option<Value> {
        serde_json::to_value(read.ok()??).ok()
    }
    let empty = || Empty::new(std::iter::empty());
    match kind {
        "grow" => value(Grow::from_type(name, empty())),
        "reward" => value(RewardConfig::from_type(name, empty())),
        "credit" => value(CreditConfig::from_type(name, empty())),
        "objective" => value(Objective::from_type(name, empty())),
        "preference" => value(PreferenceLoss::from_type(name, empty())),
        "filter" => value(Filter::from_type(name, empty())),
        "schedule" => value(Schedule::from_type(name, empty())),
        "curriculum" => value(Curriculum::from_type(name, empty())),
        "offline" => value(OfflineValue::from_type(name, empty())),
        _ => None,
    }
}

/// The settings as a recipe writes them, `type` first and then in the page's order.
fn line(settings: &Value, order: &[(String, String)]) -> String {
    let place = |key: &str| order.iter().position(|(name, _)| name == key);
    let mut fields: Vec<(&String, &Value)> = settings.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(key, _)| (*key != "type", place(key)));
    table_text(&fields)
}

fn table_text(fields: &[(&String, &Value)]) -> String {
    // What is not set has no value that could be written.
    let set = fields.iter().filter(|(_, value)| !value.is_null());
    let fields: Vec<String> =
        set.map(|(key, value)| format!("{key} = {}", value_text(value))).collect();
    if fields.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", fields.join(", ")) }
}

fn value_text(value: &Value) -> String {
    match value {
        Value::Object(fields) => table_text(&fields.iter().collect::<Vec<_>>()),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(value_text).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Reads the page that `cargo xtask docs` writes.
fn read(page: &str) -> Vec<Method> {
    let mut methods: Vec<Method> = Vec::new();
    let mut kind = "";
    for text in page.lines() {
        if let Some(heading) = text.strip_prefix("## ") {
            kind = heading.split(':').next().unwrap_or(heading);
        } else if let Some(name) = text.strip_prefix("### ") {
            let (kind, name) = (kind.to_owned(), name.trim_matches('`').to_owned());
            methods.push(Method { kind, name, ..Method::default() });
        } else if let Some(method) = methods.last_mut() {
            paragraph(text, method);
        }
    }
    methods
}

fn paragraph(text: &str, method: &mut Method) {
    let cell = |cell: &str| cell.replace("\\|", "|");
    if let Some(title) = text.strip_prefix("**") {
        method.title = title.trim_end_matches("**").to_owned();
    } else if let Some((label, words)) =
        text.strip_prefix("- **").and_then(|rest| rest.split_once(":** "))
    {
        method.paragraph.push((Some(label.to_owned()), words.to_owned()));
    } else if let Some((key, meaning)) =
        text.strip_prefix("| `").and_then(|rest| rest.split_once("` | "))
    {
        method.key.push((key.to_owned(), cell(meaning.trim_end_matches(" |"))));
    } else if !text.is_empty() && !text.starts_with('|') && !text.starts_with('#') {
        method.paragraph.push((None, text.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_registry_is_on_the_page_with_all_its_keys() {
        let known = read(PAGE);
        let kinds = [
            ("grow", Grow::NAMES),
            ("reward", RewardConfig::NAMES),
            ("credit", CreditConfig::NAMES),
            ("objective", Objective::NAMES),
            ("preference", PreferenceLoss::NAMES),
            ("filter", Filter::NAMES),
            ("schedule", Schedule::NAMES),
            ("curriculum", Curriculum::NAMES),
        ];
        for (kind, names) in kinds {
            for name in names {
                let found = known.iter().find(|m| m.kind == kind && m.name == *name);
                let method = found.unwrap_or_else(|| panic!("{kind} `{name}`: cargo xtask docs"));
                let settings = defaults(kind, name).unwrap();
                let fields = settings.as_object().unwrap().keys().filter(|key| *key != "type");
                let mut fields: Vec<&str> = fields.map(String::as_str).collect();
                let top = method.key.iter().filter(|(key, _)| !key.contains('.'));
                let mut keys: Vec<&str> = top.map(|(key, _)| key.as_str()).collect();
                fields.sort_unstable();
                keys.sort_unstable();
                assert_eq!(fields, keys, "{kind} `{name}`");
            }
            // Where pairs come from, who labels them, and how a critic learns: keys of their own.
            let other = ["siblings", "judged", "value_loss"];
            let method = |m: &&Method| m.kind == kind && !other.contains(&m.name.as_str());
            let own = known.iter().filter(method).count();
            assert_eq!(own, names.len(), "{kind}: the page has a method that no recipe can name");
        }
    }

    #[test]
    fn settings_are_written_as_a_recipe_reads_them() {
        let settings = serde_json::json!({
            "b": [{ "part": "outcome", "threshold": null, "weight": 0.5 }],
            "a": {}, "c": null, "type": "x", "d": 1e-6, "e": { "f": "g" },
        });
        let order = ["d", "a", "b", "c", "e"].map(|key| (key.to_owned(), String::new()));
        let expected = "{ type = \"x\", d = 1e-6, a = {}, b = [{ part = \"outcome\", weight = 0.5 }], \
                        e = { f = \"g\" } }";
        assert_eq!(line(&settings, &order), expected);
    }

    #[test]
    fn lines_end_before_the_width() {
        let mut out = String::new();
        wrap("Idea: one two three", "  ", 12, &mut out);
        assert_eq!(out, "  Idea: one\n    two\n    three\n");
    }
}
