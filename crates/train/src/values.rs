//! Values of the states in which tokens were chosen: what a critic says of them, and how it learns.

use stepwell_methods::objective::value_loss::{self, ValueDiagnostics, ValueLoss, Values};
use stepwell_methods::{Aggregation, token_weights};
use stepwell_tree::{Credit, Key, StepTree};

use crate::heads::finite_at;
use crate::{HeadSettings, Learner, MicroBatch, TrainError, UpdateReport, VALUE, micro_batches};

/// Column over tokens: what a critic should say of the state before each.
pub const VALUE_TARGET: &str = "value_target";

/// How a critic on a trunk of its own learns from one update's trees.
#[derive(Clone, Copy, Debug)]
pub struct CriticSettings {
    /// The loss.
    pub loss: value_loss::Config,
    /// From tokens to the update.
    pub aggregation: Aggregation,
    /// The recipe's token budget per step, the default constant of Dr. GRPO's divisor.
    pub max_tokens: usize,
    /// Optimizer, clip and memory.
    pub head: HeadSettings,
    /// Passes over the forest.
    pub epochs: usize,
    /// Optimizer steps per pass.
    pub minibatches: usize,
}

/// What an update of a critic did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CriticReport {
    /// The loss, mean over optimizer steps.
    pub loss: f64,
    /// Norm of the gradient before clipping, mean over optimizer steps.
    pub gradient_norm: f64,
    /// Over all tokens of all passes.
    pub diagnostics: ValueDiagnostics,
    /// Optimizer steps taken.
    pub optimizer_steps: usize,
}

/// What a micro-batch's values were, and what they should be.
pub(crate) struct OldValues {
    config: value_loss::Config,
    behaviour: Vec<f32>,
    target: Vec<f32>,
}

impl OldValues {
    pub(crate) fn of(batch: &MicroBatch, forest: &[StepTree], config: value_loss::Config) -> Self {
        let column = |name| batch.column(forest, name);
        OldValues { config, behaviour: column(VALUE), target: column(VALUE_TARGET) }
    }

    fn loss(&self, value: &[f32], weight: &[f64]) -> ValueLoss {
        let values = Values { value, behaviour: &self.behaviour, target: &self.target };
        value_loss::value_loss(&values, weight, &self.config)
    }
}

impl Learner {
    /// Fills the column [`VALUE`]: before every token that the policy wrote, what the head of that
    /// name says of the state; 0 elsewhere.
    ///
    /// # Errors
    /// Where a value is not finite, or the device fails.
    ///
    /// # Panics
    /// Where there is no such head.
    pub fn fill_values(
        &mut self,
        forest: &mut [StepTree],
        tokens_max: usize,
    ) -> Result<(), TrainError> {
        for tree in forest {
            let mut sampled = Credit::none(tree.len());
            for (credit, origin) in sampled.step.iter_mut().zip(&tree.origin) {
                *credit = origin.is_policy().then_some(0.0);
            }
            let mut value = vec![0.0; tree.token.len()];
            let (one, weight) = (std::slice::from_ref(&*tree), [vec![0.0; tree.token.len()]]);
            for batch in micro_batches(one, &[sampled], &weight, tokens_max) {
                let said = self.ask(VALUE, &batch, &batch.row)?;
                finite_at(VALUE, &said, &batch, &batch.row)?;
                for (&(_, arena), said) in batch.place.iter().zip(said) {
                    value[arena] = said;
                }
            }
            tree.token_column.insert(VALUE.to_owned(), value);
        }
        Ok(())
    }

    /// Trains the head [`VALUE`] and its trunk on the columns [`VALUE`] and [`VALUE_TARGET`] of
    /// the tokens that have credit; `key` deals trees to minibatches, as [`Learner::update`] does.
    ///
    /// # Errors
    /// As [`Learner::update`].
    ///
    /// # Panics
    /// Where there is no such head.
    pub fn learn_values(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &CriticSettings,
        key: Key,
    ) -> Result<CriticReport, TrainError> {
        let mut report = CriticReport::default();
        for own in crate::update::dealt(credit, settings.epochs, (settings.minibatches, 0), key) {
            self.value_step(forest, &own, settings, &mut report)?;
        }
        let steps = report.optimizer_steps.max(1) as f64;
        report.loss /= steps;
        report.gradient_norm /= steps;
        Ok(report)
    }

    fn value_step(
        &mut self,
        forest: &[StepTree],
        credit: &[Credit],
        settings: &CriticSettings,
        report: &mut CriticReport,
    ) -> Result<(), TrainError> {
        let CriticSettings { loss, aggregation, max_tokens, head, .. } = *settings;
        let weight = token_weights(forest, credit, aggregation, max_tokens);
        self.clear_gradients()?;
        for batch in micro_batches(forest, credit, &weight, head.tokens_max) {
            let old = OldValues::of(&batch, forest, loss);
            let mut seen = ValueDiagnostics::default();
            report.loss += self.state_loss(VALUE, &batch, &batch.row, false, |said| {
                let own = old.loss(said, &batch.weight);
                seen = own.diagnostics;
                (own.value, own.d_value)
            })?;
            report.diagnostics.merge(&seen);
        }
        let norm = self.gradient_norm()?;
        self.apply(norm, &head.adamw, head.gradient_clip)?;
        report.gradient_norm += norm;
        report.optimizer_steps += 1;
        Ok(())
    }

    /// `[M][hidden]` gradient of the loss of values by the states of the last forward, which the
    /// head's own gradients have got; nothing where the trunk has no such head to train.
    pub(crate) fn value_gradient(
        &mut self,
        batch: &MicroBatch,
        old: Option<&OldValues>,
        report: &mut UpdateReport,
    ) -> Result<Vec<f32>, TrainError> {
        let Some(old) = old else { return Ok(Vec::new()) };
        let (states, said) = self.say(VALUE, &batch.row)?;
        finite_at(VALUE, &said, batch, &batch.row)?;
        let loss = old.loss(&said, &batch.weight);
        finite_at("value gradient", &loss.d_value, batch, &batch.row)?;
        report.value_loss += loss.value;
        report.value.merge(&loss.diagnostics);
        let head = self.heads.get_mut(VALUE).expect("it has just spoken");
        Ok(head.backward(&states, &loss.d_value))
    }
}
