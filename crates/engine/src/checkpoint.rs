//! What a checkpoint of a run holds: a model folder that other tools load, the optimizer, and the
//! place in the recipe.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stepwell_model::{Model, io};
use stepwell_store::{
    Checkpoint, Content, Digest, Lineage, Record, RunFolder, keep_last, newest_valid,
    tensors_from_bytes, tensors_to_bytes,
};
use stepwell_train::{Codec, Learner, LearnerState};
use stepwell_tree::PolicyVersion;

use crate::error::EngineError;
use crate::recipe::{Recipe, Stage};
use crate::session::{Place, Session};

/// Checkpoints kept in a run folder: one to go on from, one in case that one is damaged.
const KEPT: usize = 2;

const WEIGHTS: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const REFERENCE: &str = "reference.safetensors";

/// `state.json`.
#[derive(Serialize, Deserialize)]
struct State {
    place: Place,
    version: u64,
    optimizer_step: u64,
    weights_checksum: String,
}

/// Where a run goes on.
pub(crate) struct Restored {
    pub(crate) place: Place,
    pub(crate) reference: Option<Model>,
    /// Checkpoints that were passed over, and why.
    pub(crate) notes: Vec<String>,
}

/// Why a checkpoint is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Occasion {
    /// The recipe says so, at the same places in every run: the record names it.
    Planned,
    /// Somebody asked the run to stop. The record does not mention it, so that the chain of its
    /// digests is that of a run without the stop.
    Stop,
}

/// Writes the session's state as a checkpoint and returns its folder.
pub(crate) fn write(session: &mut Session<'_>, why: Occasion) -> Result<PathBuf, EngineError> {
    let (learner, place) = (&session.learner, session.place);
    let number = number(session.recipe, place);
    let state = learner.state();
    let mut files = folder_files(learner)?;
    files.push((OPTIMIZER.to_owned(), tensors_to_bytes(&state.optimizer)?));
    if let Some(reference) = &session.reference {
        files.push((REFERENCE.to_owned(), tensors_to_bytes(&tensors(reference))?));
    }
    let weights = files.iter().find(|(name, _)| name == WEIGHTS).map(|(_, bytes)| bytes.as_slice());
    if why == Occasion::Planned {
        session.record.commit_lineage(&Lineage {
            stage: place.stage as u32,
            update: place.done as u64,
            version: state.version,
            checkpoint: number,
            weights: Digest::of(weights.unwrap_or_default()),
        })?;
    }
    let described = State {
        place,
        version: state.version.0,
        optimizer_step: state.optimizer_step,
        weights_checksum: format!("{:016x}", learner.model().checksum()),
    };
    let described = serde_json::to_value(&described).expect("numbers and texts serialise");
    let mut contents: Vec<(&str, Content<'_>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), Content::Bytes(bytes))).collect();
    let head = session.record.head();
    let written = Checkpoint::write(session.folder, number, &mut contents, &described, head)?;
    keep_last(session.folder, KEPT)?;
    Ok(written.folder().to_owned())
}

/// Puts the newest whole checkpoint into the learner; a run without one starts over.
pub(crate) fn restore(
    folder: &RunFolder,
    record: &Record,
    learner: &mut Learner,
) -> Result<Restored, EngineError> {
    let (checkpoint, skipped) = newest_valid(folder)?;
    let notes = skipped.iter().map(|s| format!("skipped {}: {}", s.name, s.reason)).collect();
    let Some(checkpoint) = checkpoint else {
        return Ok(Restored { place: Place::default(), reference: None, notes });
    };
    record.read().require(&checkpoint.name(), checkpoint.last_commit())?;
    let state = load(&checkpoint, learner)?;
    let reference = match checkpoint.file_names().any(|name| name == REFERENCE) {
        true => Some(reference(&checkpoint, learner.model())?),
        false => None,
    };
    Ok(Restored { place: state.place, reference, notes })
}

/// Loads weights, optimizer and version.
fn load(checkpoint: &Checkpoint, learner: &mut Learner) -> Result<State, EngineError> {
    let wrong = |what: String| EngineError::Input(format!("{}: {what}", checkpoint.name()));
    let state: State =
        serde_json::from_value(checkpoint.state()?).map_err(|e| wrong(e.to_string()))?;
    let model = loaded(checkpoint)?.model;
    let checksum = format!("{:016x}", model.checksum());
    if checksum != state.weights_checksum {
        let expected = &state.weights_checksum;
        return Err(wrong(format!("weights have checksum {checksum}, expected: {expected}")));
    }
    let optimizer = tensors_from_bytes(&checkpoint.read(OPTIMIZER)?)?;
    let (optimizer_step, version) = (state.optimizer_step, PolicyVersion(state.version));
    learner.restore(model, LearnerState { optimizer, optimizer_step, version }).map_err(wrong)?;
    Ok(state)
}

fn reference(checkpoint: &Checkpoint, like: &Model) -> Result<Model, EngineError> {
    let wrong = |what: String| EngineError::Input(format!("{}: {what}", checkpoint.name()));
    let mut model = like.clone();
    for (name, _, numbers) in tensors_from_bytes(&checkpoint.read(REFERENCE)?)? {
        model.set_parameter(&name, &numbers).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(model)
}

/// The policy of a checkpoint: weights, tokenizer, template.
///
/// # Errors
/// Where a file is missing or damaged.
pub fn policy(checkpoint: &Checkpoint, threads: usize) -> Result<Learner, EngineError> {
    let loaded = loaded(checkpoint)?;
    let codec = Codec::new(loaded.tokenizer, loaded.template)
        .map_err(|e| EngineError::Input(format!("{}: {e}", checkpoint.name())))?;
    Ok(Learner::new(loaded.model, codec, threads))
}

fn loaded(checkpoint: &Checkpoint) -> Result<io::Loaded, EngineError> {
    let own = [OPTIMIZER, REFERENCE, "state.json", "manifest.json"];
    let mut files = Vec::new();
    for name in checkpoint.file_names().filter(|name| !own.contains(name)) {
        files.push((name.to_owned(), checkpoint.read(name)?));
    }
    io::from_bytes(&files).map_err(|e| EngineError::Input(format!("{}: {e}", checkpoint.name())))
}

/// The policy as the files of a Hugging Face folder.
///
/// # Errors
/// Where a file cannot be made.
pub fn folder_files(learner: &Learner) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
    let codec = learner.codec();
    io::folder_bytes(learner.model(), codec.tokenizer(), codec.template())
        .map_err(|e| EngineError::Input(e.to_string()))
}

fn tensors(model: &Model) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let views = model.parameters();
    views.iter().map(|v| (v.name().to_owned(), v.shape().to_vec(), v.to_row_major())).collect()
}

/// Bytes that one checkpoint of a model takes: weights and two moments.
pub fn bytes(model: &Model) -> u64 {
    model.parameter_count() as u64 * 12 + (1 << 20)
}

/// Steps of the whole recipe before a place. The end of a stage and the last step before it are
/// two places with two numbers.
fn number(recipe: &Recipe, place: Place) -> u64 {
    let before = recipe.stage[..place.stage].iter().map(|stage| match stage {
        Stage::Sft(sft) => sft.steps + 1,
        Stage::Rl(rl) => rl.steps + 1,
        Stage::Evaluate(_) => 2,
    });
    (before.sum::<usize>() + place.done) as u64
}
