//! Learners beside the policy: a critic on a trunk of its own, and what `estimator` stages made.
//! They travel in every checkpoint, so that a run goes on from one folder.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use stepwell_store::{Checkpoint, tensors_from_bytes, tensors_to_bytes};
use stepwell_train::{HeadState, Learner, LearnerState, Reference};
use stepwell_tree::PolicyVersion;

use crate::error::EngineError;

/// The critic of an `rl` stage, while the stage runs.
pub(crate) const CRITIC: &str = "critic";

/// The estimator that a stage makes, from then on.
pub(crate) fn estimator(stage: usize) -> String {
    format!("estimator-{stage}")
}

/// All of them, by name.
pub(crate) type Companions = BTreeMap<String, Learner>;

/// What `state.json` says of a head.
#[derive(Serialize, Deserialize)]
pub(crate) struct HeadNote {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hidden: Option<usize>,
    outputs: usize,
    /// True where it follows another head and has no moments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    frozen: bool,
    optimizer_step: u64,
}

/// What `state.json` says of a companion.
#[derive(Serialize, Deserialize)]
pub(crate) struct CompanionNote {
    name: String,
    version: u64,
    optimizer_step: u64,
    heads: Vec<HeadNote>,
}

impl CompanionNote {
    /// What the recipe calls it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Where a companion's parts stand in a checkpoint.
const WEIGHTS: &str = "weights.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const HEADS: &str = "heads.safetensors";

/// The policy's own heads.
pub(crate) const POLICY_HEADS: &str = HEADS;

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;
type Files = Vec<(String, Vec<u8>)>;

/// True where a file of a checkpoint is no part of the policy's own folder.
pub(crate) fn owns(file: &str) -> bool {
    let named = |prefix: &str| file.starts_with(prefix);
    file == POLICY_HEADS || named("critic.") || named("estimator-")
}

/// What is said of heads, and their tensors as the bytes of a file; no file where there is none.
pub(crate) fn heads(heads: &[HeadState]) -> Result<(Vec<HeadNote>, Option<Vec<u8>>), EngineError> {
    let note = |head: &HeadState| HeadNote {
        name: head.name.clone(),
        hidden: head.hidden,
        outputs: head.outputs,
        frozen: head.frozen,
        optimizer_step: head.optimizer_step,
    };
    let of = |head: &HeadState| -> Tensors {
        let own = head.tensors.iter();
        own.map(|(name, shape, numbers)| {
            (format!("{}/{name}", head.name), shape.clone(), numbers.clone())
        })
        .collect()
    };
    let tensors: Tensors = heads.iter().flat_map(of).collect();
    let bytes = (!tensors.is_empty()).then(|| tensors_to_bytes(&tensors)).transpose()?;
    Ok((heads.iter().map(note).collect(), bytes))
}

/// The heads that [`heads`] described.
pub(crate) fn read_heads(
    notes: &[HeadNote],
    bytes: Option<Vec<u8>>,
) -> Result<Vec<HeadState>, EngineError> {
    let names: BTreeSet<&str> = notes.iter().map(|note| note.name.as_str()).collect();
    if names.len() < notes.len() {
        let message = format!("{} heads have {} names", notes.len(), names.len());
        return Err(EngineError::Input(message));
    }
    let tensors = bytes.map(|bytes| tensors_from_bytes(&bytes)).transpose()?.unwrap_or_default();
    let of = |note: &HeadNote| {
        let prefix = format!("{}/", note.name);
        let own = tensors.iter().filter_map(|(name, shape, numbers)| {
            Some((name.strip_prefix(&prefix)?.to_owned(), shape.clone(), numbers.clone()))
        });
        HeadState {
            name: note.name.clone(),
            hidden: note.hidden,
            outputs: note.outputs,
            frozen: note.frozen,
            optimizer_step: note.optimizer_step,
            tensors: own.collect(),
        }
    };
    Ok(notes.iter().map(of).collect())
}

/// The files of all companions, and what is said of them.
pub(crate) fn files(companions: &Companions) -> Result<(Vec<CompanionNote>, Files), EngineError> {
    let (mut notes, mut files) = (Vec::new(), Files::new());
    for (name, learner) in companions {
        let state = learner.state();
        let (heads, bytes) = heads(&state.heads)?;
        let weights = Reference::of(learner.model());
        let views = weights.parameters();
        let of = |v: &stepwell_model::ParameterView<'_>| {
            (v.name().to_owned(), v.shape(), v.to_row_major())
        };
        let tensors: Tensors = views.iter().map(of).collect();
        files.push((format!("{name}.{WEIGHTS}"), tensors_to_bytes(&tensors)?));
        // An optimizer that has not moved is as good as a fresh one.
        if state.optimizer_step > 0 {
            files.push((format!("{name}.{OPTIMIZER}"), tensors_to_bytes(&state.optimizer)?));
        }
        files.extend(bytes.map(|bytes| (format!("{name}.{HEADS}"), bytes)));
        let (version, optimizer_step) = (state.version.0, state.optimizer_step);
        notes.push(CompanionNote { name: name.clone(), version, optimizer_step, heads });
    }
    Ok((notes, files))
}

/// The companions of a checkpoint whose policy is `learner`.
pub(crate) fn read(
    checkpoint: &Checkpoint,
    notes: &[CompanionNote],
    learner: &Learner,
) -> Result<Companions, EngineError> {
    let one = |note: &CompanionNote| Ok((note.name.clone(), restored(checkpoint, note, learner)?));
    notes.iter().map(one).collect()
}

/// A companion of a checkpoint whose policy is `learner`.
pub(crate) fn restored(
    checkpoint: &Checkpoint,
    note: &CompanionNote,
    learner: &Learner,
) -> Result<Learner, EngineError> {
    let name = &note.name;
    let wrong = |what: String| {
        EngineError::Input(format!("{}, companion `{name}`: {what}", checkpoint.name()))
    };
    if note.heads.is_empty() {
        return Err(wrong("has no head, and reads nothing without one".to_owned()));
    }
    let held = |file: &str| checkpoint.file_names().any(|own| own == file);
    let mut twin = learner.twin()?;
    let mut weights = Reference::of(twin.model());
    for (name, _, numbers) in tensors_from_bytes(&checkpoint.read(&format!("{name}.{WEIGHTS}"))?)? {
        weights.set_parameter(&name, &numbers).map_err(|e| wrong(e.to_string()))?;
    }
    let file = format!("{name}.{OPTIMIZER}");
    let optimizer = match note.optimizer_step {
        0 => twin.state().optimizer,
        _ => tensors_from_bytes(&checkpoint.read(&file)?)?,
    };
    let file = format!("{name}.{HEADS}");
    let bytes = held(&file).then(|| checkpoint.read(&file)).transpose()?;
    let state = LearnerState {
        optimizer,
        optimizer_step: note.optimizer_step,
        version: PolicyVersion(note.version),
        heads: read_heads(&note.heads, bytes)?,
    };
    put(&mut twin, weights, state).map_err(wrong)?;
    Ok(twin)
}

fn put(twin: &mut Learner, weights: Reference, state: LearnerState) -> Result<(), String> {
    match weights {
        Reference::Weights(model) => twin.restore(*model, state),
        Reference::Adapter(adapter) => twin.restore_adapter(*adapter, state),
    }
}
