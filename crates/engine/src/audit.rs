//! `stepwell check`: everything that a record says of itself is computed again.
//!
//! The chain of digests shows that nobody changed a row since it was written. Here the rows are
//! compared with what they follow from: tokens with texts, observations and verdicts with the
//! environment, log-probabilities with the weights of kept checkpoints, credit and metrics with the
//! trees, versions with the updates before, checkpoints with their lineage. Nothing is
//! written and no lock is taken: of a run that goes on, what it holds now is computed again.

mod tree;
mod update;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use stepwell_store::{Checkpoint, CommitInfo, Digest, Kind, LineageRow, RunFiles, RunReader};
use stepwell_train::{Learner, Reference};
use stepwell_tree::{PolicyVersion, Task, TaskHash};

use crate::checkpoint;
use crate::error::EngineError;
use crate::judge::own_recipe;
use crate::problem::Problem;
use crate::recipe::{self, Recipe};

/// What was compared, and what could not be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// Commits of the chain.
    pub commits: u64,
    /// Trees in all commits.
    pub trees: u64,
    /// Steps of those trees.
    pub steps: u64,
    /// Attempts that the environment played and judged again.
    pub judged: u64,
    /// Trees whose credit was computed again.
    pub credited: u64,
    /// Sampled tokens whose log-probability was computed again.
    pub logprobs: u64,
    /// Checkpoints that were read, and compared with the record.
    pub checkpoints: u64,
    /// What is not compared, and why.
    pub left_out: BTreeSet<String>,
}

/// Computes a run's record again.
///
/// # Errors
/// [`EngineError::Audit`] names the first thing that is not what it follows from; others where the
/// folder is no run, or its files cannot be read.
pub fn audit(path: &Path, threads: usize) -> Result<Audit, EngineError> {
    let run = RunFiles::open(path)?;
    let reader = RunReader::open(path)?;
    let verified = reader.verify()?;
    let mut recipe = own_recipe(&run)?;
    let device = recipe.compute.device;
    recipe.compute.device = recipe::Device::Cpu;
    let problem = Problem::build(&recipe)?;
    let learner = problem.learner(&recipe, threads)?;
    // A run that goes on adds commits: those that were verified, and of these all that is told.
    let commits: Vec<CommitInfo> =
        reader.commits()?.into_iter().take(verified.commits as usize).collect();
    let told = reader.lineage()?.into_iter().map(|row| (row.commit, row)).collect();
    let mut own = Auditor {
        run: &run,
        reader: &reader,
        recipe: &recipe,
        tasks: tasks(&problem),
        problem: &problem,
        on_cpu: device == recipe::Device::Cpu,
        threads,
        told,
        version: PolicyVersion(0),
        sums: BTreeMap::new(),
        weights: (PolicyVersion(0), Reference::of(learner.model()), learner),
        found: Audit {
            commits: verified.commits,
            trees: verified.trees,
            steps: verified.steps,
            ..Audit::default()
        },
    };
    own.same_tasks(&commits)?;
    for commit in &commits {
        own.commit(commit)?;
    }
    Ok(own.found)
}

fn tasks(problem: &Problem) -> BTreeMap<TaskHash, Task> {
    let splits = problem.splits();
    let all = splits.iter().flat_map(|(_, tasks)| tasks.iter());
    all.map(|task| (task.hash(), task.clone())).collect()
}

struct Auditor<'a> {
    run: &'a RunFiles,
    reader: &'a RunReader,
    recipe: &'a Recipe,
    problem: &'a Problem,
    tasks: BTreeMap<TaskHash, Task>,
    /// True where the run computed on the processor: its numbers return bit for bit.
    on_cpu: bool,
    threads: usize,
    /// What the record says of versions, by commit.
    told: BTreeMap<u64, LineageRow>,
    /// The version that the last update left.
    version: PolicyVersion,
    /// What the record says of the weights of each version.
    sums: BTreeMap<u64, Digest>,
    /// Weights at hand, which version they are, and what gives their log-probabilities.
    weights: (PolicyVersion, Reference, Learner),
    found: Audit,
}

/// What is not what it follows from, and where.
fn wrong(place: impl Into<String>, what: impl Into<String>) -> EngineError {
    EngineError::Audit { place: place.into(), what: what.into() }
}

/// `recorded X, computed again Y`.
fn differs(what: &str, recorded: impl std::fmt::Debug, again: impl std::fmt::Debug) -> String {
    let short = |text: String| match text.char_indices().nth(200) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text,
    };
    let (recorded, again) = (short(format!("{recorded:?}")), short(format!("{again:?}")));
    format!("{what}: recorded {recorded}, computed again {again}")
}

impl Auditor<'_> {
    /// The tasks are those that the run began with: where files were edited since, nothing that
    /// follows would be the record's fault.
    fn same_tasks(&self, commits: &[CommitInfo]) -> Result<(), EngineError> {
        let splits = self.problem.splits();
        let is_split = |commit: &&CommitInfo| {
            let key = &commit.key;
            let named = splits.iter().any(|(name, _)| *name == key.name);
            key.kind == Kind::Tasks && key.stage == 0 && named
        };
        let mut recorded = Vec::new();
        for commit in commits.iter().filter(is_split) {
            recorded.extend(self.reader.tasks_of(commit.head.number)?);
        }
        let gone = |task: &&Task| !self.tasks.contains_key(&task.hash());
        let gone: Vec<&Task> = recorded.iter().filter(gone).collect();
        // A run that has just begun has not told of every split.
        let told = |name: &str| commits.iter().filter(is_split).any(|c| c.key.name == name);
        let mut new = Vec::new();
        for task in splits.iter().filter(|(name, _)| told(name)).flat_map(|(_, tasks)| tasks.iter())
        {
            if self.reader.task(&task.hash())?.is_none() {
                new.push(task);
            }
        }
        let Some(first) = gone.first().or(new.first()) else { return Ok(()) };
        let what = format!(
            "{} recorded tasks are gone or changed and {} are new, first: `{}`",
            gone.len(),
            new.len(),
            first.id
        );
        let files: Vec<String> =
            self.problem.files().map(|path| path.display().to_string()).collect();
        if files.is_empty() {
            return Err(wrong("tasks", format!("{what}; the recipe makes others now")));
        }
        Err(EngineError::Input(format!(
            "{}: not the tasks that the run began with: {what}; the record was not looked at; put \
             the files of then back and check again",
            files.join(", ")
        )))
    }

    fn commit(&mut self, commit: &CommitInfo) -> Result<(), EngineError> {
        let (number, key) = (commit.head.number, &commit.key);
        match key.kind {
            Kind::Grown => self.grown(commit),
            Kind::Updated => {
                let place = format!("stage {}, update {}", key.stage, key.update);
                let row = self.told.get(&number).copied();
                let row = row.ok_or_else(|| wrong(&place, "has no version of the weights"))?;
                if row.version < self.version {
                    let what = differs("version", row.version.0, self.version.0);
                    return Err(wrong(place, format!("{what} or more: versions only grow")));
                }
                self.version = row.version;
                self.leave_out("metrics of training".to_owned());
                let Some(sum) = row.weights else { return Ok(()) };
                match self.sums.insert(row.version.0, sum) {
                    Some(old) if old != sum => {
                        let what = format!("weights of version {}", row.version.0);
                        Err(wrong(place, differs(&what, old.to_string(), sum.to_string())))
                    }
                    _ => Ok(()),
                }
            }
            Kind::Evaluated => {
                self.leave_out("answers and figures of evaluations".to_owned());
                Ok(())
            }
            Kind::Lineage => self.saved(number),
            _ => Ok(()),
        }
    }

    fn saved(&mut self, commit: u64) -> Result<(), EngineError> {
        let row = self.told.get(&commit).copied();
        let row = row.filter(|row| row.checkpoint.is_some());
        let row = row.ok_or_else(|| wrong(format!("commit {commit}"), "names no checkpoint"))?;
        let number = row.checkpoint.unwrap_or_default();
        let place = format!("checkpoint {number:06}");
        if row.version != self.version {
            return Err(wrong(place, differs("version", row.version.0, self.version.0)));
        }
        let folder = self.run.checkpoints().join(format!("{number:06}"));
        if !folder.is_dir() {
            return Ok(());
        }
        match self.checkpoint(&row, number, &place) {
            // The run goes on and has removed it meanwhile.
            Err(_) if !folder.is_dir() => Ok(()),
            found => found,
        }
    }

    /// A checkpoint that is kept is what the record says, file by file and weight by weight.
    fn checkpoint(
        &mut self,
        row: &LineageRow,
        number: u64,
        place: &str,
    ) -> Result<(), EngineError> {
        let held = Checkpoint::of(self.run, number)?;
        self.reader.require(&held.name(), held.last_commit())?;
        let file = held.file_names().find(|name| checkpoint::holds_weights(name));
        let bytes = file.map(|name| held.read(name)).transpose()?.unwrap_or_default();
        let again = Digest::of(&bytes);
        if row.weights != Some(again) {
            let recorded = row.weights.map(|digest| digest.to_string());
            return Err(wrong(place, differs("weights", recorded, again.to_string())));
        }
        let base = || self.problem.learner(self.recipe, self.threads);
        let mut learner = checkpoint::policy(&held, self.recipe, base, self.threads)?;
        learner.seal().map_err(|error| wrong(place, error.to_string()))?;
        let sum = learner.fingerprint().map(|sum| Digest::of(&sum.to_le_bytes()));
        if let (Some(recorded), Some(again)) = (self.sums.get(&row.version.0), sum)
            && *recorded != again
        {
            let (recorded, again) = (recorded.to_string(), again.to_string());
            let what = differs("its weights and those of the update before", recorded, again);
            return Err(wrong(place, what));
        }
        self.weights = (row.version, Reference::of(learner.model()), learner);
        self.found.checkpoints += 1;
        Ok(())
    }

    fn leave_out(&mut self, what: String) {
        self.found.left_out.insert(what);
    }
}
