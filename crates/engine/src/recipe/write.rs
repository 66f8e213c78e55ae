//! The resolved recipe as text, and what differs between two.

use std::collections::BTreeMap;
use std::fmt;

use super::Recipe;
use super::macros::{Entry, Settings, entry};
use super::model::CHAT_TEMPLATE_ABOUT;
use super::setting::Limit;

/// One key that two recipes set differently. `Display` is the sentence a resume is refused with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Dotted path, `stage[1].rl.grow.attempts`.
    pub key: String,
    /// The first recipe's value as TOML; `None` where it has no such key.
    pub was: Option<String>,
    /// The second recipe's.
    pub now: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.was, &self.now) {
            (Some(was), Some(now)) => write!(f, "`{} = {was}`, now {now}", self.key),
            (Some(was), None) => write!(f, "`{} = {was}`, now not set", self.key),
            (None, now) => {
                write!(f, "`{}` not set, now {}", self.key, now.as_deref().unwrap_or("not set"))
            }
        }
    }
}

impl Recipe {
    /// Every key with its value and meaning, in the order they are written.
    pub fn entries(&self) -> Vec<Entry> {
        let mut out = vec![entry("", "seed", &self.seed, SEED_ABOUT, SEED_LIMIT)];
        if self.chat_template.is_some() {
            let (value, about) = (&self.chat_template, CHAT_TEMPLATE_ABOUT);
            out.push(entry("model", "chat_template", value, about, Limit::Any));
        }
        self.model.write("", &mut out);
        if let Some(lora) = &self.lora {
            lora.write("model.lora", &mut out);
        }
        self.compute.write("model.compute", &mut out);
        self.checkpoints.write("checkpoints", &mut out);
        self.guards.write("guards", &mut out);
        self.environment.write("", &mut out);
        for (index, stage) in self.stage.iter().enumerate() {
            stage.write(index, &mut out);
        }
        out
    }

    /// The recipe with every default. Parses back to an equal recipe.
    pub fn to_toml(&self) -> String {
        self.text(false)
    }

    /// The same with each key's meaning, unit and range above it: `recipe show`.
    pub fn to_commented_toml(&self) -> String {
        self.text(true)
    }

    fn text(&self, comments: bool) -> String {
        let mut out = String::new();
        let mut section = String::new();
        for entry in self.entries() {
            if entry.section != section {
                out.push_str(&header(&entry.section, &section));
                section.clone_from(&entry.section);
            }
            if comments && !entry.about.is_empty() {
                out.push_str(&comment(&entry.about));
            }
            match entry.value {
                Some(value) => out.push_str(&format!("{} = {value}\n", entry.name)),
                None if comments => out.push_str(&format!("# {} is not set\n", entry.name)),
                None => {}
            }
        }
        out
    }
}

pub(super) const SEED_ABOUT: &[&str] = &["Every draw of the run follows from it."];
pub(super) const SEED_LIMIT: Limit = Limit::Whole(0, u64::MAX);

/// `[[stage]]` before the first table of a stage; its own table is named without the index.
fn header(section: &str, before: &str) -> String {
    let stage = |path: &str| path.split_once(']').map(|(index, _)| index.to_owned());
    let new_stage = stage(section).is_some() && stage(section) != stage(before);
    let name = match section.split_once(']') {
        Some((_, rest)) => format!("stage{rest}"),
        None => section.to_owned(),
    };
    let stage = if new_stage { "[[stage]]\n" } else { "" };
    format!("\n{stage}[{name}]\n")
}

fn comment(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + 1 + word.len() > 96 {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &line + "\n"
}

/// Every key that differs, in the order of the dotted paths; none where a run may go on.
pub fn diff(was: &Recipe, now: &Recipe) -> Vec<Difference> {
    let keys = |recipe: &Recipe| -> BTreeMap<String, String> {
        let set = recipe.entries().into_iter();
        set.filter_map(|entry| entry.value.clone().map(|value| (entry.key(), value))).collect()
    };
    let (was, now) = (keys(was), keys(now));
    let mut all: Vec<&String> = was.keys().chain(now.keys()).collect();
    all.sort();
    all.dedup();
    let differs = all.into_iter().filter(|key| was.get(*key) != now.get(*key));
    differs
        .map(|key| Difference {
            key: key.clone(),
            was: was.get(key).cloned(),
            now: now.get(key).cloned(),
        })
        .collect()
}
