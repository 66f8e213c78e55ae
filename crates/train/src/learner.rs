//! Weights, optimizer and codec: all that training changes, and what a checkpoint holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use stepwell_methods::objective::adaptive_clip::ENTROPY;
use stepwell_model::{Adapter, FrozenHead, Guide, Head, Model, Packed, Scored, TokenScores};
use stepwell_tree::{Origin, PolicyVersion, StepTree};

use crate::batch::REFERENCE;
use crate::machine::{self, Cpu, Machine, Restored};
use crate::{Codec, Device, DeviceError, HeadState, LocalPolicy, Reference, micro_batches};

/// Heads that learn, and heads that are frozen.
type HeadsByName = (BTreeMap<String, Head>, BTreeMap<String, FrozenHead>);

/// The local model as something that can be trained.
pub struct Learner {
    pub(crate) machine: Box<dyn Machine>,
    /// Heads on the trunk, by name.
    pub(crate) heads: BTreeMap<String, Head>,
    /// Heads that follow others and learn nothing of their own.
    pub(crate) frozen: BTreeMap<String, FrozenHead>,
    codec: Arc<Codec>,
    device: Device,
    threads: usize,
    /// Bytes that activations may take, where they may not take all.
    budget: Option<usize>,
    version: PolicyVersion,
    /// What the weights summed up to when they were last sealed; `None` once they have moved.
    pub(crate) seal: Option<u64>,
}

/// What a checkpoint needs beside the weights themselves.
pub struct LearnerState {
    /// Named tensors of the optimizer: name, shape, numbers.
    pub optimizer: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Steps the optimizer has taken (its bias correction depends on it).
    pub optimizer_step: u64,
    /// The version of the weights.
    pub version: PolicyVersion,
    /// Heads on the trunk.
    pub heads: Vec<HeadState>,
}

impl Learner {
    /// A learner on the CPU, at version 0 with an empty optimizer.
    pub fn new(model: Model, codec: Codec, threads: usize) -> Self {
        let machine = Box::new(Cpu::new(model, threads.max(1)));
        Self::of(machine, Arc::new(codec), Device::Cpu, threads)
    }

    /// A learner on a device, at version 0 with an empty optimizer; `threads` are the CPU's.
    ///
    /// # Errors
    /// Where the device cannot be had: what is missing and what to install.
    pub fn on(
        device: Device,
        model: Model,
        codec: Codec,
        threads: usize,
    ) -> Result<Self, DeviceError> {
        let machine = machine::open(device, model, threads.max(1))?;
        Ok(Self::of(machine, Arc::new(codec), device, threads))
    }

    /// A second learner with the same weights, a fresh optimizer and no heads.
    ///
    /// # Errors
    /// Where the device has no room for it.
    pub fn twin(&self) -> Result<Learner, DeviceError> {
        let machine = machine::open(self.device, self.model().clone(), self.threads.max(1))?;
        let mut twin = Self::of(machine, Arc::clone(&self.codec), self.device, self.threads);
        twin.set_activation_budget(self.budget);
        Ok(twin)
    }

    fn of(machine: Box<dyn Machine>, codec: Arc<Codec>, device: Device, threads: usize) -> Self {
        Learner {
            machine,
            heads: BTreeMap::new(),
            frozen: BTreeMap::new(),
            codec,
            device,
            threads,
            budget: None,
            version: PolicyVersion(0),
            seal: None,
        }
    }

    /// Where the model is computed.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Threads of the CPU's side.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Bytes that activations may take from a forward to its backward; `None` keeps all. Changes
    /// no result.
    pub fn set_activation_budget(&mut self, bytes: Option<usize>) {
        self.budget = bytes;
        self.machine.set_activation_budget(bytes);
    }

    /// The weights; those of a GPU come to the host when they have moved since.
    pub fn model(&self) -> &Model {
        self.machine.model()
    }

    /// Text to tokens and back.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// How many optimizer steps these weights have seen.
    pub fn version(&self) -> PolicyVersion {
        self.version
    }

    pub(crate) fn advance_version(&mut self) {
        self.version.0 += 1;
        self.seal = None;
    }

    /// Starts a stage with a fresh optimizer: moments of another loss do not carry over.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn reset_optimizer(&mut self) -> Result<(), DeviceError> {
        self.heads.values_mut().for_each(Head::reset_optimizer);
        self.machine.reset_optimizer()
    }

    /// Lends the weights to a policy that samples.
    pub fn policy(&self) -> LocalPolicy<'_> {
        let context = self.machine.config().context;
        LocalPolicy::new(self.machine.sampler(None), context, &self.codec, self.version)
    }

    /// True where an offline stage has left heads that can lead.
    pub fn has_guide(&self) -> bool {
        !self.frozen.is_empty()
    }

    /// Lends the weights to a policy whose tokens are drawn by log π + β·min Q of the frozen heads
    /// that an offline stage left; with `beta` 0, or where there are none, to [`Learner::policy`].
    /// The log-probabilities that it tells are the policy's own.
    pub fn led(&self, beta: f64) -> LocalPolicy<'_> {
        if beta == 0.0 || self.frozen.is_empty() {
            return self.policy();
        }
        let guide = Guide::new(self.frozen.values().collect(), beta as f32);
        let context = self.machine.config().context;
        LocalPolicy::new(self.machine.sampler(Some(guide)), context, &self.codec, self.version)
    }

    /// Fills the column of entropies under the weights as they are for all sampled tokens: those
    /// of sampling, where these weights sampled.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn fill_entropy(
        &mut self,
        forest: &mut [StepTree],
        temperature: f32,
        tokens_max: usize,
    ) -> Result<(), DeviceError> {
        let machine = &mut *self.machine;
        for tree in forest {
            let forward = |packed: &Packed, scored: &Scored| machine.forward(packed, scored);
            let scores = score(tree, (temperature, tokens_max), forward)?;
            tree.token_column.insert(ENTROPY.to_owned(), scores.entropy);
        }
        Ok(())
    }

    /// Fills the column of reference log-probs under `reference` for all tokens that were sampled
    /// or demonstrated.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn fill_reference(
        &mut self,
        forest: &mut [StepTree],
        reference: &Reference,
        temperature: f32,
        tokens_max: usize,
    ) -> Result<(), DeviceError> {
        self.fill_frozen(REFERENCE, forest, reference, temperature, tokens_max)
    }

    /// Fills a column of log-probs under a frozen model of any shape with the same tokens.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn fill_frozen(
        &mut self,
        column: &str,
        forest: &mut [StepTree],
        frozen: &Reference,
        temperature: f32,
        tokens_max: usize,
    ) -> Result<(), DeviceError> {
        let machine = &mut *self.machine;
        machine.take_reference(frozen)?;
        for tree in forest.iter_mut() {
            let forward =
                |packed: &Packed, scored: &Scored| machine.score_reference(frozen, packed, scored);
            let scores = score(tree, (temperature, tokens_max), forward)?;
            tree.token_column.insert(column.to_owned(), scores.logprob);
        }
        Ok(())
    }

    /// What a checkpoint holds beside the weights.
    pub fn state(&self) -> LearnerState {
        let (optimizer_step, optimizer) = self.machine.optimizer();
        let own = self.heads.iter().map(|(name, head)| HeadState::of(name, head));
        let frozen = self.frozen.iter().map(|(name, head)| HeadState::of_frozen(name, head));
        let heads = own.chain(frozen).collect();
        LearnerState { optimizer, optimizer_step, version: self.version, heads }
    }

    /// Continues from a checkpoint of an adapter on the same base, as [`Learner::restore`].
    ///
    /// # Errors
    /// A message where a tensor is missing or has another shape.
    pub fn restore_adapter(&mut self, adapter: Adapter, state: LearnerState) -> Result<(), String> {
        let expected = self.model().adapter().map(Adapter::settings);
        if expected != Some(adapter.settings()) {
            let got = adapter.settings();
            return Err(format!("another adapter: got {got:?}, expected: {expected:?}"));
        }
        self.restore_weights(Restored::Adapter(Box::new(adapter)), &state)
    }

    /// Continues from a checkpoint: the next update is bit for bit the one that would have come.
    ///
    /// # Errors
    /// A message where a tensor is missing or has another shape.
    pub fn restore(&mut self, model: Model, state: LearnerState) -> Result<(), String> {
        if model.config() != self.machine.config() {
            let (got, expected) = (model.config(), self.machine.config());
            return Err(format!("weights of another shape: got {got:?}, expected: {expected:?}"));
        }
        self.restore_weights(Restored::Model(Box::new(model)), &state)
    }

    /// Puts the weights back to what they were when `reference` was taken, with an optimizer that
    /// has seen nothing and no heads. They are a new version: no log-probability of an old one is
    /// theirs.
    ///
    /// # Errors
    /// A message where the device fails.
    pub fn return_to(&mut self, reference: &Reference) -> Result<(), String> {
        self.machine.reset_optimizer().map_err(|e| e.to_string())?;
        let (optimizer_step, optimizer) = self.machine.optimizer();
        let version = PolicyVersion(self.version.0 + 1);
        let weights = match reference {
            Reference::Weights(model) => Restored::Model(model.clone()),
            Reference::Adapter(adapter) => Restored::Adapter(adapter.clone()),
        };
        let heads = Vec::new();
        let state = LearnerState { optimizer, optimizer_step, version, heads };
        self.restore_weights(weights, &state)
    }

    fn restore_weights(&mut self, weights: Restored, state: &LearnerState) -> Result<(), String> {
        let heads = self.heads_of(&state.heads)?;
        self.machine.restore(weights, state)?;
        self.seal = None;
        (self.heads, self.frozen) = heads;
        self.version = state.version;
        Ok(())
    }

    /// Puts the heads of a checkpoint in place of the learner's own.
    ///
    /// # Errors
    /// A message where a tensor is missing or has another shape.
    pub fn put_heads(&mut self, held: &[HeadState]) -> Result<(), String> {
        (self.heads, self.frozen) = self.heads_of(held)?;
        Ok(())
    }

    fn heads_of(&self, held: &[HeadState]) -> Result<HeadsByName, String> {
        let inputs = self.machine.config().hidden;
        let (mut heads, mut frozen) = (BTreeMap::new(), BTreeMap::new());
        for own in held {
            if own.frozen {
                frozen.insert(own.name.clone(), own.restored_frozen(inputs)?);
            } else {
                heads.insert(own.name.clone(), own.restored(inputs)?);
            }
        }
        Ok((heads, frozen))
    }
}

/// `[T]` log-probs of a tree's sampled and demonstrated tokens as `forward` gives them, and the
/// entropies of the distributions they stand under; 0 elsewhere.
fn score(
    tree: &StepTree,
    (temperature, tokens_max): (f32, usize),
    mut forward: impl FnMut(&Packed, &Scored) -> Result<TokenScores, DeviceError>,
) -> Result<TokenScores, DeviceError> {
    let mut all = stepwell_tree::Credit::none(tree.len());
    for (credit, origin) in all.step.iter_mut().zip(&tree.origin) {
        *credit = (origin.is_policy() || *origin == Origin::Demonstration).then_some(0.0);
    }
    let weight = vec![0.0; tree.token.len()];
    let nothing = vec![0.0; tree.token.len()];
    let mut scores = TokenScores { logprob: nothing.clone(), entropy: nothing };
    let tree = std::slice::from_ref(tree);
    for batch in micro_batches(tree, &[all], &[weight], tokens_max) {
        let (packed, scored) = (batch.packed(), batch.scored(temperature));
        let found = forward(&packed, &scored)?;
        for (row, &(_, arena)) in batch.place.iter().enumerate() {
            scores.logprob[arena] = found.logprob[row];
            scores.entropy[arena] = found.entropy[row];
        }
    }
    Ok(scores)
}
