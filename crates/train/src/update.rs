//! One update: forward, objective, backward, checks, clip, optimizer. Transactional (P8).

use stepwell_methods::objective::value_loss::{self, ValueDiagnostics};
use stepwell_methods::{Diagnostics, Objective};
use stepwell_model::{AdamWSettings, StateSeeds};
use stepwell_tree::{Credit, Key, StepTree};

use crate::error::{finite, finite_sum};
use crate::fed::{Fed, batches};
use crate::gap::Gap;
use crate::guard::trained_once;
use crate::machine::Seeds;
use crate::{Beside, Distillation, Learner, Measured, TrainError};

/// What one update needs beside the forest.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The loss.
    pub objective: Objective,
    /// The loss of the head [`VALUE`](crate::VALUE) on the policy's own trunk, where there is one;
    /// the columns [`VALUE`](crate::VALUE) and [`VALUE_TARGET`](crate::VALUE_TARGET) are filled.
    pub value: Option<value_loss::Config>,
    /// A teacher's distributions beside the loss.
    pub distillation: Option<Distillation>,
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

impl Settings {
    /// The factor of its own objective beside distillation.
    fn share(&self) -> f64 {
        self.distillation.as_ref().map_or(1.0, |own| 1.0 - own.share)
    }
}

/// A gradient this long is an overflow on its way: its square leaves f32 inside the optimizer.
const GRADIENT_NORM_MAX: f64 = 1e18;

/// What an update did.
#[derive(Clone, Debug, Default)]
pub struct UpdateReport {
    /// The aggregated loss, mean over optimizer steps.
    pub loss: f64,
    /// The loss of values on the same trunk, mean over optimizer steps.
    pub value_loss: f64,
    /// The divergence from the teacher before its share, mean over optimizer steps.
    pub distillation: f64,
    /// Norm of the gradient before clipping, mean over optimizer steps.
    pub gradient_norm: f64,
    /// Of values on the same trunk, over all tokens of all passes.
    pub value: ValueDiagnostics,
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
    /// Of the loss beside, where there was one; means over optimizer steps.
    pub beside: Option<Measured>,
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
        self.update_beside(forest, credit, settings, key, None)
    }

    /// [`Learner::update`] with a second loss in every optimizer step, each by its weight; where
    /// nothing has credit, one step on the second alone.
    ///
    /// # Errors
    /// As [`Learner::update`].
    pub fn update_beside(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &Settings,
        key: Key,
        beside: Option<&Beside<'_>>,
    ) -> Result<UpdateReport, TrainError> {
        self.require_unmoved()?;
        if settings.on_policy {
            self.require_own(forest, credit)?;
        }
        let mut report = UpdateReport::default();
        let least = usize::from(beside.is_some());
        let dealt = dealt(credit, settings.epochs, (settings.minibatches, least), key);
        for (step, own) in dealt.into_iter().enumerate() {
            self.optimizer_step(forest, &own, settings, (step == 0, beside), &mut report)?;
        }
        let steps = report.optimizer_steps.max(1) as f64;
        report.loss /= steps;
        report.value_loss /= steps;
        report.distillation /= steps;
        report.gradient_norm /= steps;
        if let Some(beside) = &mut report.beside {
            beside.over(steps);
        }
        Ok(report)
    }

    fn optimizer_step(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &Settings,
        (first, beside): (bool, Option<&Beside<'_>>),
        report: &mut UpdateReport,
    ) -> Result<(), TrainError> {
        self.clear_gradients()?;
        let mut share = 1.0;
        if let Some(beside) = beside {
            let measured = self.accumulate_beside(beside)?;
            report.beside.get_or_insert_default().add(&measured);
            share = beside.share;
        }
        let batches = batches(forest, credit, settings, share);
        trained_once((forest, credit), settings.on_policy, batches.iter().map(|fed| &fed.batch))?;
        let check_gap = first && settings.on_policy;
        self.accumulate(&batches, settings, check_gap, report)?;
        let norm = self.gradient_norm()?;
        let heads = batches.iter().any(|own| own.values.is_some());
        self.apply_to(norm, &settings.adamw, settings.gradient_clip, heads)?;
        report.gradient_norm += norm;
        report.optimizer_steps += 1;
        Ok(())
    }

    pub(crate) fn accumulate(
        &mut self,
        batches: &[Fed],
        settings: &Settings,
        check_gap: bool,
        report: &mut UpdateReport,
    ) -> Result<(), TrainError> {
        let (mut seen, mut gap) = (Diagnostics::default(), Gap::default());
        for fed in batches {
            let Fed { batch, values, .. } = fed;
            // What was handed in, before anything is computed from it.
            finite("behaviour log-prob", &batch.behaviour, batch)?;
            finite("credit", &batch.credit, batch)?;
            finite("reference log-prob", batch.reference.as_deref().unwrap_or_default(), batch)?;
            let (packed, scored) = (batch.packed(), batch.scored(settings.temperature));
            let teacher = self.teacher_states(batch, settings.distillation.as_ref())?;
            let scores = self.machine.forward(&packed, &scored)?;
            finite("log-prob", &scores.logprob, batch)?;
            finite("entropy", &scores.entropy, batch)?;
            if check_gap {
                gap.add(&scores.logprob, batch);
            }
            let d_state = self.value_gradient(batch, values.as_ref(), report)?;
            let loss = settings.objective.objective(&fed.read(&scores));
            finite("loss gradient", &loss.d_logprob, batch)?;
            finite("loss gradient", &loss.d_entropy, batch)?;
            finite_sum("loss", loss.value, batch)?;
            report.loss += settings.share() * loss.value;
            seen.merge(&loss.diagnostics);
            let (d_logprob, d_entropy) = (&loss.d_logprob[..], &loss.d_entropy[..]);
            let row = if d_state.is_empty() { &[] } else { &batch.row[..] };
            let states = StateSeeds { row, d_state: &d_state };
            let seeds = Seeds { d_logprob, d_entropy, states };
            let Some(own) = &settings.distillation else {
                self.machine.backward(&packed, &scored, seeds)?;
                continue;
            };
            let apart = self.distil(batch, &scored, seeds, (own, &teacher))?;
            report.loss += apart;
            report.distillation += apart / own.share;
        }
        report.trained_tokens += batches.iter().map(|fed| fed.batch.trained()).sum::<usize>();
        report.computed_tokens += batches.iter().map(|fed| fed.batch.layout.len()).sum::<usize>();
        report.diagnostics.merge(&seen);
        report.gap += gap.mean();
        gap.within(&*self.machine)
    }

    /// Checks, clips and steps. Nothing has moved when this returns an error.
    pub(crate) fn apply(
        &mut self,
        norm: f64,
        adamw: &AdamWSettings,
        gradient_clip: f64,
    ) -> Result<(), TrainError> {
        self.apply_to(norm, adamw, gradient_clip, true)
    }

    /// As [`Learner::apply`]; heads move only where the loss has read them: a moment without a
    /// gradient would move them too.
    fn apply_to(
        &mut self,
        norm: f64,
        adamw: &AdamWSettings,
        gradient_clip: f64,
        heads: bool,
    ) -> Result<(), TrainError> {
        self.clip(norm, gradient_clip)?;
        self.machine.step(adamw)?;
        if heads {
            self.step_heads(adamw);
        }
        self.advance_version();
        Ok(())
    }

    /// Checks the gradient and scales it down to the clip.
    pub(crate) fn clip(&mut self, norm: f64, gradient_clip: f64) -> Result<(), TrainError> {
        if !stepwell_mutant::planted(36) && (!norm.is_finite() || norm > GRADIENT_NORM_MAX) {
            let place = self.non_finite_gradient()?;
            let place = place.unwrap_or_else(|| "all parameters".to_owned());
            return Err(TrainError::NotFinite { what: "gradient", value: norm, place });
        }
        if norm > gradient_clip {
            self.scale_gradients((gradient_clip / norm) as f32)?;
        }
        Ok(())
    }
}

/// The credit of every optimizer step of an update, trees dealt out to minibatches by `key`: a tree
/// outside a minibatch has no credit in it, and so is not computed. At least `least` steps a pass.
pub(crate) fn dealt(
    credit: &[Credit],
    epochs: usize,
    (minibatches, least): (usize, usize),
    key: Key,
) -> Vec<Vec<Credit>> {
    let trained: Vec<usize> =
        (0..credit.len()).filter(|&t| credit[t].trained_steps() > 0).collect();
    let none = || credit.iter().map(|own| Credit::none(own.step.len())).collect::<Vec<_>>();
    let parts = minibatches.min(trained.len()).max(least);
    let mut steps = Vec::with_capacity(epochs * parts);
    for epoch in 0..epochs {
        let order = key.with(epoch as u64).permutation(trained.len());
        for part in 0..parts {
            let mut own = none();
            for at in (part..order.len()).step_by(parts) {
                own[trained[order[at]]] = credit[trained[order[at]]].clone();
            }
            steps.push(own);
        }
    }
    steps
}
