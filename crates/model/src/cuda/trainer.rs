//! Training on the device: weights, activations, gradients and moments live there.

use super::{
    CudaError, Decoder, Device,
    arithmetic::{Angles, Arithmetic},
    backward::Flow,
    error::Done,
    forest::Columns,
    forward::{Activations, Pass},
    layer::LayerScratch,
    memory::Buffer,
    optimizer::Moments,
    score::ScoreBuffers,
    sums::Sums,
    weights::Weights,
};
use crate::{
    adapter::Adapter,
    model::Model,
    train::{Forest, Packed, Scored, TokenScores},
};

/// A model on the GPU that trains and is sampled from.
///
/// The host's [`Model`] stays the authority for shape and names; [`Trainer::download`] brings its
/// weights up to date.
pub struct Trainer {
    pub(super) arithmetic: Arithmetic,
    pub(super) weights: Weights,
    /// A frozen model to compare with, and the checksum of the host's.
    pub(super) reference: Option<(u64, Weights)>,
    pub(super) gradients: Buffer<f32>,
    partial: Buffer<f32>,
    pub(super) moments: Moments,
    forest: Forest,
    work: Work,
    budget: Option<usize>,
    state: State,
}

/// What one forest needs.
#[derive(Default)]
struct Work {
    columns: Columns,
    angles: Angles,
    scratch: LayerScratch,
    activations: Activations,
    score: ScoreBuffers,
    flow: Flow,
}

/// Whether the activations are those of a forward that awaits its backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Empty,
    Forwarded { rows: usize, scored: usize },
}

/// Whose weights a forward reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Reference,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Trainer").field("device", &self.arithmetic.device).finish()
    }
}

impl Trainer {
    /// Compiles the kernels for the model's shape and precision and copies its weights.
    ///
    /// # Errors
    /// Where the device refuses: memory, or a shape that the kernels do not cover.
    pub fn new(device: &Device, model: &Model) -> Result<Trainer, CudaError> {
        let arithmetic = Arithmetic::new(device, model)?;
        let weights = Weights::new(&arithmetic, model)?;
        let trained = weights.trained().places.total;
        let gradients = Buffer::zeros(device, trained)?;
        let partial = Buffer::zeros(device, Sums::room(&arithmetic))?;
        let moments = Moments::new(device, trained)?;
        Ok(Trainer {
            arithmetic,
            weights,
            reference: None,
            gradients,
            partial,
            moments,
            forest: Forest::default(),
            work: Work::default(),
            budget: None,
            state: State::Empty,
        })
    }

    /// Bytes that activations may take from a forward to its backward; `None`: what is free.
    pub fn set_activation_budget(&mut self, bytes: Option<usize>) {
        self.budget = bytes;
    }

    /// Copies the weights of a model of the same shape and precision to the device.
    ///
    /// # Errors
    /// Where the shape is another, or the device refuses.
    pub fn upload(&mut self, model: &Model) -> Result<(), CudaError> {
        self.weights.require_same(model)?;
        self.weights.replace(&self.arithmetic, model)
    }

    /// Brings the weights that train in the host's copy up to date.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn download(&self, model: &mut Model) -> Result<(), CudaError> {
        self.weights.download(&self.arithmetic.device, model)
    }

    /// Scores the given positions and keeps the activations for [`Trainer::backward`].
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// As [`Workspace::forward`](crate::Workspace::forward).
    pub fn forward(&mut self, packed: &Packed, scored: &Scored) -> Result<TokenScores, CudaError> {
        let scores = self.run_forward(packed, scored, Whose::Own)?;
        self.state = State::Forwarded { rows: packed.token.len(), scored: scored.row.len() };
        Ok(scores)
    }

    fn run_forward(&mut self, packed: &Packed, scored: &Scored, whose: Whose) -> Done<TokenScores> {
        self.state = State::Empty;
        let Trainer { arithmetic: own, work, forest, .. } = self;
        let (count, vocabulary) = (scored.row.len(), own.config.vocabulary);
        assert_eq!(scored.target.len(), count, "one target per scored row");
        let inside = |target: &u32| (*target as usize) < vocabulary;
        assert!(scored.target.iter().all(inside), "a target is outside the vocabulary");
        let rows = packed.token.len();
        let inside = |row: &u32| (*row as usize) < rows;
        assert!(scored.row.iter().all(inside), "a scored row is outside the forest");
        forest.read(packed, vocabulary, own.config.context);
        if rows == 0 {
            return Ok(TokenScores { logprob: Vec::new(), entropy: Vec::new() });
        }
        work.columns.read(own, packed)?;
        work.angles.cover(own, forest.longest())?;
        let weights = match (whose, &self.reference) {
            (Whose::Reference, Some((_, weights))) => weights,
            _ => &self.weights,
        };
        work.scratch.reserve(own, weights, rows)?;
        work.activations.reserve(own, rows, self.budget)?;
        let mut score = std::mem::take(&mut work.score);
        let pass = work.pass(own, weights, rows);
        let scores = pass.forward().and_then(|()| pass.score(&mut score, scored));
        self.work.score = score;
        scores
    }

    /// Accumulates into the gradients, given the loss's derivatives by log-probability and entropy
    /// of each scored position of the last forward (`[S]` each).
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// If the last forward was of other sizes or has already been taken back.
    pub fn backward(
        &mut self,
        packed: &Packed,
        scored: &Scored,
        d_logprob: &[f32],
        d_entropy: &[f32],
    ) -> Result<(), CudaError> {
        let (rows, count) = (packed.token.len(), scored.row.len());
        let expected = State::Forwarded { rows, scored: count };
        assert_eq!(self.state, expected, "backward needs the forward of the same forest");
        assert_eq!((d_logprob.len(), d_entropy.len()), (count, count), "one seed per position");
        self.state = State::Empty;
        if rows == 0 {
            return Ok(());
        }
        let Trainer { arithmetic: own, work, weights, .. } = self;
        work.flow.reserve(own, weights, rows)?;
        let gradients = own.of(&self.gradients);
        let sums = Sums { gradients, partial: &self.partial };
        let (mut score, mut flow) =
            (std::mem::take(&mut work.score), std::mem::take(&mut work.flow));
        let pass = work.pass(own, weights, rows);
        let done = pass
            .score_backward(&mut score, (d_logprob, d_entropy), &mut flow, &sums)
            .and_then(|()| pass.backward(&flow, &sums));
        (self.work.score, self.work.flow) = (score, flow);
        done
    }

    /// Copies a frozen model to the device for [`Trainer::score_reference`]; nothing where the
    /// one that is there has the same weights.
    ///
    /// # Errors
    /// Where the shape is another, or the device refuses.
    pub fn set_reference(&mut self, model: &Model) -> Result<(), CudaError> {
        self.weights.require_same(model)?;
        let checksum = model.checksum();
        match &mut self.reference {
            Some((held, _)) if *held == checksum => Ok(()),
            Some((held, weights)) => {
                *held = checksum;
                weights.replace(&self.arithmetic, model)
            }
            None => {
                let weights = Weights::new(&self.arithmetic, model)?;
                self.reference = Some((checksum, weights));
                Ok(())
            }
        }
    }

    /// Scores positions with the frozen model; there is no backward of it.
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// As [`Trainer::forward`].
    pub fn score_reference(
        &mut self,
        packed: &Packed,
        scored: &Scored,
    ) -> Result<TokenScores, CudaError> {
        self.run_forward(packed, scored, Whose::Reference)
    }

    /// Scores positions with another adapter on the same base; there is no backward of it.
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// As [`Trainer::forward`].
    pub fn score_beside(
        &mut self,
        adapter: &Adapter,
        packed: &Packed,
        scored: &Scored,
    ) -> Result<TokenScores, CudaError> {
        let own = self.weights.adapter.take();
        let replaced = self.weights.replace_adapter(&self.arithmetic, Some(adapter));
        let scores = replaced.and_then(|()| self.run_forward(packed, scored, Whose::Own));
        self.weights.adapter = own;
        scores
    }

    /// A decoder of these weights; start a new one when they move.
    #[must_use]
    pub fn decoder(&self) -> Decoder<'_> {
        Decoder::new(&self.arithmetic, &self.weights)
    }
}

impl Work {
    fn pass<'a>(&'a self, own: &'a Arithmetic, weights: &'a Weights, rows: usize) -> Pass<'a> {
        Pass {
            own,
            weights,
            columns: &self.columns,
            angles: &self.angles,
            scratch: &self.scratch,
            activations: &self.activations,
            rows,
        }
    }
}
