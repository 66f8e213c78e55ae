//! The micro-batches of an optimizer step, each with what its objective reads.

use stepwell_methods::objective::{RowSequence, Sequence, sequences};
use stepwell_methods::{Batch, Streams, token_weights};
use stepwell_model::TokenScores;
use stepwell_tree::{Credit, StepId, StepTree};

use crate::update::Settings;
use crate::values::OldValues;
use crate::{MicroBatch, micro_batches};

/// The micro-batches of one optimizer step; the loss counts by its share.
pub(crate) fn batches(
    forest: &[StepTree],
    credit: &[Credit],
    settings: &Settings,
    share: f64,
) -> Vec<Fed> {
    let aggregation = settings.objective.aggregation();
    let mut weight = token_weights(forest, credit, aggregation, settings.max_tokens);
    if share != 1.0 {
        weight.iter_mut().flatten().for_each(|weight| *weight *= share);
    }
    let batches = micro_batches(forest, credit, &weight, settings.tokens_max);
    let unit = settings.objective.sequence();
    let own = |(tree, credit), unit| sequences(tree, credit, aggregation, unit);
    let own = unit.map(|unit| forest.iter().zip(credit).map(|each| own(each, unit)).collect());
    let fed = |batch| Fed::new(batch, forest, own.as_ref(), settings);
    batches.into_iter().map(fed).collect()
}

/// A micro-batch with what its objective reads beside tokens.
pub(crate) struct Fed {
    pub(crate) batch: MicroBatch,
    sequence: Vec<RowSequence>,
    streams: Vec<(&'static str, Vec<f32>)>,
    pub(crate) values: Option<OldValues>,
}

impl Fed {
    /// What an objective reads, with the scores of a forward.
    pub(crate) fn read<'a>(&'a self, scores: &'a TokenScores) -> Batch<'a> {
        let Fed { batch, sequence, streams, .. } = self;
        Batch {
            logprob: &scores.logprob,
            entropy: &scores.entropy,
            behaviour: &batch.behaviour,
            reference: batch.reference.as_deref(),
            credit: &batch.credit,
            weight: &batch.weight,
            sequence,
            streams: Streams {
                column: streams.iter().map(|(name, column)| (*name, &column[..])).collect(),
            },
        }
    }

    /// `own` are the sequences of every tree, where the objective looks at sequences.
    fn new(
        batch: MicroBatch,
        forest: &[StepTree],
        own: Option<&Vec<Vec<Sequence<StepId>>>>,
        settings: &Settings,
    ) -> Fed {
        let sequence = own.map_or_else(Vec::new, |own| batch.sequences(own));
        let column = |name: &&'static str| (*name, batch.column(forest, name));
        let streams = settings.objective.streams().iter().map(column).collect();
        let values = settings.value.map(|config| OldValues::of(&batch, forest, config));
        Fed { batch, sequence, streams, values }
    }
}
