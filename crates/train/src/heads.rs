//! Heads on a learner's trunk: what they say of hidden states, and how they learn it.
//!
//! Two heads have a name of their own: [`VALUE`] is read where a token is predicted, which is the
//! state before it; [`SCORE`] at the end of a step, which is the state after it.

use stepwell_model::{AdamWSettings, FrozenHead, Head, HeadShape, Scored, StateSeeds};
use stepwell_tree::{StepId, StepTree};

use crate::batch::unscored_batches;
use crate::machine::Seeds;
use crate::{DeviceError, Learner, MicroBatch, TrainError};

/// A scalar per token: the value of the state before it.
pub const VALUE: &str = "value";
/// A scalar per step: what is said of the path up to its end.
pub const SCORE: &str = "score";

pub(crate) const NOTHING: Scored = Scored { row: &[], target: &[], temperature: 1.0 };

/// What a checkpoint holds of a head.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadState {
    /// Its name.
    pub name: String,
    /// Width of its inner layer, where it has one.
    pub hidden: Option<usize>,
    /// Numbers per state.
    pub outputs: usize,
    /// True where it learns nothing of its own and follows another: it has no moments.
    pub frozen: bool,
    /// Steps its optimizer has taken.
    pub optimizer_step: u64,
    /// Weights, then moments: name, shape, numbers.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl HeadState {
    pub(crate) fn of(name: &str, head: &Head) -> Self {
        let HeadShape { hidden, outputs, .. } = head.shape();
        let (optimizer_step, moments) = head.optimizer();
        let tensors = head.parameters().into_iter().chain(moments).collect();
        let (name, frozen) = (name.to_owned(), false);
        HeadState { name, hidden, outputs, frozen, optimizer_step, tensors }
    }

    pub(crate) fn of_frozen(name: &str, head: &FrozenHead) -> Self {
        let HeadShape { hidden, outputs, .. } = head.shape();
        let (name, frozen, tensors) = (name.to_owned(), true, head.parameters());
        HeadState { name, hidden, outputs, frozen, optimizer_step: 0, tensors }
    }

    /// Its shape, where its tensors hold as many numbers: nothing is made of widths that a file
    /// only claims.
    fn proven(&self, inputs: usize) -> Result<HeadShape, String> {
        let (hidden, outputs) = (self.hidden, self.outputs);
        if self.tensors.is_empty() {
            return Err(format!("head `{}`: its tensors are missing", self.name));
        }
        let held: usize = self.tensors.iter().map(|(_, _, numbers)| numbers.len()).sum();
        let last = hidden.unwrap_or(inputs).checked_mul(outputs);
        let needed = hidden.unwrap_or(0).checked_mul(inputs).zip(last);
        let needed = needed.and_then(|(inner, last)| inner.checked_add(last));
        match needed.is_some_and(|needed| needed <= held) && outputs > 0 && hidden != Some(0) {
            true => Ok(HeadShape { inputs, hidden, outputs }),
            false => Err(format!(
                "head `{}`: got {outputs} outputs and {hidden:?} inner numbers, expected what its \
                 {held} stored numbers can be",
                self.name
            )),
        }
    }

    /// Reads the head as a restored run does, and says what is wrong with it.
    ///
    /// # Errors
    /// A shape that the tensors do not have, a tensor that is missing or of another size.
    pub fn check(&self, inputs: usize) -> Result<(), String> {
        match self.frozen {
            true => self.restored_frozen(inputs).map(drop),
            false => self.restored(inputs).map(drop),
        }
    }

    /// The head on states of `inputs` numbers.
    pub(crate) fn restored(&self, inputs: usize) -> Result<Head, String> {
        let mut head = Head::new(self.proven(inputs)?, 0);
        for (name, _, _) in head.parameters() {
            let set = head.set_parameter(&name, self.tensor(&name)?);
            set.map_err(|e| self.wrong(&e))?;
        }
        let restored = head.restore_optimizer(self.optimizer_step, &self.tensors);
        restored.map_err(|e| self.wrong(&e))?;
        Ok(head)
    }

    /// The frozen head on states of `inputs` numbers.
    pub(crate) fn restored_frozen(&self, inputs: usize) -> Result<FrozenHead, String> {
        if self.optimizer_step > 0 {
            let (name, steps) = (&self.name, self.optimizer_step);
            return Err(format!("head `{name}`: is frozen and has taken {steps} optimizer steps"));
        }
        let mut head = FrozenHead::new(self.proven(inputs)?);
        for (name, _, _) in head.parameters() {
            let set = head.set_parameter(&name, self.tensor(&name)?);
            set.map_err(|e| self.wrong(&e))?;
        }
        Ok(head)
    }

    fn tensor(&self, name: &str) -> Result<&[f32], String> {
        let found = self.tensors.iter().find(|(own, ..)| own == name);
        let missing = || format!("head `{}`: missing tensor `{name}`", self.name);
        found.map(|(_, _, values)| &values[..]).ok_or_else(missing)
    }

    fn wrong(&self, error: &stepwell_model::ModelError) -> String {
        format!("head `{}`: {error}", self.name)
    }
}

/// How a head learns from one update's trees.
#[derive(Clone, Copy, Debug)]
pub struct HeadSettings {
    /// Rate and moments, for the head and for the trunk where it trains.
    pub adamw: AdamWSettings,
    /// Largest norm of the gradient; larger ones are scaled down to it. Infinity: never.
    pub gradient_clip: f64,
    /// Tokens computed at once; bounds memory and changes nothing else.
    pub tokens_max: usize,
    /// True where the trunk stands still and only the head learns.
    pub frozen_trunk: bool,
}

/// What an update of a head did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HeadReport {
    /// The loss before the update.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Tokens computed.
    pub computed_tokens: usize,
}

impl Learner {
    /// Puts a fresh head on the trunk, whose output is 0 until it has learned; one of that name
    /// goes. `hidden` is the width of an inner layer, where it has one.
    pub fn attach_head(&mut self, name: &str, hidden: Option<usize>, outputs: usize, seed: u64) {
        let shape = HeadShape { inputs: self.machine.config().hidden, hidden, outputs };
        self.heads.insert(name.to_owned(), Head::new(shape, seed));
    }

    /// Takes all heads away.
    pub fn detach_heads(&mut self) {
        self.heads.clear();
        self.frozen.clear();
    }

    /// True where the trunk has a head of that name, frozen ones included.
    pub fn has_head(&self, name: &str) -> bool {
        self.heads.contains_key(name) || self.frozen.contains_key(name)
    }

    /// What the head called [`SCORE`] says at the end of every step: per tree `[N]`, 0 where a
    /// path has no token yet.
    ///
    /// # Errors
    /// Where the device fails.
    ///
    /// # Panics
    /// Where there is no such head.
    pub fn step_scores(
        &mut self,
        forest: &[StepTree],
        tokens_max: usize,
    ) -> Result<Vec<Vec<f32>>, DeviceError> {
        let mut scores: Vec<Vec<f32>> = forest.iter().map(|tree| vec![0.0; tree.len()]).collect();
        for batch in unscored_batches(forest, tokens_max) {
            let ends = batch.step_ends();
            let row: Vec<u32> = ends.iter().map(|(_, _, row)| *row).collect();
            for ((tree, step, _), said) in ends.iter().zip(self.ask(SCORE, &batch, &row)?) {
                scores[*tree][step.index()] = said;
            }
        }
        Ok(scores)
    }

    /// One optimizer step on a loss of what the head called [`SCORE`] says at the ends of steps.
    /// `loss(tree, scores)` is given a tree's place in the forest and its `[N]` scores, and
    /// returns the tree's part of the loss and its `[N]` derivatives.
    ///
    /// # Errors
    /// Where a number is not finite, before anything has moved; or the device fails.
    ///
    /// # Panics
    /// Where there is no such head.
    pub fn learn_scores(
        &mut self,
        forest: &[StepTree],
        settings: &HeadSettings,
        mut loss: impl FnMut(usize, &[f32]) -> (f64, Vec<f32>),
    ) -> Result<HeadReport, TrainError> {
        let mut report = HeadReport::default();
        self.clear_gradients()?;
        for batch in unscored_batches(forest, settings.tokens_max) {
            let ends = batch.step_ends();
            let row: Vec<u32> = ends.iter().map(|(_, _, row)| *row).collect();
            self.state_loss(SCORE, &batch, &row, settings.frozen_trunk, |said| {
                by_tree(&batch, forest, &ends, said, &mut loss)
            })
            .map(|value| report.loss += value)?;
            report.computed_tokens += batch.layout.len();
        }
        report.gradient_norm = self.finish(settings)?;
        Ok(report)
    }

    /// Clips and steps heads and, unless it is frozen, the trunk; the norm before the clip.
    pub(crate) fn finish(&mut self, settings: &HeadSettings) -> Result<f64, TrainError> {
        let norm = self.gradient_norm()?;
        if settings.frozen_trunk {
            self.clip(norm, settings.gradient_clip)?;
            self.step_heads(&settings.adamw);
        } else {
            self.apply(norm, &settings.adamw, settings.gradient_clip)?;
        }
        Ok(norm)
    }

    /// Forward, and what a head says at some rows.
    pub(crate) fn ask(
        &mut self,
        head: &str,
        batch: &MicroBatch,
        row: &[u32],
    ) -> Result<Vec<f32>, DeviceError> {
        self.machine.forward(&batch.packed(), &NOTHING)?;
        self.say(head, row).map(|(_, said)| said)
    }

    /// States at rows of the last forward, and what a head says of them.
    pub(crate) fn say(
        &mut self,
        head: &str,
        row: &[u32],
    ) -> Result<(Vec<f32>, Vec<f32>), DeviceError> {
        let states = self.machine.states(row)?;
        let head = self.heads.get_mut(head).unwrap_or_else(|| panic!("no head `{head}`"));
        let said = head.forward(&states);
        Ok((states, said))
    }

    /// Forward, the loss of what a head says at some rows, and its backward.
    pub(crate) fn state_loss(
        &mut self,
        head: &str,
        batch: &MicroBatch,
        row: &[u32],
        frozen_trunk: bool,
        loss: impl FnOnce(&[f32]) -> (f64, Vec<f32>),
    ) -> Result<f64, TrainError> {
        let packed = batch.packed();
        self.machine.forward(&packed, &NOTHING)?;
        let (states, said) = self.say(head, row)?;
        finite_at(head, &said, batch, row)?;
        let (value, d_said) = loss(&said);
        finite_at("loss gradient", &d_said, batch, row)?;
        let own = self.heads.get_mut(head).expect("it has just spoken");
        let d_state = own.backward(&states, &d_said);
        if !frozen_trunk {
            let states = StateSeeds { row, d_state: &d_state };
            self.machine.backward(&packed, &NOTHING, Seeds { states, ..Seeds::default() })?;
        }
        Ok(value)
    }

    pub(crate) fn clear_gradients(&mut self) -> Result<(), DeviceError> {
        self.heads.values_mut().for_each(Head::clear_gradients);
        self.machine.clear_gradients()
    }

    /// The norm over trunk and heads.
    pub(crate) fn gradient_norm(&mut self) -> Result<f64, DeviceError> {
        let trunk = self.machine.gradient_norm()?;
        if self.heads.is_empty() {
            return Ok(trunk);
        }
        let heads: f64 = self.heads.values().map(|head| head.gradients().norm().powi(2)).sum();
        Ok((trunk * trunk + heads).sqrt())
    }

    pub(crate) fn step_heads(&mut self, adamw: &AdamWSettings) {
        self.heads.values_mut().for_each(|head| head.step(adamw));
    }

    pub(crate) fn scale_gradients(&mut self, factor: f32) -> Result<(), DeviceError> {
        self.heads.values_mut().for_each(|head| head.scale_gradients(factor));
        self.machine.scale_gradients(factor)
    }

    pub(crate) fn non_finite_gradient(&mut self) -> Result<Option<String>, DeviceError> {
        let mut heads = self.heads.iter();
        let found = heads.find_map(|(name, head)| {
            head.gradients().non_finite().map(|own| format!("{name}.{own}"))
        });
        if found.is_some() { Ok(found) } else { self.machine.non_finite_gradient() }
    }
}

/// A loss per tree as one over the rows of a micro-batch.
fn by_tree(
    batch: &MicroBatch,
    forest: &[StepTree],
    ends: &[(usize, StepId, u32)],
    said: &[f32],
    loss: &mut impl FnMut(usize, &[f32]) -> (f64, Vec<f32>),
) -> (f64, Vec<f32>) {
    let (mut value, mut d_said) = (0.0, Vec::with_capacity(said.len()));
    let mut rest = ends.iter().zip(said).peekable();
    for &tree in &batch.tree {
        let mut scores = vec![0.0; forest[tree].len()];
        let mut own = Vec::new();
        while let Some(((_, step, _), said)) = rest.next_if(|((t, _, _), _)| *t == tree) {
            scores[step.index()] = *said;
            own.push(step.index());
        }
        let (part, slopes) = loss(tree, &scores);
        assert_eq!(slopes.len(), scores.len(), "one derivative per step");
        value += part;
        d_said.extend(own.into_iter().map(|step| slopes[step]));
    }
    (value, d_said)
}

/// Names the first number that is not finite, and where it stands.
pub(crate) fn finite_at(
    what: &str,
    numbers: &[f32],
    batch: &MicroBatch,
    row: &[u32],
) -> Result<(), TrainError> {
    let Some(at) = numbers.iter().position(|x| !x.is_finite()) else { return Ok(()) };
    let packed = batch.layout.begin.partition_point(|&begin| begin <= row[at]) - 1;
    let (tree, step) = batch.layout.source[packed];
    let place = format!("{what} at tree {tree} of the micro-batch, step {}", step.0);
    Err(TrainError::NotFinite { what: "what a head says", value: f64::from(numbers[at]), place })
}
