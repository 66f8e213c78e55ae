//! What a run commits, and how a commit is named.

use std::collections::BTreeMap;
use std::fmt;

use stepwell_tree::{Credit, PolicyVersion, StepTree, TaskHash, Verdict};

use crate::Digest;
use crate::error::grouped;

/// Numbers by name, as reports show them.
pub type Metrics = BTreeMap<String, f64>;

/// Trees of one update, committed before anything trains on them (INV-15).
#[derive(Clone, Copy, Debug, Default)]
pub struct Grown<'a> {
    /// Index of the stage in the recipe.
    pub stage: u32,
    /// Index of the update in the stage.
    pub update: u64,
    /// In canonical order (DECISIONS 2), in task order.
    pub trees: &'a [StepTree],
    /// The steps decoded, per tree `[N]`; empty where no texts are kept.
    pub texts: &'a [Vec<Option<String>>],
    /// One per tree, or empty where the stage gives none.
    pub credits: &'a [Credit],
    /// Of growing and judging: rewards, lengths.
    pub metrics: Option<&'a Metrics>,
    /// Seconds by name; kept outside the digest.
    pub timing: Option<&'a Metrics>,
}

/// An optimizer step that is done.
#[derive(Clone, Copy, Debug)]
pub struct Updated<'a> {
    /// Index of the stage in the recipe.
    pub stage: u32,
    /// Index of the update in the stage.
    pub update: u64,
    /// The weights after the step.
    pub version: PolicyVersion,
    /// Digest of a sum over these weights, where one was taken.
    pub weights: Option<Digest>,
    /// Of training: loss, gradient norm.
    pub metrics: &'a Metrics,
    /// Seconds by name; kept outside the digest.
    pub timing: Option<&'a Metrics>,
}

/// Answers to held-out tasks.
#[derive(Clone, Copy, Debug)]
pub struct Evaluation<'a> {
    /// Index of the stage in the recipe.
    pub stage: u32,
    /// Updates of the stage that came before.
    pub update: u64,
    /// Tells several evaluations at one place apart.
    pub name: &'a str,
    /// Accuracy and the like.
    pub metrics: &'a Metrics,
    /// The answer that counts of each question, in order.
    pub samples: &'a [Sample],
    /// Whole trees, where they are kept.
    pub trees: &'a [StepTree],
    /// The steps decoded, per tree `[N]`; empty where no texts are kept.
    pub texts: &'a [Vec<Option<String>>],
    /// Seconds by name; kept outside the digest.
    pub timing: Option<&'a Metrics>,
}

/// One answer and its verdict.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// What was asked.
    pub task: TaskHash,
    /// What the policy wrote.
    pub answer: String,
    /// What it was worth; never `Pending`.
    pub verdict: Verdict,
}

/// Which weights a checkpoint holds. Committed before the checkpoint is written, so that the
/// checkpoint can name this commit as its last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lineage {
    /// Index of the stage in the recipe.
    pub stage: u32,
    /// Updates of the stage that came before.
    pub update: u64,
    /// The version of the weights.
    pub version: PolicyVersion,
    /// The checkpoint's number.
    pub checkpoint: u64,
    /// Digest of the weights' bytes.
    pub weights: Digest,
}

/// What a commit holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The first commit: recipe and version.
    Created,
    /// Tasks that trees may name from here on.
    Tasks,
    /// Trees of an update, before training.
    Grown,
    /// An optimizer step's metrics and version, after training.
    Updated,
    /// Answers to held-out tasks.
    Evaluated,
    /// A version of the weights and the checkpoint that holds it.
    Lineage,
    /// The recipe is done.
    Finished,
}

impl Kind {
    pub(crate) const WORDS: [(&'static str, Kind); 7] = [
        ("created", Kind::Created),
        ("tasks", Kind::Tasks),
        ("grown", Kind::Grown),
        ("updated", Kind::Updated),
        ("evaluated", Kind::Evaluated),
        ("lineage", Kind::Lineage),
        ("finished", Kind::Finished),
    ];

    /// The word in the record and in exports.
    pub fn word(self) -> &'static str {
        let found = Kind::WORDS.iter().find(|(_, kind)| *kind == self);
        found.expect("every kind has its word").0
    }
}

/// Names a commit within a run: a resumed run finds by it what it committed before.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CommitKey {
    /// What it holds.
    pub kind: Kind,
    /// Index of the stage in the recipe.
    pub stage: u32,
    /// Index of the update in the stage.
    pub update: u64,
    /// Tells commits of one kind at one place apart; mostly empty.
    pub name: String,
}

impl fmt::Display for CommitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let update = grouped(self.update);
        write!(f, "`{}` of stage {}, update {update}", self.kind.word(), self.stage)?;
        if self.name.is_empty() { Ok(()) } else { write!(f, ", `{}`", self.name) }
    }
}

/// The place of a commit in the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Head {
    /// Counts from 0.
    pub number: u64,
    /// Covers the commit and, through the one before, all before it.
    pub digest: Digest,
}

/// A commit as readers see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitInfo {
    /// Its place in the chain.
    pub head: Head,
    /// Its name.
    pub key: CommitKey,
}

/// Whether a commit was new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Novelty {
    /// It was appended.
    New,
    /// The record held it already, with the same digest: a resumed run repeats itself.
    Repeated,
}

/// What the caller of a commit gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The commit's place in the chain.
    pub head: Head,
    /// Whether it was new.
    pub novelty: Novelty,
}
