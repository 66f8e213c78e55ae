//! A second loss in an optimizer step: its gradient is measured alone, then scaled and added to.

use stepwell_tree::{Credit, StepTree};

use crate::fed::batches;
use crate::guard::trained_once;
use crate::{Learner, Settings, TrainError, UpdateReport};

/// A loss that stands beside an update's own, usually that of demonstrations. Of its settings the
/// objective, the divisors, the temperature and `tokens_max` count; rate, clip and passes are the
/// update's.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a> {
    /// The trees, and below each the steps that train.
    pub forest: &'a [StepTree],
    /// One per tree.
    pub credit: &'a [Credit],
    /// The loss.
    pub settings: &'a Settings,
    /// Its factor, from 0 to 1.
    pub weight: f64,
    /// The factor of the update's own loss, from 0 to 1.
    pub share: f64,
}

/// A loss and its gradient, unweighted.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Measured {
    /// The aggregated loss.
    pub loss: f64,
    /// Of it the divergence from a teacher, before its share, where there is one.
    pub distillation: f64,
    /// Norm of its gradient alone, before any weight or clip.
    pub gradient_norm: f64,
    /// Tokens that carried it, each counted once.
    pub trained_tokens: usize,
    /// Tokens computed.
    pub computed_tokens: usize,
}

impl Measured {
    /// Of an update on nothing else.
    pub fn of(report: &UpdateReport) -> Measured {
        let UpdateReport { loss, distillation, gradient_norm, .. } = *report;
        let UpdateReport { trained_tokens, computed_tokens, .. } = *report;
        Measured { loss, distillation, gradient_norm, trained_tokens, computed_tokens }
    }

    pub(crate) fn add(&mut self, other: &Measured) {
        self.loss += other.loss;
        self.distillation += other.distillation;
        self.gradient_norm += other.gradient_norm;
        self.trained_tokens += other.trained_tokens;
        self.computed_tokens += other.computed_tokens;
    }

    /// Makes means of sums over optimizer steps; tokens stay sums.
    pub(crate) fn over(&mut self, steps: f64) {
        self.loss /= steps;
        self.distillation /= steps;
        self.gradient_norm /= steps;
    }
}

impl Learner {
    /// Loss and gradient norm of a forest under the weights as they are. Nothing moves.
    ///
    /// # Errors
    /// Where a number is not finite or the device fails.
    pub fn measure(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &Settings,
    ) -> Result<Measured, TrainError> {
        self.machine.clear_gradients()?;
        let measured = self.gradient_of(forest, credit, settings)?;
        self.machine.clear_gradients()?;
        Ok(measured)
    }

    /// Leaves the weighted gradient of the loss beside in the machine, which held none.
    pub(crate) fn accumulate_beside(
        &mut self,
        beside: &Beside<'_>,
    ) -> Result<Measured, TrainError> {
        let measured = self.gradient_of(beside.forest, beside.credit, beside.settings)?;
        self.machine.scale_gradients(beside.weight as f32)?;
        Ok(measured)
    }

    /// Adds a loss's gradient to a machine that holds none, and measures it.
    fn gradient_of(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &Settings,
    ) -> Result<Measured, TrainError> {
        let batches = batches(forest, credit, settings, 1.0);
        trained_once((forest, credit), settings.on_policy, batches.iter().map(|fed| &fed.batch))?;
        let mut report = UpdateReport::default();
        self.accumulate(&batches, settings, false, &mut report)?;
        Ok(Measured {
            loss: report.loss,
            distillation: report.distillation,
            gradient_norm: self.machine.gradient_norm()?,
            trained_tokens: report.trained_tokens,
            computed_tokens: report.computed_tokens,
        })
    }
}
