//! Losses of whole distributions: at every scored position a function of all the model's logits,
//! and perhaps of another model's. It is asked tile by tile, a few positions over the whole
//! vocabulary, so that no array holds a distribution for every position (INV-7).

use super::{
    weights::{WeightTask, run_weights},
    workspace::{Worker, Workspace},
};
use crate::{
    gradients::Gradients,
    kernel::{Buffer, along_rows, columns, product_grad_input_columns},
    layer::Inputs,
    model::Model,
    scores::{LOGIT_ROWS, logits},
};

/// Most numbers of one tile of logits: a few megabytes.
const TILE: usize = 1 << 21;

/// What a loss says of one scored position, given its place among them, `[V]` logits before any
/// temperature and `[V]` logits of the other model (empty where there is none): its value. It
/// leaves its derivatives by the first in their place.
pub type OfRow<'a> = dyn Fn(usize, &mut [f32], &[f32]) -> f64 + Sync + 'a;

/// A loss of whole distributions at the scored positions of the last forward.
#[derive(Clone, Copy)]
pub struct RowSeeds<'a> {
    /// The loss.
    pub of_row: &'a OfRow<'a>,
    /// What it compares with, where it compares.
    pub other: Option<OtherModel<'a>>,
}

/// A model with the same vocabulary, and what it made of the same positions.
#[derive(Clone, Copy)]
pub struct OtherModel<'a> {
    /// Its head is read.
    pub model: &'a Model,
    /// `[S][hidden of that model]` its states after the final norm; a GPU is not asked.
    pub states: &'a [f32],
}

/// Scratch of a tile.
#[derive(Default)]
pub(super) struct RowBuffers {
    /// `[rows of the tile][V]` of the model, then the gradient by them.
    logits: Buffer,
    /// `[rows of the tile][V]` of the other model.
    other: Buffer,
    /// The other model's states and the gradient by logits, as pairs where products read pairs.
    other_states: Inputs,
    d_logits: Inputs,
    along_rows: Buffer<u32>,
}

/// Positions of a tile.
fn tile_rows(vocabulary: usize) -> usize {
    (TILE / vocabulary).clamp(1, LOGIT_ROWS)
}

/// Adds the gradient by the states after the final norm to the workspace's, that of the head,
/// unless it is frozen, to `gradients`; `[S]` what the loss says of every position.
pub(super) fn backward(
    workspace: &mut Workspace,
    model: &Model,
    seeds: &RowSeeds<'_>,
    gradients: &mut Gradients,
) -> Vec<f64> {
    let hidden = model.config().hidden;
    let count = workspace.score.normed.rows().len() / hidden;
    if let Some(other) = &seeds.other {
        let (own, theirs) = (model.config().vocabulary, other.model.config().vocabulary);
        assert_eq!(own, theirs, "both models have one vocabulary");
        let expected = count * other.model.config().hidden;
        assert_eq!(other.states.len(), expected, "one state of the other model per position");
    }
    let mut value = vec![0.0; count];
    let rows = tile_rows(model.config().vocabulary);
    for (index, value) in value.chunks_mut(rows).enumerate() {
        tile(workspace, model, seeds, index * rows, value);
        tile_grad(workspace, model, index * rows..index * rows + value.len(), gradients);
    }
    value
}

/// The loss of positions from `first` on; the gradient by their logits stays in the tile.
fn tile(
    workspace: &mut Workspace,
    model: &Model,
    seeds: &RowSeeds<'_>,
    first: usize,
    value: &mut [f64],
) {
    let Workspace { team, score, rows: buffers, .. } = workspace;
    let vocabulary = model.config().vocabulary;
    let range = first..first + value.len();
    buffers.logits.resize(value.len() * vocabulary);
    let head = model.matrix(model.layout.head);
    logits(team, score.normed.range(range.clone()), head, &mut buffers.logits);
    buffers.other.resize(seeds.other.map_or(0, |_| value.len() * vocabulary));
    if let Some(OtherModel { model, states }) = seeds.other {
        let width = model.config().hidden;
        let states = &states[range.start * width..range.end * width];
        let states = buffers.other_states.hold(team, states, width, model.paired());
        logits(team, states, model.matrix(model.layout.head), &mut buffers.other);
    }
    let mut others = buffers.other.chunks_exact(vocabulary);
    let rows = buffers.logits.chunks_exact_mut(vocabulary);
    let tasks = rows.map(move |row| (row, others.next().unwrap_or_default()));
    team.run(tasks.zip(value).zip(range), |(((row, other), value), at)| {
        *value = (seeds.of_row)(at, row, other);
    });
}

/// From the gradient by a tile's logits to those by its states and by the head.
fn tile_grad(
    workspace: &mut Workspace,
    model: &Model,
    range: std::ops::Range<usize>,
    gradients: &mut Gradients,
) {
    let Workspace { team, score, rows: buffers, worker, .. } = workspace;
    let (hidden, vocabulary) = (model.config().hidden, model.config().vocabulary);
    let head = model.matrix(model.layout.head);
    let dy = buffers.d_logits.hold(team, &buffers.logits, vocabulary, model.paired());
    let own = range.start * hidden..range.end * hidden;
    let parts = columns(&mut score.d_normed[own.clone()], hidden, 2);
    team.each(parts, worker, |worker: &mut Worker, part| {
        product_grad_input_columns(dy, head, part, &mut worker.product);
    });
    if model.adapter().is_some() {
        return;
    }
    let states = &score.normed.rows()[own];
    let normed = along_rows(model.paired(), states, hidden, &mut buffers.along_rows);
    let [dw] = gradients.stored_mut([model.layout.head]);
    let task = WeightTask::new((&buffers.logits, vocabulary), (normed, hidden), dw);
    run_weights(team, worker, [task]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, Family, Packed, RopeScaling, Scored, StateSeeds};

    // INV-7
    #[test]
    fn what_exists_at_once_does_not_grow_with_the_positions() {
        for vocabulary in [2, 49_152, 151_936, TILE, 3 * TILE] {
            let rows = tile_rows(vocabulary);
            assert!((1..=LOGIT_ROWS).contains(&rows));
            assert!(rows == 1 || rows * vocabulary <= TILE);
        }
        let config = Config {
            family: Family::Llama,
            vocabulary: 40_000,
            hidden: 8,
            layers: 1,
            heads: 1,
            kv_heads: 1,
            head_dim: 8,
            ffn: 8,
            rope_base: 10_000.0,
            rope_scaling: RopeScaling::None,
            norm_epsilon: 1e-5,
            tied: true,
            context: 512,
        };
        let model = Model::random(config, 1);
        let count: u32 = 200;
        let row: Vec<u32> = (0..count).collect();
        let end = vec![count; count as usize];
        let packed =
            Packed { token: &row, position: &row, segment_begin: &[0, count], subtree_end: &end };
        let scored = Scored { row: &row, target: &row, temperature: 1.0 };
        let mut workspace = Workspace::new(2);
        workspace.forward(&model, &packed, &scored);
        let states = workspace.states(&model, &row);
        let of_row = |at: usize, own: &mut [f32], other: &[f32]| {
            assert_eq!(own, other, "position {at}");
            own.fill(0.0);
            at as f64
        };
        let other = Some(OtherModel { model: &model, states: &states });
        let zeros = vec![0.0; row.len()];
        let seeds = ((&zeros[..], &zeros[..]), Some(RowSeeds { of_row: &of_row, other }));
        let mut gradients = Gradients::zeros_like(&model);
        let none = StateSeeds::default();
        let value =
            workspace.backward_with_rows(&model, &packed, &scored, seeds, none, &mut gradients);
        assert!(value.iter().enumerate().all(|(at, value)| *value == at as f64));
        let RowBuffers { logits, other, .. } = &workspace.rows;
        assert!(logits.len() <= TILE && other.len() <= TILE, "{} {}", logits.len(), other.len());
        assert!(row.len() * 40_000 > 3 * TILE, "one tile would be all");
    }
}
