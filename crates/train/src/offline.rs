//! Q-learning from logged trees: what each token is worth, learned by heads on the policy's trunk.
//!
//! A Q head is as wide as the vocabulary. Of a taken token its one entry is computed; whole rows,
//! which the conservative term, a maximum over tokens and every backward read, a few positions at a
//! time over the whole vocabulary (INV-7), so that each row is gone when the next comes.

use stepwell_methods::credit::uniform;
use stepwell_methods::offline::bellman;
use stepwell_methods::{
    Aggregation, Batch, Loss, OfflineValue, Rewards, Row, Streams, token_weights,
};
use stepwell_model::{Head, HeadShape, StateSeeds, TokenScores};
use stepwell_tree::StepTree;

use crate::error::{finite, finite_sum};
use crate::guard::trained_once;
use crate::heads::{NOTHING, finite_at};
use crate::machine::Seeds;
use crate::{HeadSettings, Learner, MicroBatch, TrainError, VALUE, micro_batches};

/// How heads and policy learn from a log.
#[derive(Clone, Debug)]
pub struct OfflineSettings {
    /// The loss.
    pub method: OfflineValue,
    /// How far ahead counts.
    pub bellman: bellman::Config,
    /// Optimizer, clip and memory; a frozen trunk leaves the policy as it is.
    pub head: HeadSettings,
}

/// What an optimizer step on a log did. Means are over the trained tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct OfflineReport {
    /// The loss before the step, the conservative term included.
    pub loss: f64,
    /// The conservative term alone.
    pub conservatism: f64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Mean of Q of what was taken, by the first head that learns.
    pub q: f64,
    /// Mean of what states are worth.
    pub value: f64,
    /// Mean of the targets of Q.
    pub target: f64,
    /// Tokens that carried a loss, each counted once.
    pub trained_tokens: usize,
    /// Tokens computed.
    pub computed_tokens: usize,
}

impl Learner {
    /// Puts the heads of a method on the trunk, fresh: each says 0 until it has learned, and the
    /// frozen ones are copies. `hidden` is the width of their inner layers; the draws of these
    /// differ from head to head.
    pub fn attach_offline(&mut self, method: &OfflineValue, hidden: Option<usize>, seed: u64) {
        let vocabulary = self.machine.config().vocabulary;
        for (own, (name, target)) in (0..).zip(method.q_heads()) {
            // Not the seed itself: a new model draws its embedding by it.
            self.attach_head(name, hidden, vocabulary, seed.wrapping_add(own + 1));
            let frozen = self.heads[*name].frozen();
            self.frozen.insert((*target).to_owned(), frozen);
        }
        if method.learns_value() {
            self.attach_head(VALUE, hidden, 1, seed.wrapping_add(u64::from(u32::MAX)));
        }
    }

    /// The first head of a method that is not on the trunk.
    pub fn missing_head(&self, method: &OfflineValue) -> Option<&'static str> {
        let pairs = method.q_heads().iter().flat_map(|(own, target)| [*own, *target]);
        let value = method.learns_value().then_some(VALUE);
        pairs.chain(value).find(|name| !self.has_head(name))
    }

    /// Moves every frozen head of a method towards the one that it follows (Polyak averaging).
    ///
    /// # Panics
    /// Where a head is missing.
    pub fn follow(&mut self, method: &OfflineValue, rate: f64) {
        for (name, target) in method.q_heads() {
            let frozen = self.frozen.get_mut(*target).expect("the method's heads are attached");
            frozen.follow(&self.heads[*name], rate as f32);
        }
    }

    /// One optimizer step on trees that any policy has written, whose attempts were judged: every
    /// token of a policy's step with a scored leaf below counts alike.
    ///
    /// # Errors
    /// Where a number is not finite, before anything has moved; or the device fails.
    ///
    /// # Panics
    /// Where a head is missing.
    pub fn learn_offline(
        &mut self,
        forest: &[StepTree],
        rewards: &Rewards,
        settings: &OfflineSettings,
    ) -> Result<OfflineReport, TrainError> {
        self.require_unmoved()?;
        let mut report = OfflineReport::default();
        // Every step that the log teaches; the number is not read.
        let marks = uniform::credit(forest, rewards, &uniform::Config::default());
        let weight = token_weights(forest, &marks, Aggregation::TokenMean, 1);
        let batches = micro_batches(forest, &marks, &weight, settings.head.tokens_max);
        if batches.is_empty() {
            return Ok(report);
        }
        trained_once((forest, &marks), false, batches.iter())?;
        self.clear_gradients()?;
        for batch in &batches {
            self.accumulate_offline(batch, (forest, rewards), settings, &mut report)?;
        }
        report.gradient_norm = self.finish(&settings.head)?;
        Ok(report)
    }

    /// Forward, loss and backward of one micro-batch.
    pub(crate) fn accumulate_offline(
        &mut self,
        batch: &MicroBatch,
        (forest, rewards): (&[StepTree], &Rewards),
        settings: &OfflineSettings,
        report: &mut OfflineReport,
    ) -> Result<(), TrainError> {
        let OfflineSettings { method, head, .. } = settings;
        let trains_policy = method.trains_policy() && !head.frozen_trunk;
        let scored = if trains_policy { batch.scored(1.0) } else { NOTHING };
        let scores = self.machine.forward(&batch.packed(), &scored)?;
        finite("log-prob", &scores.logprob, batch)?;
        let states = self.machine.states(&batch.row)?;
        let value = self.state_values(method, &states, batch)?;
        let target = targets(batch, (forest, rewards), &value, &settings.bellman);
        finite_at("Bellman target", &target, batch, &batch.row)?;
        let (loss, first) = self.offline_loss(method, batch, (&states, &value), &target, scores)?;
        let (mut d_state, held) = self.q_gradient(method, batch, &states, &loss)?;
        if let Some(d_value) = loss.d_streams.get(VALUE) {
            finite_at("value gradient", d_value, batch, &batch.row)?;
            let head = self.heads.get_mut(VALUE).expect("it has spoken");
            add(&mut d_state, &head.backward(&states, d_value));
        }
        finite_sum("loss", loss.value + held, batch)?;
        let mean = |of: &[f32]| -> f64 {
            of.iter().zip(&batch.weight).map(|(x, weight)| weight * f64::from(*x)).sum()
        };
        report.loss += loss.value + held;
        report.conservatism += held;
        report.value += mean(&value);
        report.target += mean(&target);
        report.q += mean(&first);
        report.trained_tokens += batch.trained();
        report.computed_tokens += batch.layout.len();
        if head.frozen_trunk {
            return Ok(());
        }
        let nothing = vec![0.0; loss.d_logprob.len()];
        let own: (&[f32], &[f32]) =
            if trains_policy { (&loss.d_logprob, &nothing) } else { (&[], &[]) };
        let states = StateSeeds { row: &batch.row, d_state: &d_state };
        let seeds = Seeds { d_logprob: own.0, d_entropy: own.1, states };
        self.machine.backward(&batch.packed(), &scored, seeds)?;
        Ok(())
    }

    /// `[M]` what the state before each trained token is worth.
    fn state_values(
        &mut self,
        method: &OfflineValue,
        states: &[f32],
        batch: &MicroBatch,
    ) -> Result<Vec<f32>, TrainError> {
        let value = if method.learns_value() {
            self.heads.get_mut(VALUE).expect("the method's heads are attached").forward(states)
        } else {
            let (name, target) = method.q_heads()[0];
            let head = self.heads.get_mut(name).expect("the method's heads are attached");
            let frozen = &self.frozen[target];
            let shape = head.shape();
            let mut value = Vec::with_capacity(batch.trained());
            for some in states.chunks(shape.rows_at_once() * shape.inputs) {
                let (own, other) = (head.forward(some), frozen.forward(some));
                let rows = own.chunks_exact(shape.outputs).zip(other.chunks_exact(shape.outputs));
                value.extend(rows.map(|(own, other)| method.state_value(own, other)));
            }
            value
        };
        finite_at(VALUE, &value, batch, &batch.row)?;
        Ok(value)
    }

    /// The loss of the taken tokens, with its gradient by what heads and policy say of them; and
    /// `[M]` what the first Q head says of each.
    fn offline_loss(
        &self,
        method: &OfflineValue,
        batch: &MicroBatch,
        (states, value): (&[f32], &[f32]),
        target: &[f32],
        scores: TokenScores,
    ) -> Result<(Loss, Vec<f32>), TrainError> {
        // The first Q head comes second.
        let mut said = vec![(VALUE, value.to_vec())];
        for (name, frozen) in method.q_heads() {
            said.push((name, self.heads[*name].taken(states, &batch.target)));
            if method.streams().contains(frozen) {
                said.push((frozen, self.frozen[*frozen].taken(states, &batch.target)));
            }
        }
        for (name, numbers) in &said {
            finite_at(name, numbers, batch, &batch.row)?;
        }
        let logprob =
            if scores.logprob.is_empty() { vec![0.0; batch.trained()] } else { scores.logprob };
        let loss = method.objective(&Batch {
            logprob: &logprob,
            credit: target,
            weight: &batch.weight,
            streams: Streams {
                column: said.iter().map(|(name, numbers)| (*name, &numbers[..])).collect(),
            },
            ..Batch::default()
        });
        finite("loss gradient", &loss.d_logprob, batch)?;
        let first = said.swap_remove(1).1;
        Ok((loss, first))
    }

    /// Backward of the heads that learn Q: `[M][hidden]` derivatives by the states, and the
    /// conservative term.
    fn q_gradient(
        &mut self,
        method: &OfflineValue,
        batch: &MicroBatch,
        states: &[f32],
        loss: &Loss,
    ) -> Result<(Vec<f32>, f64), TrainError> {
        let (mut d_state, mut held) = (vec![0.0; states.len()], 0.0);
        for (name, _) in method.q_heads() {
            let d_taken = &loss.d_streams[name];
            finite_at("Q gradient", d_taken, batch, &batch.row)?;
            let head = self.heads.get_mut(*name).expect("the method's heads are attached");
            let HeadShape { inputs, outputs, .. } = head.shape();
            let rows = head.shape().rows_at_once();
            let chunk = rows * inputs;
            let parts = states.chunks(chunk).zip(d_state.chunks_mut(chunk));
            for (part, (states, d_state)) in parts.enumerate() {
                let own = part * rows..(part * rows + rows).min(batch.trained());
                let taken = Taken {
                    token: &batch.target[own.clone()],
                    d: &d_taken[own.clone()],
                    weight: &batch.weight[own],
                };
                let q = head.forward(states);
                // One number per position, not finite where one of its Q is not.
                let sound = |q: &[f32]| q.iter().copied().find(|q| !q.is_finite()).unwrap_or(0.0);
                let sound: Vec<f32> = q.chunks_exact(outputs).map(sound).collect();
                finite_at(name, &sound, batch, &batch.row[part * rows..])?;
                held += rows_gradient((head, q), method, states, &taken, d_state);
            }
        }
        Ok((d_state, held))
    }
}

/// The tokens that were taken at a few positions.
struct Taken<'b> {
    token: &'b [u32],
    /// Derivatives of the loss by Q of these tokens.
    d: &'b [f32],
    weight: &'b [f64],
}

/// Backward of a Q head over a few positions and the whole vocabulary, from the Q of its last
/// forward; the conservative term there.
fn rows_gradient(
    (head, mut q): (&mut Head, Vec<f32>),
    method: &OfflineValue,
    states: &[f32],
    taken: &Taken<'_>,
    d_state: &mut [f32],
) -> f64 {
    let outputs = head.shape().outputs;
    let mut held = 0.0;
    for (i, q) in q.chunks_exact_mut(outputs).enumerate() {
        let token = taken.token[i];
        if method.is_conservative() {
            let row = Row { logit: q, target: &[], token, weight: taken.weight[i] };
            let term = method.row(&row);
            held += term.value;
            q.copy_from_slice(&term.d_logit);
        } else {
            q.fill(0.0);
        }
        q[token as usize] += taken.d[i];
    }
    add(d_state, &head.backward(states, &q));
    held
}

fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

fn with_value(tree: &StepTree, value: Vec<f32>) -> StepTree {
    let mut tree = tree.clone();
    tree.token_column.insert(VALUE.to_owned(), value);
    tree
}

/// `[M]` Bellman targets of a micro-batch, from what its states are worth. A tree is never split,
/// so that the state after every token is there.
fn targets(
    batch: &MicroBatch,
    (forest, rewards): (&[StepTree], &Rewards),
    value: &[f32],
    config: &bellman::Config,
) -> Vec<f32> {
    let mut column: Vec<Vec<f32>> =
        batch.tree.iter().map(|&t| vec![0.0; forest[t].token.len()]).collect();
    let member = |t: usize| batch.tree.binary_search(&t).expect("trees are packed in order");
    for (&(t, arena), value) in batch.place.iter().zip(value) {
        column[member(t)][arena] = *value;
    }
    let own: Vec<StepTree> =
        batch.tree.iter().zip(column).map(|(&t, column)| with_value(&forest[t], column)).collect();
    let leaf = batch.tree.iter().map(|&t| rewards.leaf[t].clone()).collect();
    let step =
        rewards.step.as_ref().map(|step| batch.tree.iter().map(|&t| step[t].clone()).collect());
    let credits = bellman::credit(&own, &Rewards { leaf, step }, config);
    let of = |&(t, arena): &(usize, usize)| {
        credits[member(t)].token.as_ref().expect("targets are per token")[arena] as f32
    };
    batch.place.iter().map(of).collect()
}
