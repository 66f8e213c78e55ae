//! What can end a run, and whose it is to mend.

use stepwell_store::StoreError;
use stepwell_train::{DeviceError, TrainError};

use crate::recipe::RecipeError;

/// Why a run did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The recipe is wrong; every problem at once.
    #[error("{}", lines(.0))]
    Recipe(Vec<RecipeError>),
    /// A file the recipe names is wrong: tasks, databases, model.
    #[error("{0}")]
    Input(String),
    /// This machine lacks what the environment needs.
    #[error("{0}")]
    Machine(String),
    /// The device of the recipe cannot be had, or failed outside an update.
    #[error("`model.compute.device`: {0}")]
    Device(DeviceError),
    /// The run folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An update was refused.
    #[error("stage {stage}, update {update}: {source}")]
    Train {
        /// Index of the stage.
        stage: usize,
        /// Index of the update.
        update: usize,
        /// What was not finite, or the gap.
        source: TrainError,
    },
    /// A training reward is no number.
    #[error(
        "stage {stage}, update {update}: {what}; nothing was trained on it; mend `reward` of the \
         recipe or what the environment says"
    )]
    Reward {
        /// Index of the stage.
        stage: usize,
        /// Index of the update.
        update: usize,
        /// Tree, task, step and value.
        what: String,
    },
    /// A record says something that does not follow from what it holds.
    #[error("{place}: {what}; the record is not what the run did: go on from a copy that is whole")]
    Audit {
        /// Stage, update, tree and step, or the checkpoint.
        place: String,
        /// The field, what is recorded and what was computed again.
        what: String,
    },
    /// Credit that no method may give: nothing was committed.
    #[error(
        "stage {stage}, update {update}: {what}; nothing was committed and nothing trained; this is \
         a bug of ours: report it with the run's folder"
    )]
    Credit {
        /// Index of the stage.
        stage: usize,
        /// Index of the update.
        update: usize,
        /// Tree, task, step and what is wrong there.
        what: String,
    },
    /// A judge had no label for too many pairs of an update: no label is no judgement.
    #[error(
        "stage {stage}, update {update}: {unlabelled} of {pairs} pairs got no label of the judge \
         ({reasons}), more than `unscored_max` = {limit} allows; nothing was trained on them; \
         change the judge's `template` or `options`, or lower its `mass_min`"
    )]
    Unlabelled {
        /// Index of the stage.
        stage: usize,
        /// Index of the update.
        update: usize,
        /// Pairs without a label.
        unlabelled: usize,
        /// All pairs of the update.
        pairs: usize,
        /// Counts by reason.
        reasons: String,
        /// The recipe's limit.
        limit: f64,
    },
    /// Too many attempts of an update could not be judged: a failure to judge is not a judgement.
    #[error(
        "stage {stage}, update {update}: {unscored} of {attempts} attempts could not be judged \
         ({reasons}), more than `unscored_max` = {limit} allows; nothing was trained on them; mend \
         the cause and `resume`"
    )]
    Unscored {
        /// Index of the stage.
        stage: usize,
        /// Index of the update.
        update: usize,
        /// Attempts without a verdict.
        unscored: usize,
        /// All attempts.
        attempts: usize,
        /// Counts by reason.
        reasons: String,
        /// The recipe's limit.
        limit: f64,
    },
}

impl From<DeviceError> for EngineError {
    /// The message holds the whole reason: no second cause below it.
    fn from(error: DeviceError) -> Self {
        EngineError::Device(error)
    }
}

fn lines(errors: &[RecipeError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl EngineError {
    /// The process's exit code: 1 the task failed, 2 the user's input, 3 the machine, 101 our bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            EngineError::Recipe(_) | EngineError::Input(_) => 2,
            EngineError::Store(error) => error.exit_code(),
            EngineError::Machine(_)
            | EngineError::Device(_)
            | EngineError::Train { source: TrainError::Device(_), .. } => 3,
            EngineError::Credit { .. }
            | EngineError::Train {
                source:
                    TrainError::Gap { .. } | TrainError::Version { .. } | TrainError::Mask { .. },
                ..
            } => 101,
            EngineError::Audit { .. }
            | EngineError::Train { source: TrainError::Weights { .. }, .. } => 3,
            EngineError::Train { .. }
            | EngineError::Reward { .. }
            | EngineError::Unlabelled { .. }
            | EngineError::Unscored { .. } => 1,
        }
    }
}
