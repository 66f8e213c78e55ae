//! Whole distributions of a teacher in an update: a second loss at every trained token.

use std::sync::Arc;

use stepwell_methods::{Row, RowLoss, RowObjective};
use stepwell_model::Scored;

use crate::error::{finite, finite_sum};
use crate::machine::{OfRows, Seeds};
use crate::{Learner, MicroBatch, Reference, TrainError};

/// A loss that compares the policy's distribution with a teacher's at every token that trains,
/// whoever wrote it.
#[derive(Clone, Debug)]
pub struct Distillation {
    /// All weights of a model with the policy's tokens; they stand still.
    pub teacher: Arc<Reference>,
    /// The loss of one position.
    pub objective: RowObjective,
    /// Its factor, from 0 to 1; the settings' own objective has the rest.
    pub share: f64,
}

impl Learner {
    /// `[M][hidden of the teacher]` what the teacher makes of the states in which a micro-batch's
    /// tokens were chosen; nothing where there is none. It comes before the policy's own forward.
    pub(crate) fn teacher_states(
        &mut self,
        batch: &MicroBatch,
        distillation: Option<&Distillation>,
    ) -> Result<Vec<f32>, TrainError> {
        let Some(Distillation { teacher, .. }) = distillation else { return Ok(Vec::new()) };
        let (packed, scored) = (batch.packed(), batch.scored(1.0));
        let (scores, states) = self.machine.reference_states(teacher, &packed, &scored)?;
        // What is not finite in its logits shows here.
        finite("a teacher's log-prob", &scores.logprob, batch)?;
        finite("a teacher's entropy", &scores.entropy, batch)?;
        Ok(states)
    }

    /// The backward of the policy's last forward: from the derivatives of the objective, which
    /// count by what distillation leaves them, and of distillation, whose loss it returns.
    pub(crate) fn distil(
        &mut self,
        batch: &MicroBatch,
        scored: &Scored<'_>,
        seeds: Seeds<'_>,
        (own, states): (&Distillation, &[f32]),
    ) -> Result<f64, TrainError> {
        let Distillation { teacher, objective, share } = own;
        let rest = |seeds: &[f32]| seeds.iter().map(|d| (1.0 - share) as f32 * d).collect();
        let (d_logprob, d_entropy): (Vec<f32>, Vec<f32>) =
            (rest(seeds.d_logprob), rest(seeds.d_entropy));
        let of_row = |at: usize, logit: &mut [f32], target: &[f32]| {
            let (token, weight) = (batch.target[at], share * batch.weight[at]);
            let RowLoss { value, d_logit } =
                objective.row(&Row { logit: &*logit, target, token, weight });
            logit.copy_from_slice(&d_logit);
            value
        };
        let rows = OfRows { of_row: &of_row, teacher, states };
        let seeds = Seeds { d_logprob: &d_logprob, d_entropy: &d_entropy, ..seeds };
        let value = self.machine.backward_rows(&batch.packed(), scored, seeds, rows)?;
        let loss = value.iter().sum();
        finite_sum("loss of distillation", loss, batch)?;
        Ok(loss)
    }
}
