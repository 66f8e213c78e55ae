//! Settings that are each allowed and together impossible. Every message names what to change.

use toml::de::DeValue;

use super::Draft;
use super::section::Notes;

/// Notes every impossible combination of a recipe.
pub(super) fn check(_draft: &Draft, _tree: &DeValue<'_>, _notes: &Notes) {}
