//! One update: forward, objective, backward, checks, clip, optimizer. Transactional (P8).

use stepwell_methods::{Aggregation, Batch, Diagnostics, Objective, token_weights};
use stepwell_model::{AdamWSettings, Gradients};
use stepwell_tree::{Credit, Key, StepTree};

use crate::{Learner, MicroBatch, micro_batches};

/// What one update needs beside the forest.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The loss.
    pub objective: Objective,
    /// How token losses become one number.
    pub aggregation: Aggregation,
    /// The recipe's token budget per step, the default constant of Dr. GRPO's divisor.
    pub max_tokens: usize,
    /// The temperature that tokens were sampled at; log-probs are of that distribution.
    pub temperature: f32,
    /// Rate and moments for every optimizer step of this update.
    pub adamw: AdamWSettings,
    /// Largest norm of the gradient; larger ones are scaled down to it. Infinity: never.
    pub gradient_clip: f64,
    /// Passes over the forest.
    pub epochs: usize,
    /// Optimizer steps per pass; trees are dealt out in a keyed order.
    pub minibatches: usize,
    /// Tokens computed at once; bounds memory and changes nothing else.
    pub tokens_max: usize,
    /// True where the forest was sampled by these very weights: the first pass must then repeat
    /// every log-prob, and a gap stops the run.
    pub on_policy: bool,
}

/// Mean |log-prob now - log-prob sampled| that stops a run: on the CPU the gap is 0 (P3).
const GAP_MAX: f64 = 1e-3;

/// A gradient this long is an overflow on its way: its square leaves f32 inside the optimizer.
const GRADIENT_NORM_MAX: f64 = 1e18;

/// Why an update did not happen. The weights are untouched.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum TrainError {
    /// A number is NaN or infinite.
    #[error("{what} is not finite: got {value}; {place}; no weight was changed")]
    NotFinite {
        /// What kind of number.
        what: &'static str,
        /// The number.
        value: f64,
        /// Tree, step and token, or the parameter.
        place: String,
    },
    /// The trainer does not see the log-probs that were sampled.
    #[error(
        "trainer and sampler disagree on log-probs: mean |difference| {mean:.3e}, expected at most \
         {GAP_MAX:.0e}; no weight was changed; the cache, the temperature or the layout is wrong"
    )]
    Gap {
        /// Mean absolute difference over the trained tokens.
        mean: f64,
    },
}

/// What an update did.
#[derive(Clone, Debug, Default)]
pub struct UpdateReport {
    /// The aggregated loss, mean over optimizer steps.
    pub loss: f64,
    /// Norm of the gradient before clipping, mean over optimizer steps.
    pub gradient_norm: f64,
    /// Of the objective, over all tokens of all passes.
    pub diagnostics: Diagnostics,
    /// Mean |log-prob now - log-prob sampled| on the first pass's first step.
    pub gap: f64,
    /// Tokens that carried a loss, each counted once.
    pub trained_tokens: usize,
    /// Tokens computed in one pass (U of the trees that train).
    pub computed_tokens: usize,
    /// Optimizer steps taken: 0 where nothing had credit.
    pub optimizer_steps: usize,
}

impl Learner {
    /// Trains on a forest. `forest[i]` has `credit[i]`; `key` deals trees to minibatches.
    ///
    /// # Errors
    /// Where a number is not finite or, on policy, log-probs disagree with the sampler's: before
    /// the optimizer step in which it shows, whose weights stay as they were.
    pub fn update(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &Settings,
        key: Key,
    ) -> Result<UpdateReport, TrainError> {
        let mut report = UpdateReport::default();
        let trained: Vec<usize> =
            (0..forest.len()).filter(|&t| credit[t].trained_steps() > 0).collect();
        for epoch in 0..settings.epochs {
            let order = key.with(epoch as u64).permutation(trained.len());
            let parts = settings.minibatches.min(trained.len());
            for part in 0..parts {
                let mut member: Vec<usize> =
                    (part..order.len()).step_by(parts).map(|i| trained[order[i]]).collect();
                // Sums run in the forest's order, so one minibatch is the same in every epoch.
                member.sort_unstable();
                let first = epoch == 0 && part == 0;
                self.optimizer_step(forest, credit, &member, settings, first, &mut report)?;
            }
        }
        let steps = report.optimizer_steps.max(1) as f64;
        report.loss /= steps;
        report.gradient_norm /= steps;
        Ok(report)
    }

    fn optimizer_step(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        member: &[usize],
        settings: &Settings,
        first: bool,
        report: &mut UpdateReport,
    ) -> Result<(), TrainError> {
        let trees: Vec<&StepTree> = member.iter().map(|&t| &forest[t]).collect();
        let own: Vec<&Credit> = member.iter().map(|&t| &credit[t]).collect();
        let weight =
            token_weights(&trees, &own, settings.aggregation.clone(), settings.max_tokens);
        let weight: Vec<&[f64]> = weight.iter().map(Vec::as_slice).collect();
        let batches = micro_batches(&trees, &own, &weight, settings.tokens_max);
        let mut gradients = std::mem::replace(&mut self.gradients, Gradients::empty());
        gradients.clear();
        let outcome = self.accumulate(&batches, settings, first, &mut gradients, report);
        let norm = gradients.norm();
        let stepped = outcome.and_then(|()| self.apply(&mut gradients, norm, settings));
        self.gradients = gradients;
        stepped?;
        report.gradient_norm += norm;
        report.optimizer_steps += 1;
        Ok(())
    }

    fn accumulate(
        &mut self,
        batches: &[MicroBatch],
        settings: &Settings,
        first: bool,
        gradients: &mut Gradients,
        report: &mut UpdateReport,
    ) -> Result<(), TrainError> {
        let mut gap = 0.0;
        for batch in batches {
            let (packed, scored) = (batch.packed(), batch.scored(settings.temperature));
            let scores = self.workspace.forward(&self.model, &packed, &scored);
            finite("log-prob", &scores.logprob, batch)?;
            finite("entropy", &scores.entropy, batch)?;
            let drift = |(now, then): (&f32, &f32)| f64::from((now - then).abs());
            gap += scores.logprob.iter().zip(&batch.behaviour).map(drift).sum::<f64>();
            let loss = settings.objective.loss(&Batch {
                logprob: &scores.logprob,
                entropy: &scores.entropy,
                behaviour: &batch.behaviour,
                reference: batch.reference.as_deref(),
                credit: &batch.credit,
                weight: &batch.weight,
            });
            finite("loss gradient", &loss.d_logprob, batch)?;
            finite("loss gradient", &loss.d_entropy, batch)?;
            report.loss += loss.value;
            report.diagnostics.merge(&loss.diagnostics);
            self.workspace.backward(
                &self.model,
                &packed,
                &scored,
                &loss.d_logprob,
                &loss.d_entropy,
                gradients,
            );
        }
        let trained: usize = batches.iter().map(MicroBatch::trained).sum();
        report.trained_tokens += trained;
        report.computed_tokens += batches.iter().map(|b| b.layout.len()).sum::<usize>();
        if first && settings.on_policy {
            report.gap = gap / trained.max(1) as f64;
            if report.gap > GAP_MAX {
                return Err(TrainError::Gap { mean: report.gap });
            }
        }
        Ok(())
    }

    /// Checks, clips and steps. Nothing has moved when this returns an error.
    fn apply(
        &mut self,
        gradients: &mut Gradients,
        norm: f64,
        settings: &Settings,
    ) -> Result<(), TrainError> {
        if !norm.is_finite() || norm > GRADIENT_NORM_MAX {
            let place = gradients.non_finite().unwrap_or_else(|| "all parameters".to_owned());
            return Err(TrainError::NotFinite { what: "gradient", value: norm, place });
        }
        if norm > settings.gradient_clip {
            gradients.scale((settings.gradient_clip / norm) as f32);
        }
        self.optimizer.step(&mut self.model, gradients, &settings.adamw, self.threads);
        self.advance_version();
        Ok(())
    }
}

fn finite(what: &'static str, numbers: &[f32], batch: &MicroBatch) -> Result<(), TrainError> {
    let Some(at) = numbers.iter().position(|x| !x.is_finite()) else { return Ok(()) };
    let row = batch.row[at];
    let packed = batch.layout.begin.partition_point(|&begin| begin <= row) - 1;
    let (tree, step) = batch.layout.source[packed];
    let place = format!("tree {tree} of the micro-batch, after step {}, row {row}", step.0);
    Err(TrainError::NotFinite { what, value: f64::from(numbers[at]), place })
}
