//! One update on pairs of answers: both sides of a pair are steps of one tree, so that what stands
//! before them is computed once.

use stepwell_methods::PreferenceLoss;
use stepwell_methods::preference::{Answer, Pair, kto};
use stepwell_model::AdamWSettings;
use stepwell_tree::{Credit, StepId, StepTree};

use crate::batch::REFERENCE;
use crate::error::{finite, finite_sum};
use crate::gap::Gap;
use crate::guard::trained_once;
use crate::machine::Seeds;
use crate::{Learner, MicroBatch, TrainError, micro_batches};

/// Two steps of one tree, the first the better answer to what stands before both.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepPair {
    /// The tree, by its place in the forest.
    pub tree: usize,
    /// The better step.
    pub chosen: StepId,
    /// The worse step.
    pub rejected: StepId,
    /// The probability that it is so, from 0 to 1; 1 where a pair is sure.
    pub label: f64,
}

/// What an update on pairs needs beside them.
#[derive(Clone, Debug)]
pub struct PreferenceSettings {
    /// The loss of a pair.
    pub loss: PreferenceLoss,
    /// Divides the logits; log-probs are of that distribution.
    pub temperature: f32,
    /// Rate and moments for every optimizer step of this update.
    pub adamw: AdamWSettings,
    /// Largest norm of the gradient; larger ones are scaled down to it. Infinity: never.
    pub gradient_clip: f64,
    /// Optimizer steps, each on all pairs.
    pub epochs: usize,
    /// Tokens computed at once; bounds memory and changes nothing else.
    pub tokens_max: usize,
    /// True where the answers were sampled by these very weights: the first pass must then repeat
    /// every log-prob, and a gap stops the run.
    pub on_policy: bool,
}

/// What an update on pairs did. Means over pairs are of the first pass, before it moved anything.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PreferenceReport {
    /// Mean loss of a pair, mean over passes.
    pub loss: f64,
    /// Norm of the gradient before clipping, mean over passes.
    pub gradient_norm: f64,
    /// Mean of Δ(chosen) − Δ(rejected) in nats, Δ = log π − log π_ref of the whole answer; without
    /// a reference of log π.
    pub margin: f64,
    /// Share of pairs whose margin is above 0.
    pub accuracy: f64,
    /// Mean log-probability of a chosen answer, in nats.
    pub chosen_logprob: f64,
    /// Mean log-probability of a rejected answer, in nats.
    pub rejected_logprob: f64,
    /// Mean |log-prob now − log-prob sampled| in the first pass; 0 off policy.
    pub gap: f64,
    /// Tokens that carried a loss, each counted once per pass.
    pub trained_tokens: usize,
    /// Tokens computed, per pass.
    pub computed_tokens: usize,
    /// Optimizer steps taken: 0 where there was no pair.
    pub optimizer_steps: usize,
}

impl Learner {
    /// Trains on pairs of a forest's steps. `mismatched` are trees whose steps answer what they
    /// were not written for, read where the loss asks for them. Where the loss reads a reference,
    /// [`Learner::fill_reference`] has filled its column in both.
    ///
    /// # Errors
    /// As [`Learner::update`].
    pub fn prefer(
        &mut self,
        forest: &[StepTree],
        pairs: &[StepPair],
        mismatched: &[StepTree],
        settings: &PreferenceSettings,
    ) -> Result<PreferenceReport, TrainError> {
        let mut report = PreferenceReport::default();
        if pairs.is_empty() {
            return Ok(report);
        }
        self.require_unmoved()?;
        let marks = marks(forest, pairs);
        if settings.on_policy {
            self.require_own(forest, &marks)?;
        }
        let batches = marked(forest, &marks, settings.tokens_max);
        trained_once((forest, &marks), settings.on_policy, batches.iter())?;
        for epoch in 0..settings.epochs {
            let z = self.point_of_reference(mismatched, settings)?;
            self.clear_gradients()?;
            let mut seen = PreferenceReport::default();
            let mut sampled = Gap::default();
            for batch in &batches {
                let own: Vec<&StepPair> =
                    pairs.iter().filter(|p| batch.holds(p.tree, p.chosen)).collect();
                let share = 1.0 / pairs.len() as f64;
                self.one(batch, &own, (share, z), settings, (&mut seen, &mut sampled))?;
                seen.computed_tokens += batch.layout.len();
                seen.trained_tokens += batch.trained();
            }
            if epoch == 0 {
                seen.gap = sampled.mean();
                let (loss, norm) = (report.loss, report.gradient_norm);
                report = PreferenceReport { gradient_norm: norm, ..seen };
                report.loss += loss;
                if settings.on_policy {
                    sampled.within(&*self.machine)?;
                }
            } else {
                report.loss += seen.loss;
            }
            let norm = self.gradient_norm()?;
            self.apply(norm, &settings.adamw, settings.gradient_clip)?;
            report.gradient_norm += norm;
            report.optimizer_steps += 1;
        }
        report.loss /= settings.epochs as f64;
        report.gradient_norm /= settings.epochs as f64;
        Ok(report)
    }

    /// Forward, losses and backward of the pairs of one micro-batch.
    fn one(
        &mut self,
        batch: &MicroBatch,
        pairs: &[&StepPair],
        (share, z): (f64, f64),
        settings: &PreferenceSettings,
        (seen, sampled): (&mut PreferenceReport, &mut Gap),
    ) -> Result<(), TrainError> {
        let references = references(batch, settings)?;
        let (packed, scored) = (batch.packed(), batch.scored(settings.temperature));
        let scores = self.machine.forward(&packed, &scored)?;
        finite("log-prob", &scores.logprob, batch)?;
        if settings.on_policy {
            sampled.add(&scores.logprob, batch);
        }
        let mut d_logprob = vec![0.0; batch.trained()];
        for pair in pairs {
            let answer = |step| answer(batch, (pair.tree, step), &scores.logprob, references);
            let own = Pair { chosen: answer(pair.chosen), rejected: answer(pair.rejected) };
            let term = settings.loss.soft_loss(&own, pair.label, z);
            for (step, slope) in [(pair.chosen, term.d_chosen), (pair.rejected, term.d_rejected)] {
                for row in batch.step_rows[&(pair.tree, step)].clone() {
                    d_logprob[row] += (share * slope) as f32;
                }
            }
            seen.loss += share * term.value;
            seen.margin += share * own.margin();
            seen.accuracy += if own.margin() > 0.0 { share } else { 0.0 };
            seen.chosen_logprob += share * own.chosen.logprob;
            seen.rejected_logprob += share * own.rejected.logprob;
        }
        finite("loss gradient", &d_logprob, batch)?;
        finite_sum("loss", seen.loss, batch)?;
        let d_entropy = vec![0.0; batch.trained()];
        let seeds = Seeds { d_logprob: &d_logprob, d_entropy: &d_entropy, ..Seeds::default() };
        Ok(self.machine.backward(&packed, &scored, seeds)?)
    }

    /// Where answers to other prompts stand under the weights as they are; 0 where nobody asks.
    fn point_of_reference(
        &mut self,
        mismatched: &[StepTree],
        settings: &PreferenceSettings,
    ) -> Result<f64, TrainError> {
        if !settings.loss.reads_mismatched() {
            return Ok(0.0);
        }
        let all = |tree: &StepTree| {
            let mut credit = Credit::none(tree.len());
            credit.step[1..].fill(Some(0.0));
            credit
        };
        let marks: Vec<Credit> = mismatched.iter().map(all).collect();
        let mut answers = Vec::new();
        for batch in marked(mismatched, &marks, settings.tokens_max) {
            let references = references(&batch, settings)?;
            let (packed, scored) = (batch.packed(), batch.scored(settings.temperature));
            let scores = self.machine.forward(&packed, &scored)?;
            finite("log-prob", &scores.logprob, &batch)?;
            let each = batch.step_rows.keys();
            answers.extend(each.map(|at| answer(&batch, *at, &scores.logprob, references)));
        }
        Ok(kto::point_of_reference(&answers))
    }
}

/// Marks the two sides of every pair: the steps that train.
fn marks(forest: &[StepTree], pairs: &[StepPair]) -> Vec<Credit> {
    let mut credits: Vec<Credit> = forest.iter().map(|tree| Credit::none(tree.len())).collect();
    for pair in pairs {
        for step in [pair.chosen, pair.rejected] {
            credits[pair.tree].step[step.index()] = Some(0.0);
        }
    }
    credits
}

/// The trees that hold marked steps, in micro-batches that train those.
fn marked(forest: &[StepTree], marks: &[Credit], tokens_max: usize) -> Vec<MicroBatch> {
    let weight: Vec<Vec<f64>> = forest.iter().map(|tree| vec![0.0; tree.token.len()]).collect();
    micro_batches(forest, marks, &weight, tokens_max)
}

/// The reference's log-probs of a micro-batch, where the loss reads them.
fn references<'b>(
    batch: &'b MicroBatch,
    settings: &PreferenceSettings,
) -> Result<Option<&'b [f32]>, TrainError> {
    if !settings.loss.reads_reference() {
        return Ok(None);
    }
    let column = batch.reference.as_deref();
    let column = column.unwrap_or_else(|| panic!("column `{REFERENCE}` was not filled"));
    finite("reference log-prob", column, batch)?;
    Ok(Some(column))
}

/// The sums of a step's rows.
fn answer(
    batch: &MicroBatch,
    at: (usize, StepId),
    logprob: &[f32],
    reference: Option<&[f32]>,
) -> Answer {
    let rows = batch.step_rows[&at].clone();
    let sum = |column: &[f32]| column[rows.clone()].iter().map(|x| f64::from(*x)).sum();
    Answer {
        logprob: sum(logprob),
        reference: reference.map_or(0.0, sum),
        tokens: rows.len().max(1),
    }
}
