//! The memory of training: activations, scratch and threads.

use super::{
    Packed, Scored, TokenScores,
    activations::{ActivationPlan, CHUNK, Inside, LayerActivations},
    attention::PathScratch,
    attention_grad::PathGradScratch,
    backward::{self, Flow},
    forest::Forest,
    forward,
    rows::{RowBuffers, RowSeeds},
    score::{self, ScoreBuffers},
    state::{self, StateSeeds},
};
use crate::{
    gradients::Gradients,
    kernel::{Buffer, ProductScratch},
    layer::LayerScratch,
    model::Model,
    parameters::Slot,
    rotary::Rotary,
    team::Team,
};

/// Activations of one packed forest and the threads that compute them; reusable.
pub struct Workspace {
    pub(super) team: Team,
    pub(super) rotary: Rotary,
    pub(super) forest: Forest,
    pub(super) layers: Vec<LayerActivations>,
    pub(super) scratch: LayerScratch,
    /// Of the layer at work, where it keeps nothing.
    pub(super) spare: Inside,
    pub(super) plan: ActivationPlan,
    budget: Option<usize>,
    /// `[N][hidden]` the residual stream after the last layer.
    pub(super) output: Buffer,
    /// `[N][hidden]` the gradient by the residual stream.
    pub(super) d_stream: Buffer,
    pub(super) flow: Flow,
    pub(super) score: ScoreBuffers,
    pub(super) rows: RowBuffers,
    /// One per thread.
    pub(super) worker: Vec<Worker>,
    pub(super) state: State,
}

/// Whether the activations are those of a forward that awaits its backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Empty,
    Forwarded { rows: usize, scored: usize },
}

/// Scratch of one thread.
#[derive(Default)]
pub(super) struct Worker {
    pub(super) path: PathScratch,
    pub(super) path_grad: PathGradScratch,
    pub(super) product: ProductScratch,
    /// `[CHUNK][hidden]` gradient by the output of a norm.
    pub(super) d_normed: Buffer,
    /// `[CHUNK][query width]` gradient by the output of the head norms.
    pub(super) d_heads: Buffer,
    /// `[vocabulary]` exponentials of one position.
    pub(super) numerators: Buffer,
}

impl Workspace {
    /// A workspace with its own threads; their number changes no bit of any result.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        let team = Team::new(threads);
        let worker = (0..team.threads()).map(|_| Worker::default()).collect();
        Self {
            team,
            rotary: Rotary::new(),
            forest: Forest::default(),
            layers: Vec::new(),
            scratch: LayerScratch::default(),
            spare: Inside::default(),
            plan: ActivationPlan::default(),
            budget: None,
            output: Buffer::default(),
            d_stream: Buffer::default(),
            flow: Flow::default(),
            score: ScoreBuffers::default(),
            rows: RowBuffers::default(),
            worker,
            state: State::Empty,
        }
    }

    /// Bytes that activations may take from a forward to its backward; `None` keeps all. Layers
    /// that do not fit are computed again in the backward: no result changes by a bit.
    pub fn set_activation_budget(&mut self, bytes: Option<usize>) {
        self.budget = bytes;
    }

    /// Scores the given positions and keeps the activations for [`Workspace::backward`].
    ///
    /// # Panics
    /// If `packed` is not a forest in depth-first order, a path exceeds the model's context, or a
    /// token, row or target is out of range.
    pub fn forward(&mut self, model: &Model, packed: &Packed, scored: &Scored) -> TokenScores {
        let config = model.config();
        // Should this one panic, the last forward can no longer be taken back.
        self.state = State::Empty;
        self.forest.read(packed, config.vocabulary, config.context);
        self.rotary.cover(config, self.forest.longest());
        self.plan = ActivationPlan::new(config, packed.token.len(), self.budget);
        forward::trunk(self, model, packed);
        let scores = score::forward(self, model, scored);
        self.state = State::Forwarded { rows: packed.token.len(), scored: scored.row.len() };
        scores
    }

    /// `[R][hidden]` hidden states after the final norm, at some rows of the last forward.
    ///
    /// # Panics
    /// If nothing has been computed, or its backward has already overwritten it.
    #[must_use]
    pub fn states(&self, model: &Model, row: &[u32]) -> Vec<f32> {
        assert!(self.state != State::Empty, "states are those of a forward");
        state::states(self, model, row)
    }

    /// Accumulates into `gradients`, given the loss's derivatives by log-probability and entropy
    /// of each scored position of the last forward (`[S]` each).
    ///
    /// # Panics
    /// If the last forward was of other sizes or has already been taken back: the activations
    /// are overwritten on the way.
    pub fn backward(
        &mut self,
        model: &Model,
        packed: &Packed,
        scored: &Scored,
        d_logprob: &[f32],
        d_entropy: &[f32],
        gradients: &mut Gradients,
    ) {
        let none = StateSeeds::default();
        self.backward_with_states(model, packed, scored, (d_logprob, d_entropy), none, gradients);
    }

    /// As [`Workspace::backward`], where the loss reads hidden states of the last forward as well.
    ///
    /// # Panics
    /// As [`Workspace::backward`].
    pub fn backward_with_states(
        &mut self,
        model: &Model,
        packed: &Packed,
        scored: &Scored,
        scores: (&[f32], &[f32]),
        states: StateSeeds<'_>,
        gradients: &mut Gradients,
    ) {
        self.backward_with_rows(model, packed, scored, (scores, None), states, gradients);
    }

    /// As [`Workspace::backward_with_states`], where the loss reads whole distributions as well;
    /// `[S]` what it says of every scored position.
    ///
    /// # Panics
    /// As [`Workspace::backward`], and where the other model is of another vocabulary.
    pub fn backward_with_rows(
        &mut self,
        model: &Model,
        packed: &Packed,
        scored: &Scored,
        (scores, of_rows): ((&[f32], &[f32]), Option<RowSeeds<'_>>),
        states: StateSeeds<'_>,
        gradients: &mut Gradients,
    ) -> Vec<f64> {
        let (d_logprob, d_entropy) = scores;
        let (rows, count) = (packed.token.len(), scored.row.len());
        let expected = State::Forwarded { rows, scored: count };
        assert_eq!(self.state, expected, "backward needs the forward of the same forest");
        assert_eq!((d_logprob.len(), d_entropy.len()), (count, count), "one seed per position");
        let trained = Slot::stored_in(model.trained_slots());
        assert_eq!(gradients.arena.len(), trained, "gradients of another model");
        self.state = State::Empty;
        if rows == 0 {
            return Vec::new();
        }
        self.d_stream.resize(rows * model.config().hidden);
        self.d_stream.fill(0.0);
        for worker in &mut self.worker {
            worker.d_normed.reserve(CHUNK * model.config().hidden);
        }
        let value = score::backward(self, model, scored, (scores, of_rows), gradients);
        state::backward(self, model, states, gradients);
        backward::trunk(self, model, packed, gradients);
        value
    }
}
