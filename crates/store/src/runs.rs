//! What runs are there: one line each, whatever state they are in.

use std::fs;
use std::path::{Path, PathBuf};

use crate::commit::{Kind, Metrics};
use crate::error::{Result, StoreError};
use crate::folder::{lock_path, record_path};
use crate::lock;
use crate::reader::RunReader;

/// Whether a run goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunState {
    /// A process writes it.
    Running,
    /// The recipe is done.
    Finished,
    /// Nobody writes it, and the recipe is not done: it can be resumed.
    Stopped,
    /// The record cannot be read; the error says why.
    Unreadable(String),
}

/// A run at a glance.
#[derive(Clone, PartialEq, Debug)]
pub struct RunSummary {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
    /// Whether it goes on.
    pub state: RunState,
    /// The resolved recipe.
    pub recipe: String,
    /// The stage of the newest optimizer step; `None` before the first.
    pub stage: Option<u32>,
    /// The update of that step.
    pub update: Option<u64>,
    /// The newest value of every metric.
    pub metrics: Metrics,
}

/// All runs directly under a folder, by name.
pub fn list_runs(parent: &Path) -> Result<Vec<RunSummary>> {
    let failed = |e| StoreError::io("list", parent, e);
    let mut folders = Vec::new();
    for entry in fs::read_dir(parent).map_err(failed)? {
        folders.push(entry.map_err(failed)?.path());
    }
    folders.sort();
    Ok(folders.iter().filter(|path| record_path(path).is_ok()).map(|path| summary(path)).collect())
}

/// True while a process writes the run.
pub fn is_running(run: &Path) -> bool {
    lock::is_held(&lock_path(run))
}

fn summary(path: &Path) -> RunSummary {
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let mut summary = RunSummary {
        name,
        path: path.to_owned(),
        state: RunState::Stopped,
        recipe: String::new(),
        stage: None,
        update: None,
        metrics: Metrics::new(),
    };
    if let Err(error) = fill(&mut summary) {
        summary.state = RunState::Unreadable(error.to_string());
    }
    summary
}

fn fill(summary: &mut RunSummary) -> Result<()> {
    let reader = RunReader::open(&summary.path)?;
    summary.recipe = reader.recipe()?;
    if let Some(updated) = reader.newest(Kind::Updated)? {
        summary.stage = Some(updated.key.stage);
        summary.update = Some(updated.key.update);
    }
    for name in reader.metric_names()? {
        if let Some(point) = reader.metric_series(&name)?.last() {
            summary.metrics.insert(name, point.value);
        }
    }
    summary.state = match is_running(&summary.path) {
        true => RunState::Running,
        false if reader.newest(Kind::Finished)?.is_some() => RunState::Finished,
        false => RunState::Stopped,
    };
    Ok(())
}
