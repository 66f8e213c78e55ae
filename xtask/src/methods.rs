//! `docs/METHODS.md`, made from the heads of the method files: what a method is stands in one
//! place, beside its code. A new file appears here by itself; the test below says when to run this.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::rust_text::{Choice, Field, choices, fields, head};

/// Where the page is, from the root.
pub(crate) const PAGE: &str = "docs/METHODS.md";

const SOURCES: &str = "crates/methods/src";

/// Kinds in the order a datum meets them; folders that are not listed come after them.
const KINDS: &[(&str, &str)] = &[
    ("schedule", "what an update is made of"),
    ("curriculum", "which tasks come when"),
    ("selection", "which attempts become demonstrations"),
    ("grow", "where to sample next"),
    ("reward", "from verdicts to training rewards"),
    ("filter", "what may train"),
    ("credit", "what each step is worth"),
    ("objective", "from credit and log-probabilities to a loss and its gradient"),
    ("preference", "the better of two answers"),
    ("estimator", "what predicts value, progress or correctness at the ends of steps"),
    ("offline", "what a token is worth, learned from logged samples"),
    ("row", "losses of whole distributions, one position at a time"),
];

const INTRODUCTION: &str = "\
Made by `cargo xtask docs` from the heads of `crates/methods/src/*/*.rs`; change it there.
`stepwell methods` prints it.

A recipe names a method by its kind and `type`, with its keys beside it:
`credit = { type = \"backup\", value = \"max\" }`; a preference as `loss`, `siblings` as `pairs`,
a schedule as `plan`, filters in a list; a stage `[stage.rejection]` has the keys of its selection,
and `[stage.offline]` names an offline method as `method`.
Every key has a default. A method says what it reads, where it differs from its paper and why,
what it does in degenerate cases, and which comparison shows whether its clever part does the work.
DECISIONS are the project's design notes.
";

/// One method file.
struct Method {
    kind: String,
    name: String,
    title: String,
    /// `Paper`, `Idea` ... with their texts, in the file's order.
    section: Vec<(String, String)>,
    note: Vec<String>,
    /// Keys of the recipe; `None` where there is no table to set.
    key: Option<Vec<(String, String)>>,
}

/// The page's text.
pub(crate) fn page(root: &Path) -> Result<String> {
    let sources = sources(&root.join(SOURCES))?;
    let types = Types::new(&sources);
    let methods: Vec<Method> = sources
        .iter()
        .filter_map(|((kind, name), text)| method(kind, name, text, &types))
        .collect();
    ensure!(!methods.is_empty(), "no method has a head in {SOURCES}");
    let mut kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
    for method in &methods {
        if !kinds.contains(&method.kind.as_str()) {
            kinds.push(&method.kind);
        }
    }
    let mut out = format!("# Methods\n\n{INTRODUCTION}\n| kind | `type` | |\n|---|---|---|\n");
    let of = |kind: &str| methods.iter().filter(move |m| m.kind == kind).collect::<Vec<_>>();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for method in kinds.iter().flat_map(|kind| of(kind)) {
        let Method { kind, name, title, .. } = method;
        // A heading that was there before gets a number from whoever makes anchors of them.
        let before = seen.entry(name).or_default();
        let anchor = if *before == 0 { name.clone() } else { format!("{name}-{before}") };
        *before += 1;
        let _ = writeln!(out, "| {kind} | [`{name}`](#{anchor}) | {title} |");
    }
    for kind in kinds {
        let about = KINDS.iter().find(|(name, _)| *name == kind).map(|(_, about)| *about);
        let about = about.map_or_else(String::new, |about| format!(": {about}"));
        let _ = write!(out, "\n## {kind}{about}\n");
        of(kind).into_iter().for_each(|method| write(method, &mut out));
    }
    Ok(out)
}

fn write(method: &Method, out: &mut String) {
    let _ = write!(out, "\n### `{}`\n\n**{}**\n\n", method.name, method.title);
    for (label, text) in &method.section {
        let _ = writeln!(out, "- **{label}:** {text}");
    }
    for note in &method.note {
        let _ = write!(out, "\n{note}\n");
    }
    match method.key.as_deref() {
        None => {}
        Some([]) => out.push_str("\nNothing to set.\n"),
        Some(keys) => {
            out.push_str("\n| key | meaning |\n|---|---|\n");
            for (key, meaning) in keys {
                let _ = writeln!(out, "| `{key}` | {} |", meaning.replace('|', "\\|"));
            }
        }
    }
}

/// Files below the folders of the kinds, by kind and name.
fn sources(folder: &Path) -> Result<BTreeMap<(String, String), String>> {
    let mut found = BTreeMap::new();
    let list = |path: &Path| -> Result<Vec<std::fs::DirEntry>> {
        let entries = std::fs::read_dir(path).with_context(|| format!("{}", path.display()))?;
        Ok(entries.collect::<std::io::Result<_>>()?)
    };
    for kind in list(folder)?.into_iter().filter(|entry| entry.path().is_dir()) {
        // The list of all methods is none, and its enums would list them again.
        if kind.file_name() == "registry" {
            continue;
        }
        for file in list(&kind.path())? {
            let (kind, file_name) = (kind.file_name(), file.file_name());
            let Some(name) = file_name.to_str().and_then(|name| name.strip_suffix(".rs")) else {
                continue;
            };
            let text = std::fs::read_to_string(file.path())?;
            found.insert((kind.to_string_lossy().into_owned(), name.to_owned()), text);
        }
    }
    Ok(found)
}

/// `None` for files without the head of a method: parts that methods share.
fn method(kind: &str, name: &str, text: &str, types: &Types<'_>) -> Option<Method> {
    let head = head(text);
    head.section.iter().find(|(label, _)| label == "Paper")?;
    let file = (kind.to_owned(), name.to_owned());
    let key = fields(text, "Config").map(|own| types.keys(&own, &file, ""));
    Some(Method {
        kind: kind.to_owned(),
        name: name.to_owned(),
        title: head.title,
        section: head.section,
        note: head.note,
        key,
    })
}

/// The structs and enums that keys are made of.
struct Types<'s> {
    sources: &'s BTreeMap<(String, String), String>,
}

impl<'s> Types<'s> {
    fn new(sources: &'s BTreeMap<(String, String), String>) -> Self {
        Types { sources }
    }

    /// What `read` finds in the file itself, or else in exactly one other.
    fn find<T>(&self, file: &(String, String), read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let own = self.sources.get(file).and_then(|text| read(text));
        let mut others = self.sources.iter().filter(|(other, _)| *other != file);
        own.or_else(|| others.find_map(|(_, text)| read(text)))
    }

    /// Keys of a table, and below them those of the tables in it.
    fn keys(&self, own: &[Field], file: &(String, String), above: &str) -> Vec<(String, String)> {
        let mut keys = Vec::new();
        for Field { name, about, of } in own {
            let path = format!("{above}{name}");
            let mut about = about.clone();
            if let Some(choices) = self.find(file, |text| choices(text, of)) {
                let shown = choices.iter().map(Choice::shown).collect::<Vec<_>>().join("; ");
                let _ = write!(about, " One of {shown}.");
            }
            keys.push((path.clone(), about));
            if let Some(inner) = self.find(file, |text| fields(text, of)).filter(|_| of != "Config")
            {
                keys.extend(self.keys(&inner, file, &format!("{path}.")));
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    #[test]
    fn the_page_is_what_the_files_say() {
        let made = page(root()).unwrap();
        let found = std::fs::read_to_string(root().join(PAGE)).unwrap_or_default();
        let differs = made.lines().zip(found.lines()).position(|(a, b)| a != b);
        let line = differs.unwrap_or_else(|| made.lines().count().min(found.lines().count()));
        assert!(made == found, "{PAGE} is out of date from line {}: cargo xtask docs", line + 1);
    }

    #[test]
    fn every_method_has_all_that_a_method_says_of_itself() {
        let sources = sources(&root().join(SOURCES)).unwrap();
        let types = Types::new(&sources);
        let mut count = 0;
        for ((kind, name), text) in &sources {
            let Some(method) = method(kind, name, text, &types) else {
                let table = name != "mod" && text.contains("pub struct Config");
                assert!(!table, "{kind}/{name}.rs has a `Config` and no `Paper:`");
                continue;
            };
            count += 1;
            for label in ["Paper", "Idea", "Formula", "Reads", "Differs", "Degenerate", "Control"] {
                let found =
                    method.section.iter().any(|(own, text)| own == label && !text.is_empty());
                assert!(found, "{kind}/{name}.rs: no `{label}:`");
            }
            assert!(!method.title.is_empty(), "{kind}/{name}.rs: no title");
            for (key, about) in method.key.iter().flatten() {
                assert!(!about.is_empty(), "{kind}/{name}.rs: `{key}` says nothing of itself");
            }
        }
        assert!(count >= 20, "{count} methods found");
    }
}
