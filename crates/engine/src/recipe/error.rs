//! What is wrong with a recipe, and where (P22).

use std::fmt;

/// One problem of a recipe. `message` is a whole sentence that names the key; `Display` puts the
/// place before it: ``recipe.toml:7: unknown key `stage[1].rl.learning_rte`; did you mean ...``
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RecipeError {
    /// The file as the user named it; `--set` for an override.
    pub file: String,
    /// Counted from 1; 0 where the problem has no line (the file itself, an override).
    pub line: usize,
    /// In characters, counted from 1; 0 where `line` is.
    pub column: usize,
    /// Dotted path of the key, `stage[1].rl.learning_rate`; empty for the whole file.
    pub key: String,
    /// What was wrong, what was got, what was expected, what to do.
    pub message: String,
}

impl fmt::Display for RecipeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

impl std::error::Error for RecipeError {}
