//! What stands in a Rust file, as far as the page of methods needs it: the head of the file, the
//! fields of a struct, the variants of an enum, each with its documentation.

/// The head of a method file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) title: String,
    pub(crate) section: Vec<(String, String)>,
    /// Paragraphs after the sections.
    pub(crate) note: Vec<String>,
}

/// A field of a struct.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) about: String,
    /// Its type, without what wraps it.
    pub(crate) of: String,
}

/// A variant of an enum, as a recipe writes it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) name: String,
    pub(crate) about: String,
}

impl Choice {
    pub(crate) fn shown(&self) -> String {
        format!("`{}`: {}", self.name, self.about.trim_end_matches('.'))
    }
}

/// Reads `//! # Title`, sections that begin with a capital word and a colon, and what follows.
pub(crate) fn head(text: &str) -> Head {
    let mut head = Head::default();
    // Whether the next line begins something new.
    let mut fresh = true;
    for line in text.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = plain(line.trim());
        if let Some(title) = line.strip_prefix("# ") {
            head.title = title.to_owned();
            continue;
        }
        if line.is_empty() {
            fresh = true;
            continue;
        }
        let label = line.split_once(": ").filter(|(label, _)| is_label(label));
        match label {
            Some((label, rest)) if head.note.is_empty() => {
                head.section.push((label.to_owned(), rest.to_owned()));
            }
            _ => {
                if fresh {
                    head.note.push(String::new());
                }
                let open = match head.note.last_mut() {
                    Some(note) => note,
                    None => match head.section.last_mut() {
                        Some((_, text)) => text,
                        None => continue,
                    },
                };
                join(open, &line);
            }
        }
        fresh = false;
    }
    head
}

fn is_label(word: &str) -> bool {
    let known = ["Paper", "Idea", "Formula", "Reads", "Differs", "Degenerate", "Control"];
    known.contains(&word)
}

/// The public fields of a struct; `None` where the file has no such struct.
pub(crate) fn fields(text: &str, name: &str) -> Option<Vec<Field>> {
    let block = block(text, &format!("pub struct {name} {{"))?;
    let mut fields = Vec::new();
    let mut about = String::new();
    for line in block {
        match line.strip_prefix("///") {
            Some(words) => join(&mut about, &plain(words.trim())),
            None => {
                let field = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": "));
                if let Some((name, of)) = field {
                    let about = std::mem::take(&mut about);
                    let of = innermost(of.trim_end_matches(','));
                    fields.push(Field { name: name.to_owned(), about, of });
                }
            }
        }
    }
    Some(fields)
}

/// The variants of an enum whose names a recipe writes in snake case; `None` where the file has no
/// such enum.
pub(crate) fn choices(text: &str, name: &str) -> Option<Vec<Choice>> {
    let block = block(text, &format!("pub enum {name} {{"))?;
    let mut choices = Vec::new();
    let (mut about, mut depth) = (String::new(), 0);
    for line in block {
        let inner = depth > 0;
        depth += line.matches('{').count();
        depth -= line.matches('}').count().min(depth);
        match line.strip_prefix("///") {
            _ if inner => {}
            Some(words) => join(&mut about, &plain(words.trim())),
            None if line.starts_with(char::is_uppercase) => {
                let end = line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len());
                let about = std::mem::take(&mut about);
                choices.push(Choice { name: snake(&line[..end]), about });
            }
            None => {}
        }
    }
    Some(choices)
}

/// The lines between a line and the brace that closes it, without indentation.
fn block<'t>(text: &'t str, opening: &str) -> Option<Vec<&'t str>> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(opening));
    if lines.next()?.ends_with('}') {
        return Some(Vec::new());
    }
    Some(lines.take_while(|line| *line != "}").map(str::trim).collect())
}

/// `Option<Box<Kl>>` is about `Kl`.
fn innermost(of: &str) -> String {
    let inner = of.rsplit('<').next().unwrap_or(of).trim_end_matches('>');
    inner.rsplit(", ").next().unwrap_or(inner).to_owned()
}

fn snake(name: &str) -> String {
    let mut out = String::new();
    for (k, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && k > 0 {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    out
}

/// Links of rustdoc as the names they show.
fn plain(text: &str) -> String {
    text.replace("[`super::", "`").replace("[`", "`").replace("`]", "`")
}

fn join(text: &mut String, line: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
//! # A title (ABC)
//!
//! Paper: arXiv 1: of a kind,
//! second line.
//! Control: none.
//!
//! A note, with [`super::name`]
//! on two lines.
//!
//! Idea: not a section any more.

use x;

/// How.
pub enum How {
    /// The first.
    #[default]
    FirstWay,
    /// A number
    /// on two lines.
    Constant(f64),
    /// With a field.
    Inner {
        /// Not a variant.
        Length: Option<usize>,
    },
}

pub struct Config {
    /// What it is. Default 1.
    #[serde(default)]
    pub how: Option<Box<How>>,
    /// Two
    /// lines.
    pub weights: BTreeMap<String, f64>,
}

pub struct Nothing {}
";

    #[test]
    fn a_head_is_a_title_sections_and_notes() {
        let head = head(FILE);
        assert_eq!(head.title, "A title (ABC)");
        let section = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        let paper = section("Paper", "arXiv 1: of a kind, second line.");
        assert_eq!(head.section, [paper, section("Control", "none.")]);
        let notes = ["A note, with `name` on two lines.", "Idea: not a section any more."];
        assert_eq!(head.note, notes);
    }

    #[test]
    fn fields_and_variants_come_with_their_words() {
        let fields = fields(FILE, "Config").unwrap();
        let field = |name: &str, about: &str, of: &str| Field {
            name: name.to_owned(),
            about: about.to_owned(),
            of: of.to_owned(),
        };
        let how = field("how", "What it is. Default 1.", "How");
        assert_eq!(fields, [how, field("weights", "Two lines.", "f64")]);
        assert_eq!(super::fields(FILE, "Nothing"), Some(Vec::new()));
        assert_eq!(super::fields(FILE, "Absent"), None);
        let names: Vec<String> = choices(FILE, "How").unwrap().iter().map(Choice::shown).collect();
        let expected = [
            "`first_way`: The first",
            "`constant`: A number on two lines",
            "`inner`: With a field",
        ];
        assert_eq!(names, expected);
        assert_eq!(choices(FILE, "Config"), None);
    }
}
