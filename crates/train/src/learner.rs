//! Weights, optimizer and codec: all that training changes, and what a checkpoint holds.

use stepwell_methods::objective::adaptive_clip::ENTROPY;
use stepwell_model::{AdamW, Adapter, Gradients, Model, Workspace};
use stepwell_tree::{Origin, PolicyVersion, StepTree};

use crate::batch::REFERENCE;
use crate::{Codec, LocalPolicy, Reference, micro_batches};

/// The local model as something that can be trained.
pub struct Learner {
    pub(crate) model: Model,
    pub(crate) optimizer: AdamW,
    pub(crate) gradients: Gradients,
    pub(crate) workspace: Workspace,
    pub(crate) threads: usize,
    codec: Codec,
    version: PolicyVersion,
}

/// What a checkpoint needs beside the weights themselves.
pub struct LearnerState {
    /// Named tensors of the optimizer: name, shape, numbers.
    pub optimizer: Vec<(String, Vec<usize>, Vec<f32>)>,
    /// Steps the optimizer has taken (its bias correction depends on it).
    pub optimizer_step: u64,
    /// The version of the weights.
    pub version: PolicyVersion,
}

impl Learner {
    /// A learner at version 0 with an empty optimizer.
    pub fn new(model: Model, codec: Codec, threads: usize) -> Self {
        let threads = threads.max(1);
        Learner {
            optimizer: AdamW::new(&model),
            gradients: Gradients::zeros_like(&model),
            workspace: Workspace::new(threads),
            version: PolicyVersion(0),
            model,
            codec,
            threads,
        }
    }

    /// Bytes that activations may take from a forward to its backward; `None` keeps all. Changes
    /// no result.
    pub fn set_activation_budget(&mut self, bytes: Option<usize>) {
        self.workspace.set_activation_budget(bytes);
    }

    /// The weights.
    pub fn model(&self) -> &Model {
        &self.model
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
    }

    /// Starts a stage with a fresh optimizer: moments of another loss do not carry over.
    pub fn reset_optimizer(&mut self) {
        self.optimizer = AdamW::new(&self.model);
    }

    /// Lends the weights to a policy that samples.
    pub fn policy(&self) -> LocalPolicy<'_> {
        LocalPolicy::new(&self.model, &self.codec, self.version, self.threads)
    }

    /// Fills the column of entropies under the weights as they are for all sampled tokens: those
    /// of sampling, where these weights sampled.
    pub fn fill_entropy(&mut self, forest: &mut [StepTree], temperature: f32, tokens_max: usize) {
        let Learner { model, workspace, .. } = self;
        for tree in forest {
            let (_, column) = score(workspace, tree, model, (temperature, tokens_max));
            tree.token_column.insert(ENTROPY.to_owned(), column);
        }
    }

    /// Fills the column of reference log-probs under `reference` for all tokens that were sampled
    /// or demonstrated.
    pub fn fill_reference(
        &mut self,
        forest: &mut [StepTree],
        reference: &Reference,
        temperature: f32,
        tokens_max: usize,
    ) {
        let Learner { model: own, workspace, .. } = self;
        let mut fill = |model: &Model| {
            for tree in forest.iter_mut() {
                let (column, _) = score(workspace, tree, model, (temperature, tokens_max));
                tree.token_column.insert(REFERENCE.to_owned(), column);
            }
        };
        match reference {
            Reference::Weights(model) => fill(model),
            Reference::Adapter(frozen) => {
                let policy = own.detach();
                own.attach((**frozen).clone()).expect("it was frozen on this base");
                fill(own);
                own.detach();
                if let Some(policy) = policy {
                    own.attach(policy).expect("it was attached before");
                }
            }
        }
    }

    /// What a checkpoint holds beside the weights.
    pub fn state(&self) -> LearnerState {
        LearnerState {
            optimizer: self.optimizer.tensors(),
            optimizer_step: self.optimizer.step_count(),
            version: self.version,
        }
    }

    /// Continues from a checkpoint of an adapter on the same base, as [`Learner::restore`].
    ///
    /// # Errors
    /// A message where a tensor is missing or has another shape.
    pub fn restore_adapter(&mut self, adapter: Adapter, state: LearnerState) -> Result<(), String> {
        if self.model.adapter().map(Adapter::settings) != Some(adapter.settings()) {
            let expected = self.model.adapter().map(Adapter::settings);
            let got = adapter.settings();
            return Err(format!("another adapter: got {got:?}, expected: {expected:?}"));
        }
        self.model.attach(adapter).map_err(|e| e.to_string())?;
        self.restore_state(state)
    }

    /// Continues from a checkpoint: the next update is bit for bit the one that would have come.
    ///
    /// # Errors
    /// A message where a tensor is missing or has another shape.
    pub fn restore(&mut self, model: Model, state: LearnerState) -> Result<(), String> {
        if model.config() != self.model.config() {
            let (got, expected) = (model.config(), self.model.config());
            return Err(format!("weights of another shape: got {got:?}, expected: {expected:?}"));
        }
        // A checkpoint holds the `f32` masters, whatever products read.
        let precision = self.model.precision();
        self.model = model;
        self.model.set_precision(precision);
        self.restore_state(state)
    }

    fn restore_state(&mut self, state: LearnerState) -> Result<(), String> {
        self.optimizer
            .restore(state.optimizer_step, &state.optimizer)
            .map_err(|e| e.to_string())?;
        self.version = state.version;
        Ok(())
    }
}

/// `[T]` log-probs of a tree's sampled and demonstrated tokens under `model`, and entropies of the
/// distributions they stand under; 0 elsewhere.
fn score(
    workspace: &mut Workspace,
    tree: &StepTree,
    model: &Model,
    (temperature, tokens_max): (f32, usize),
) -> (Vec<f32>, Vec<f32>) {
    let mut all = stepwell_tree::Credit::none(tree.len());
    for (credit, origin) in all.step.iter_mut().zip(&tree.origin) {
        *credit = (origin.is_policy() || *origin == Origin::Demonstration).then_some(0.0);
    }
    let weight = vec![0.0; tree.token.len()];
    let mut logprob = vec![0.0; tree.token.len()];
    let mut entropy = logprob.clone();
    let tree = std::slice::from_ref(tree);
    for batch in micro_batches(tree, &[all], &[weight], tokens_max) {
        let (packed, scored) = (batch.packed(), batch.scored(temperature));
        let scores = workspace.forward(model, &packed, &scored);
        for (row, &(_, arena)) in batch.place.iter().enumerate() {
            logprob[arena] = scores.logprob[row];
            entropy[arena] = scores.entropy[row];
        }
    }
    (logprob, entropy)
}
