//! Reads one table of a recipe, key by key, and collects every problem instead of stopping at the
//! first. Positions come from `toml`'s spanned tree, so an error names the line of its key.

use std::cell::RefCell;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::{list, nearest};
use super::setting::{Limit, Setting, shown};

/// A problem before its place is known as a line.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Problem {
    /// Byte of the source; past its end for an override.
    pub(super) offset: usize,
    pub(super) key: String,
    pub(super) message: String,
}

/// The offset of a problem of the file as a whole.
pub(super) const WHOLE_FILE: usize = usize::MAX;
/// Most problems that are reported; nobody reads on, and a hostile file has a million.
pub(crate) const PROBLEMS_MAX: usize = 100;

/// Where problems are collected while a recipe is read.
#[derive(Default, Debug)]
pub(super) struct Notes {
    pub(super) errors: RefCell<Vec<Problem>>,
    pub(super) warnings: RefCell<Vec<Problem>>,
}

impl Notes {
    /// True where no more problems are kept: whoever looks for them may stop.
    pub(super) fn is_full(&self) -> bool {
        self.errors.borrow().len() > PROBLEMS_MAX
    }

    pub(super) fn error(&self, offset: usize, key: impl Into<String>, message: impl Into<String>) {
        if self.is_full() {
            return;
        }
        let problem = Problem { offset, key: key.into(), message: message.into() };
        self.errors.borrow_mut().push(problem);
    }

    pub(super) fn warn(&self, offset: usize, key: impl Into<String>, message: impl Into<String>) {
        let problem = Problem { offset, key: key.into(), message: message.into() };
        self.warnings.borrow_mut().push(problem);
    }
}

/// A table under its dotted path.
pub(super) struct Section<'d> {
    pub(super) notes: &'d Notes,
    pub(super) path: String,
    /// Where the table stands, for problems that have no key of their own.
    pub(super) offset: usize,
    table: &'d DeTable<'d>,
    seen: RefCell<Vec<&'static str>>,
}

impl<'d> Section<'d> {
    pub(super) fn new(
        notes: &'d Notes,
        path: String,
        offset: usize,
        table: &'d DeTable<'d>,
    ) -> Section<'d> {
        Section { notes, path, offset, table, seen: RefCell::default() }
    }

    /// The dotted path of a key of this table.
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Names a key as known and gives its value where it is set.
    pub(super) fn take(&self, name: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        let mut seen = self.seen.borrow_mut();
        // Several readers may share a table.
        if !seen.contains(&name) {
            seen.push(name);
        }
        self.table.get(name)
    }

    /// True where the key is set.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.contains_key(name)
    }

    /// Keys that are set, in the order of the file.
    pub(super) fn keys(&self) -> Vec<(&'d str, usize)> {
        let mut keys: Vec<(&str, usize)> =
            self.table.iter().map(|(k, _)| (k.get_ref().as_ref(), k.span().start)).collect();
        keys.sort_by_key(|(_, offset)| *offset);
        keys
    }

    /// A setting: the file's value, or the default where it is absent or wrong (wrong is noted).
    pub(super) fn setting<T: Setting>(&self, name: &'static str, default: T, limit: Limit) -> T {
        let Some(value) = self.take(name) else { return default };
        match T::read(value.get_ref(), &limit) {
            Ok(read) => read,
            Err(why) => {
                let key = self.key(name);
                self.notes.error(value.span().start, &key, format!("`{key}` {why}"));
                default
            }
        }
    }

    /// A table inside this one, where it is set.
    pub(super) fn child(&self, name: &'static str) -> Option<Section<'d>> {
        let value = self.take(name)?;
        let key = self.key(name);
        match value.get_ref() {
            DeValue::Table(table) => {
                Some(Section::new(self.notes, key, self.offset_of(name), table))
            }
            other => {
                let message = format!("`{key}` must be a table, got: {}", shown(other));
                self.notes.error(value.span().start, &key, message);
                None
            }
        }
    }

    /// Where a key stands; the table itself where it is not set.
    pub(super) fn offset_of(&self, name: &str) -> usize {
        self.table.get_key_value(name).map_or(self.offset, |(key, _)| key.span().start)
    }

    /// Notes every key that nothing asked for.
    pub(super) fn finish(self) {
        let known = self.seen.borrow();
        for (name, offset) in self.keys() {
            if self.notes.is_full() {
                break;
            }
            if known.contains(&name) {
                continue;
            }
            let key =
                self.key(&name.chars().take(80).collect::<String>().escape_debug().to_string());
            let help = match nearest(name, &known) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!("; known: {}", list(&known)),
            };
            self.notes.error(offset, &key, format!("unknown key `{key}`{help}"));
        }
    }
}
