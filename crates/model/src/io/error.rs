//! What can be wrong with a model folder.

use std::path::{Path, PathBuf};

use crate::{template::TemplateError, tokenizer::TokenizerError};

/// Why a folder could not be read or written. Nothing of it was used.
#[derive(Debug, thiserror::Error)]
pub enum IoError {
    /// The system refused a file.
    #[error("`{path}` cannot be {verb}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// "read" or "written".
        verb: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file the folder must have is absent.
    #[error("`{file}` is missing: expected in the model folder; {next}")]
    Missing {
        /// The file's name.
        file: String,
        /// What to do.
        next: &'static str,
    },
    /// A file is something else than its name says.
    #[error("`{file}` is not a {expected} file: it is {got}; {next}")]
    Foreign {
        /// The file's name.
        file: String,
        /// What its name promises.
        expected: &'static str,
        /// What its first bytes say.
        got: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// A safetensors file breaks its own format.
    #[error("`{file}`: {problem}; the file is damaged: fetch or write it again")]
    Damaged {
        /// The file's name.
        file: String,
        /// The rule that is broken.
        problem: String,
    },
    /// The shape or the weights cannot be used: every problem, not the first only.
    #[error("`{file}` has {} problem{}:\n  {}", .problems.len(), plural(.problems), .problems.join("\n  "))]
    Problems {
        /// The file or group of files.
        file: String,
        /// One sentence each.
        problems: Vec<String>,
    },
    /// The tokenizer was refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template was refused.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// Problems that one message lists: a wrong number of layers alone makes thousands.
const PROBLEMS_MAX: usize = 40;

fn plural(problems: &[String]) -> &'static str {
    if problems.len() == 1 { "" } else { "s" }
}

impl IoError {
    pub(crate) fn reading(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), verb: "read", source }
    }

    pub(crate) fn writing(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), verb: "written", source }
    }

    pub(crate) fn damaged(file: &str, problem: String) -> Self {
        Self::Damaged { file: file.to_owned(), problem }
    }

    pub(crate) fn problems(file: &str, mut problems: Vec<String>) -> Self {
        if problems.len() > PROBLEMS_MAX {
            let more = problems.len() - PROBLEMS_MAX;
            problems.truncate(PROBLEMS_MAX);
            problems.push(format!("and {more} more"));
        }
        Self::Problems { file: file.to_owned(), problems }
    }
}
