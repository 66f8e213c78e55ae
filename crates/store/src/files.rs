//! A run folder to be read: no lock is taken and nothing is written, so that a run can be looked at
//! while it goes on, and where its folder cannot be written.

use std::fs;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::error::{Result, StoreError};
use crate::folder::{RECIPE, checkpoints_path};
use crate::reader::RunReader;

/// What a run left behind, or has left behind so far. Another process may write it meanwhile:
/// commits are added, checkpoints come, and go where newer ones are there.
#[derive(Clone, Debug)]
pub struct RunFiles {
    path: PathBuf,
    recipe: String,
}

impl RunFiles {
    /// Opens a run to read it.
    pub fn open(path: &Path) -> Result<RunFiles> {
        let recipe = RunReader::open(path)?.recipe()?;
        has_recipe(path, &recipe)?;
        Ok(RunFiles::of(path, recipe))
    }

    pub(crate) fn of(path: &Path, recipe: String) -> RunFiles {
        RunFiles { path: path.to_owned(), recipe }
    }

    /// Where the run is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved recipe.
    pub fn recipe(&self) -> &str {
        &self.recipe
    }

    /// Where checkpoints are.
    pub fn checkpoints(&self) -> PathBuf {
        checkpoints_path(&self.path)
    }
}

/// `recipe.toml` is a copy for people: false where it is missing. Where it was edited, nobody may
/// take the run for one that followed it.
pub(crate) fn has_recipe(folder: &Path, expected: &str) -> Result<bool> {
    let path = &folder.join(RECIPE);
    // Opening a pipe would wait for whoever writes into it.
    if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
        let error = std::io::Error::other("it is not a regular file");
        return Err(StoreError::io("read", path, error));
    }
    match fs::read(path) {
        Ok(got) if got == expected.as_bytes() => Ok(true),
        Ok(got) => Err(StoreError::RecipeChanged {
            got: Digest::of(&got).to_string(),
            expected: Digest::of(expected.as_bytes()).to_string(),
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(StoreError::io("read", path, e)),
    }
}
