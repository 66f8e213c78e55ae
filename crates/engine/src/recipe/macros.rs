//! One text for what a setting is called, means, defaults to and may be.
//!
//! A field's documentation is what `rustdoc` shows and what `recipe show` prints above the key;
//! its default and range stand beside it. Written by hand, these four drift apart.

use super::section::Section;
use super::setting::{Limit, Setting};

/// A key of the resolved recipe.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Dotted path of the table, `stage[1].rl`; empty for the top.
    pub section: String,
    /// The key, dotted for a part's own settings: `grow.attempts`.
    pub name: String,
    /// As TOML; `None` where an optional key is not set.
    pub value: Option<String>,
    /// What the key means, its unit and range.
    pub about: String,
}

impl Entry {
    /// The dotted path from the top.
    pub fn key(&self) -> String {
        match self.section.as_str() {
            "" => self.name.clone(),
            section => format!("{section}.{}", self.name),
        }
    }
}

/// A table of settings.
pub(super) trait Settings: Sized {
    /// Reads the keys of the type; the caller finishes the section.
    fn read(section: &Section<'_>, default: Self) -> Self;

    /// Writes every key with its value.
    fn write(&self, section: &str, out: &mut Vec<Entry>);
}

pub(super) fn entry<T: Setting>(
    section: &str,
    name: &str,
    value: &T,
    about: &[&str],
    limit: Limit,
) -> Entry {
    let mut about: String = about.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    if limit != Limit::Any {
        about.push_str(&format!(" In {}.", limit.text()));
    }
    if !T::CHOICES.is_empty() {
        about.push_str(&format!(" One of {}.", super::nearest::list(T::CHOICES)));
    }
    Entry { section: section.to_owned(), name: name.to_owned(), value: value.text(), about }
}

/// `field: Type = default, limit;` for every key of a table. `with` names fields that are settings
/// themselves and read their keys from the same table (`optimizer`) or from one named after their
/// kind (`credit`); `tables` names fields that are tables of settings below this one.
macro_rules! settings {
    (
        $(#[doc = $title:literal])+
        pub struct $name:ident {
            $( $(#[doc = $about:literal])+ $field:ident : $kind:ty = $default:expr, $limit:expr; )+
            $( with { $( $(#[doc = $inner_about:literal])+ $inner:ident : $inner_kind:ty
                = $inner_default:expr; )+ } )?
            $( tables { $( $(#[doc = $table_about:literal])+ $table:ident : $table_kind:ty
                = $table_default:expr; )+ } )?
        }
    ) => {
        $(#[doc = $title])+
        #[derive(Clone, PartialEq, Debug, serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $about])+ pub $field: $kind, )+
            $( $( $(#[doc = $inner_about])+ pub $inner: $inner_kind, )+ )?
            $( $( $(#[doc = $table_about])+ pub $table: $table_kind, )+ )?
        }

        impl Default for $name {
            fn default() -> Self {
                $name {
                    $( $field: $default, )+
                    $( $( $inner: $inner_default, )+ )?
                    $( $( $table: $table_default, )+ )?
                }
            }
        }

        impl $crate::recipe::macros::Settings for $name {
            fn read(section: &$crate::recipe::section::Section<'_>, default: Self) -> Self {
                $name {
                    $( $field: section.setting(stringify!($field), default.$field, $limit), )+
                    $( $( $inner: $crate::recipe::macros::Settings::read(
                        section, default.$inner,
                    ), )+ )?
                    $( $( $table: match section.child(stringify!($table)) {
                        None => default.$table,
                        Some(table) => {
                            let read = $crate::recipe::macros::Settings::read(
                                &table, default.$table,
                            );
                            table.finish();
                            read
                        }
                    }, )+ )?
                }
            }

            fn write(&self, section: &str, out: &mut Vec<$crate::recipe::macros::Entry>) {
                $( out.push($crate::recipe::macros::entry(
                    section, stringify!($field), &self.$field, &[$($about),+], $limit,
                )); )+
                $( $( $crate::recipe::macros::Settings::write(&self.$inner, section, out); )+ )?
                $( $( $crate::recipe::macros::Settings::write(
                    &self.$table, &format!("{section}.{}", stringify!($table)), out,
                ); )+ )?
            }
        }
    };
}

/// A setting that is one of a few words.
macro_rules! choices {
    (
        $(#[doc = $title:literal])+
        pub enum $name:ident {
            $( $(#[doc = $about:literal])+ $variant:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $title])+
        #[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
        pub enum $name {
            $( $(#[doc = $about])+ #[serde(rename = $word)] $variant, )+
        }

        impl $name {
            /// The word a recipe uses.
            pub fn name(self) -> &'static str {
                match self { $( $name::$variant => $word, )+ }
            }
        }

        impl $crate::recipe::setting::Setting for $name {
            const CHOICES: &'static [&'static str] = &[$($word),+];

            fn read(
                value: &toml::de::DeValue<'_>,
                _: &$crate::recipe::setting::Limit,
            ) -> Result<Self, String> {
                let known = Self::CHOICES;
                let got = $crate::recipe::setting::shown(value);
                let text = match value {
                    toml::de::DeValue::String(text) => text.as_ref(),
                    _ => "",
                };
                match text {
                    $( $word => Ok($name::$variant), )+
                    other => {
                        let near = $crate::recipe::nearest::nearest(other, known)
                            .map(|near| format!("; nearest: `{near}`"));
                        let known = $crate::recipe::nearest::list(known);
                        let near = near.unwrap_or_default();
                        Err(format!("must be one of {known}, got: {got}{near}"))
                    }
                }
            }

            fn text(&self) -> Option<String> {
                Some(format!("\"{}\"", self.name()))
            }
        }
    };
}

pub(super) use {choices, settings};
