//! What a checkpoint of a run holds: a model folder that other tools load, the optimizer, and the
//! place in the recipe. Where an adapter trains, it holds the adapter as PEFT's folder; the base is
//! the recipe's, made or read again and compared with the checksum that it had.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stepwell_model::{Adapter, Model, io};
use stepwell_store::{
    Checkpoint, Content, Digest, Lineage, Record, RunFolder, newest_valid, tensors_from_bytes,
    tensors_to_bytes,
};
use stepwell_train::{Codec, HeadState, Learner, LearnerState, Reference};
use stepwell_tree::PolicyVersion;

use crate::companion::{self, CompanionNote, Companions, HeadNote, POLICY_HEADS};
use crate::error::EngineError;
use crate::memory::Memory;
use crate::recipe::{self, Recipe, Stage};
use crate::retention::retain;
use crate::session::{Place, Session};

const WEIGHTS: &str = "model.safetensors";
const ADAPTER: &str = "adapter_model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const REFERENCE: &str = "reference.safetensors";

/// `state.json`.
#[derive(Serialize, Deserialize)]
struct State {
    place: Place,
    version: u64,
    optimizer_step: u64,
    weights_checksum: String,
    /// What an adapter sits on; absent where the checkpoint holds all weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base: Option<Base>,
    /// Heads on the policy's trunk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    heads: Vec<HeadNote>,
    /// Learners beside the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    companions: Vec<CompanionNote>,
    /// What the stage keeps from update to update; absent where it keeps nothing.
    #[serde(default, skip_serializing_if = "Memory::is_empty")]
    memory: Memory,
}

/// Weights that a checkpoint does not hold.
#[derive(Serialize, Deserialize)]
struct Base {
    /// The recipe's folder; absent where the weights are made from the recipe's seed.
    path: Option<String>,
    checksum: String,
}

/// Where a run goes on.
pub(crate) struct Restored {
    pub(crate) place: Place,
    pub(crate) reference: Option<Reference>,
    pub(crate) companions: Companions,
    pub(crate) memory: Memory,
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

/// True where a file of a checkpoint holds what trains.
pub(crate) fn holds_weights(name: &str) -> bool {
    [WEIGHTS, ADAPTER].contains(&name)
}

/// Writes the session's state as a checkpoint and returns its folder.
pub(crate) fn write(session: &mut Session<'_>, why: Occasion) -> Result<PathBuf, EngineError> {
    let (learner, place) = (&session.learner, session.place);
    let number = number(session.recipe, place);
    let state = learner.state();
    let mut files = match learner.model().adapter() {
        Some(adapter) => adapter_files(adapter, session.recipe)?,
        None => folder_files(learner)?,
    };
    files.push((OPTIMIZER.to_owned(), tensors_to_bytes(&state.optimizer)?));
    if let Some(reference) = &session.reference {
        files.push((REFERENCE.to_owned(), tensors_to_bytes(&tensors(reference))?));
    }
    let (heads, bytes) = companion::heads(&state.heads)?;
    files.extend(bytes.map(|bytes| (POLICY_HEADS.to_owned(), bytes)));
    let (companions, own) = companion::files(&session.companions)?;
    files.extend(own);
    let weights = files.iter().find(|(name, _)| holds_weights(name));
    let weights = weights.map(|(_, bytes)| bytes.as_slice());
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
        weights_checksum: shown(learner.model().checksum()),
        base: learner.model().adapter().map(|_| Base {
            path: base_path(session.recipe),
            checksum: shown(learner.model().base_checksum()),
        }),
        heads,
        companions,
        memory: session.memory.clone(),
    };
    let described = serde_json::to_value(&described).expect("numbers and texts serialise");
    let mut contents: Vec<(&str, Content<'_>)> =
        files.iter().map(|(name, bytes)| (name.as_str(), Content::Bytes(bytes))).collect();
    let head = session.record.head();
    let written = Checkpoint::write(session.folder, number, &mut contents, &described, head)?;
    retain(session.folder, &session.record, session.recipe)?;
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
        let (place, companions, memory) = (Place::default(), Companions::new(), Memory::default());
        return Ok(Restored { place, reference: None, companions, memory, notes });
    };
    record.read().require(&checkpoint.name(), checkpoint.last_commit())?;
    let state = load(&checkpoint, learner)?;
    let reference = match checkpoint.file_names().any(|name| name == REFERENCE) {
        true => Some(reference(&checkpoint, learner)?),
        false => None,
    };
    let companions = companion::read(&checkpoint, &state.companions, learner)?;
    let State { place, memory, .. } = state;
    Ok(Restored { place, reference, companions, memory, notes })
}

/// Loads weights, optimizer and version.
fn load(checkpoint: &Checkpoint, learner: &mut Learner) -> Result<State, EngineError> {
    let wrong = |what: String| EngineError::Input(format!("{}: {what}", checkpoint.name()));
    let state = state_of(checkpoint)?;
    let optimizer = tensors_from_bytes(&checkpoint.read(OPTIMIZER)?)?;
    let (optimizer_step, version) = (state.optimizer_step, PolicyVersion(state.version));
    let heads = heads_of(checkpoint, &state)?;
    let held = LearnerState { optimizer, optimizer_step, version, heads };
    match &state.base {
        None => learner.restore(loaded(checkpoint)?.model, held),
        Some(base) => {
            require_base(base, learner.model()).map_err(wrong)?;
            learner.restore_adapter(adapter(checkpoint, learner.model())?, held)
        }
    }
    .map_err(wrong)?;
    let (checksum, expected) = (shown(learner.model().checksum()), &state.weights_checksum);
    if checksum != *expected {
        return Err(wrong(format!("weights have checksum {checksum}, expected: {expected}")));
    }
    Ok(state)
}

fn state_of(checkpoint: &Checkpoint) -> Result<State, EngineError> {
    serde_json::from_value(checkpoint.state()?)
        .map_err(|e| EngineError::Input(format!("{}: {e}", checkpoint.name())))
}

/// The heads on the policy's trunk.
fn heads_of(checkpoint: &Checkpoint, state: &State) -> Result<Vec<HeadState>, EngineError> {
    let held = checkpoint.file_names().any(|name| name == POLICY_HEADS);
    let bytes = held.then(|| checkpoint.read(POLICY_HEADS)).transpose()?;
    companion::read_heads(&state.heads, bytes)
}

/// What is said of the bytes of a `state.json`: for tests that invent them.
#[doc(hidden)]
pub fn told_of_state(bytes: &[u8]) -> String {
    match serde_json::from_slice::<State>(bytes) {
        Ok(state) => format!("{:?} {}", state.place, state.companions.len()),
        Err(error) => error.to_string(),
    }
}

/// A learner beside the policy, of the checkpoint that the policy is of.
///
/// # Errors
/// Where the checkpoint does not hold it, or a file is damaged.
pub(crate) fn companion(
    checkpoint: &Checkpoint,
    name: &str,
    policy: &Learner,
) -> Result<Learner, EngineError> {
    let wrong = |what: String| EngineError::Input(format!("{}: {what}", checkpoint.name()));
    let state = state_of(checkpoint)?;
    let absent = || {
        let known: Vec<&str> = state.companions.iter().map(CompanionNote::name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        wrong(format!("holds no `{name}`, only: {known}; take a checkpoint after its stage"))
    };
    let note = state.companions.iter().find(|note| note.name() == name).ok_or_else(absent)?;
    companion::restored(checkpoint, note, policy)
}

/// What is said of heads on a trunk of so many numbers: their notes, a line of JSON, and after it
/// the bytes of their tensors. For tests that invent them.
#[doc(hidden)]
pub fn told_of_heads(bytes: &[u8], inputs: usize) -> String {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let notes: Vec<HeadNote> = match serde_json::from_slice(&bytes[..end]) {
        Ok(notes) => notes,
        Err(error) => return error.to_string(),
    };
    match companion::read_heads(&notes, bytes.get(end + 1..).map(<[u8]>::to_vec)) {
        Err(error) => error.to_string(),
        Ok(heads) => {
            let wrong = heads.iter().find_map(|head| head.check(inputs).err());
            wrong.unwrap_or_else(|| format!("{} heads", heads.len()))
        }
    }
}

/// An adapter means nothing on other weights than its own.
fn require_base(base: &Base, model: &Model) -> Result<(), String> {
    let (got, expected) = (shown(model.base_checksum()), &base.checksum);
    if got == *expected {
        return Ok(());
    }
    let place = match &base.path {
        Some(path) => format!("the base `{path}`"),
        None => "the base that the recipe's seed makes".to_owned(),
    };
    Err(format!(
        "{place} has checksum {got}, the adapter was trained on one with checksum {expected}; put \
         the weights back that the run began with"
    ))
}

fn adapter(checkpoint: &Checkpoint, model: &Model) -> Result<Adapter, EngineError> {
    let mut files = Vec::new();
    for name in checkpoint.file_names().filter(|name| name.starts_with("adapter_")) {
        files.push((name.to_owned(), checkpoint.read(name)?));
    }
    let read = io::adapter_from_bytes(&files, model.config());
    let wrong = |e: io::IoError| EngineError::Input(format!("{}: {e}", checkpoint.name()));
    Ok(read.map_err(wrong)?.adapter)
}

fn reference(checkpoint: &Checkpoint, learner: &Learner) -> Result<Reference, EngineError> {
    let wrong = |what: String| EngineError::Input(format!("{}: {what}", checkpoint.name()));
    let mut reference = Reference::of(learner.model());
    for (name, _, numbers) in tensors_from_bytes(&checkpoint.read(REFERENCE)?)? {
        reference.set_parameter(&name, &numbers).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(reference)
}

/// The policy of a checkpoint: weights, heads, tokenizer, template, in the recipe's precision and
/// on its device. `base` gives the recipe's model with a fresh adapter; it is asked only where the
/// checkpoint holds an adapter.
///
/// # Errors
/// Where a file is missing or damaged, the base is not the adapter's, or the device cannot be had.
pub fn policy(
    checkpoint: &Checkpoint,
    recipe: &Recipe,
    base: impl FnOnce() -> Result<Learner, EngineError>,
    threads: usize,
) -> Result<Learner, EngineError> {
    if checkpoint.file_names().any(|name| name == ADAPTER) {
        let mut learner = base()?;
        load(checkpoint, &mut learner)?;
        return Ok(learner);
    }
    let loaded = loaded(checkpoint)?;
    let codec = Codec::new(loaded.tokenizer, loaded.template)
        .map_err(|e| EngineError::Input(format!("{}: {e}", checkpoint.name())))?;
    let mut model = loaded.model;
    model.set_precision(recipe.compute.precision.of_model());
    let mut learner = Learner::on(recipe.compute.device.of_train(), model, codec, threads)?;
    let heads = heads_of(checkpoint, &state_of(checkpoint)?)?;
    let wrong = |what: String| EngineError::Input(format!("{}: {what}", checkpoint.name()));
    learner.put_heads(&heads).map_err(wrong)?;
    Ok(learner)
}

fn loaded(checkpoint: &Checkpoint) -> Result<io::Loaded, EngineError> {
    let own = [OPTIMIZER, REFERENCE, "state.json", "manifest.json"];
    let mut files = Vec::new();
    let policy = |name: &&str| !own.contains(name) && !companion::owns(name);
    for name in checkpoint.file_names().filter(policy) {
        files.push((name.to_owned(), checkpoint.read(name)?));
    }
    io::from_bytes(&files).map_err(|e| EngineError::Input(format!("{}: {e}", checkpoint.name())))
}

/// The policy as the files of a Hugging Face folder, an adapter merged into its base.
///
/// # Errors
/// Where a file cannot be made.
pub fn folder_files(learner: &Learner) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
    let codec = learner.codec();
    io::folder_bytes(learner.model(), codec.tokenizer(), codec.template())
        .map_err(|e| EngineError::Input(e.to_string()))
}

/// The adapter as the files of PEFT's folder.
///
/// # Errors
/// Where a file cannot be made.
pub fn adapter_files(
    adapter: &Adapter,
    recipe: &Recipe,
) -> Result<Vec<(String, Vec<u8>)>, EngineError> {
    io::adapter_bytes(adapter, base_path(recipe).as_deref())
        .map_err(|e| EngineError::Input(e.to_string()))
}

/// The folder of the base; `None` where the seed makes it.
fn base_path(recipe: &Recipe) -> Option<String> {
    match &recipe.model {
        recipe::Model::Path(path) => Some(path.clone()),
        recipe::Model::Scratch(_) => None,
    }
}

/// A checksum as `state.json` has it.
fn shown(checksum: u64) -> String {
    format!("{checksum:016x}")
}

fn tensors(reference: &Reference) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let views = reference.parameters();
    views.iter().map(|v| (v.name().to_owned(), v.shape().to_vec(), v.to_row_major())).collect()
}

/// Bytes that one checkpoint of a model takes: what trains and its two moments.
pub fn bytes(model: &Model) -> u64 {
    model.trained_count() as u64 * 12 + (1 << 20)
}

/// Learners that a checkpoint of a run holds at most: the policy, every estimator, and the critic
/// of a stage where it has a trunk of its own.
pub fn learners(recipe: &Recipe) -> u64 {
    let estimators = recipe.stage.iter().filter(|stage| matches!(stage, Stage::Estimator(_)));
    let own_critic = |stage: &Stage| match stage {
        Stage::Rl(rl) => rl.credit.reads_values() && rl.critic.trunk == recipe::Trunk::Own,
        _ => false,
    };
    1 + estimators.count() as u64 + u64::from(recipe.stage.iter().any(own_critic))
}

/// Bytes that the heads of an offline stage add to a checkpoint at most: weights and two moments of
/// those that learn, weights of their frozen copies.
pub fn head_bytes(recipe: &Recipe, model: &Model) -> f64 {
    let of = |stage: &Stage| match stage {
        Stage::Offline(own) => {
            let (learn, frozen) = own.head_numbers(model.config());
            12.0 * learn as f64 + 4.0 * frozen as f64
        }
        _ => 0.0,
    };
    recipe.stage.iter().map(of).fold(0.0, f64::max)
}

/// Steps of the whole recipe before a place. The end of a stage and the last step before it are
/// two places with two numbers.
pub(crate) fn number(recipe: &Recipe, place: Place) -> u64 {
    let before = recipe.stage[..place.stage].iter().map(|stage| stage.updates() + 1);
    (before.sum::<usize>() + place.done) as u64
}
