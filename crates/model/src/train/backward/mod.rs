//! The gradient of the layers, from the last to the first.

mod feed_forward;
mod low_rank;
mod projection;

use self::{
    feed_forward::{feed_forward_rows, feed_forward_weights},
    low_rank::Inner,
    projection::{projection_rows, projection_weights},
};
use super::{
    Packed,
    activations::{CHUNK, Inside},
    attention::Rows,
    attention_grad::{GradRows, HeadGradients, attend_tree_grad},
    forward::{again, lend_spare, rows_from_heads},
    workspace::{Worker, Workspace},
};
use crate::{
    attention::Heads,
    gradients::Gradients,
    kernel::{Buffer, Numbers, PANEL, add, pairs},
    model::Model,
};

/// Gradients that pass between the parts of a layer, each `[N][width]`.
#[derive(Default)]
pub(in crate::train) struct Flow {
    /// By the residual stream after attention.
    pub(super) middle: Buffer,
    /// By the attention's output.
    pub(super) attended: Buffer,
    /// Input of the gated layer, then of the projections: recomputed, not kept.
    pub(super) normed: Buffer,
    /// Output of the gate: recomputed, not kept.
    pub(super) hidden: Buffer,
    /// `[kv_heads][N][..]` by queries, keys and values.
    pub(super) query: Buffer,
    pub(super) key: Buffer,
    pub(super) value: Buffer,
    /// `[chunks][partial width]` sums for norms and biases.
    pub(super) partial: Buffer,
    low: Inner,
    /// Inputs of products as pairs along the rows, where products read pairs.
    pub(super) normed_pairs: Buffer<u32>,
    pub(super) hidden_pairs: Buffer<u32>,
    pub(super) attended_pairs: Buffer<u32>,
}

/// Inputs of products along the rows: the pairs where there are any.
pub(super) fn inputs<'a>(rows: &'a [f32], words: &'a [u32]) -> Numbers<'a> {
    if words.is_empty() { Numbers::F32(rows) } else { Numbers::Pairs(words) }
}

/// Pairs of runs of `CHUNK` rows; nothing where products read no pairs.
pub(super) fn pair_chunks(words: &mut [u32], width: usize) -> std::slice::ChunksMut<'_, u32> {
    const { assert!(CHUNK.is_multiple_of(2), "pairs do not straddle chunks") };
    words.chunks_mut(CHUNK / 2 * width)
}

/// Widths of one chunk's partial sums: norms of the stream, of the heads, biases. None where they
/// are frozen.
pub(super) fn partial_widths(model: &Model) -> [usize; 7] {
    if model.adapter().is_some() {
        return [0; 7];
    }
    let config = model.config();
    let (hidden, head) = (config.hidden, config.head_dim);
    let (query, kv) = (config.query_width(), config.kv_width());
    [hidden, hidden, head, head, query, kv, kv]
}

/// Width of one chunk's partial sums together; at least 1, so that chunks can be cut.
pub(super) fn partial_width(model: &Model) -> usize {
    partial_widths(model).iter().sum::<usize>().max(1)
}

/// Runs every layer backwards; `workspace.d_stream` holds the gradient of the last stream.
pub(in crate::train) fn trunk(
    workspace: &mut Workspace,
    model: &Model,
    packed: &Packed,
    gradients: &mut Gradients,
) {
    let config = model.config();
    let rows = packed.token.len();
    let (query, kv) = (config.query_width(), config.kv_width());
    let flow = &mut workspace.flow;
    flow.middle.resize(rows * config.hidden);
    flow.attended.resize(rows * query);
    flow.normed.resize(rows * config.hidden);
    flow.hidden.resize(rows * config.ffn);
    flow.query.resize(rows * query);
    flow.key.resize(rows * kv);
    flow.value.resize(rows * kv);
    flow.partial.resize(rows.div_ceil(CHUNK) * partial_width(model));
    flow.low.resize(model, rows);
    // An adapter's products read no pairs.
    let words = if model.paired() && model.adapter().is_none() { pairs(rows) } else { 0 };
    flow.normed_pairs.resize(words * config.hidden);
    flow.hidden_pairs.resize(words * config.ffn);
    flow.attended_pairs.resize(words * query);
    for layer in (0..config.layers).rev() {
        workspace.flow.partial.fill(0.0);
        if workspace.plan.recomputes(layer) {
            lend_spare(workspace, layer);
            again(workspace, model, layer, packed.position);
        }
        feed_forward_rows(workspace, model, layer);
        feed_forward_weights(workspace, model, layer, gradients);
        attention_heads(workspace, model, layer);
        projection_rows(workspace, model, layer, packed.position);
        projection_weights(workspace, model, layer, gradients);
        if model.adapter().is_none() {
            add_partials(workspace, model, layer, gradients);
        }
        lend_spare(workspace, layer);
    }
    if model.adapter().is_none() {
        embedding(workspace, model, packed.token, gradients);
    }
}

fn attention_heads(workspace: &mut Workspace, model: &Model, layer: usize) {
    let heads = Heads::new(model.config());
    let Inside { query, key, value, attended, .. } = &mut workspace.layers[layer].inside;
    let flow = &mut workspace.flow;
    let count = query.len() / heads.query_width();
    let group = heads.group * heads.dim;
    let from = GradRows { rows: Rows { query, key, value }, attended, d_attended: &flow.attended };
    let forest = &workspace.forest;
    let per_head = flow
        .query
        .chunks_exact_mut(count * group)
        .zip(flow.key.chunks_exact_mut(count * heads.dim))
        .zip(flow.value.chunks_exact_mut(count * heads.dim));
    let mut tasks = Vec::new();
    for (kv, ((mut query, mut key), mut value)) in per_head.enumerate() {
        for tree in &forest.trees {
            let rows = tree.end - tree.begin;
            let own = HeadGradients {
                query: split(&mut query, rows * group),
                key: split(&mut key, rows * heads.dim),
                value: split(&mut value, rows * heads.dim),
            };
            tasks.push((kv, tree, own));
        }
    }
    workspace.team.each(
        tasks,
        &mut workspace.worker,
        |worker: &mut Worker, (kv, tree, mut out)| {
            let scratch = (&mut worker.path, &mut worker.path_grad);
            attend_tree_grad((&heads, kv), from, (forest, tree), scratch, &mut out);
        },
    );
    // Rows again; the forward's queries, keys and values have done their work.
    rows_from_heads(&flow.query, (heads.kv, group), query);
    rows_from_heads(&flow.key, (heads.kv, heads.dim), key);
    rows_from_heads(&flow.value, (heads.kv, heads.dim), value);
}

/// Takes the first `length` elements off `rest`.
pub(super) fn split<'a>(rest: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (own, after) = std::mem::take(rest).split_at_mut(length);
    *rest = after;
    own
}

/// Adds the chunks' sums in the order of their rows.
fn add_partials(workspace: &Workspace, model: &Model, layer: usize, gradients: &mut Gradients) {
    let slots = model.layout.layers[layer];
    let [query_norm, key_norm] = slots.head_norm.map_or([None; 2], |norms| norms.map(Some));
    let [query, key, value] = slots.bias.map_or([None; 3], |biases| biases.map(Some));
    let norms = [Some(slots.input_norm), Some(slots.ffn_norm), query_norm, key_norm];
    let targets = norms.into_iter().chain([query, key, value]);
    let widths = partial_widths(model);
    let total: usize = widths.iter().sum();
    let mut from = 0;
    for (slot, width) in targets.zip(widths) {
        if let Some(slot) = slot {
            let to = gradients.vector_mut(slot);
            for chunk in workspace.flow.partial.chunks_exact(total) {
                add(to, &chunk[from..from + width]);
            }
        }
        from += width;
    }
}

/// Adds the stream's gradient to the rows of the embedding; a unit of work owns whole panels.
fn embedding(workspace: &mut Workspace, model: &Model, token: &[u32], gradients: &mut Gradients) {
    let hidden = model.config().hidden;
    let d_stream = &workspace.d_stream;
    let [all] = gradients.stored_mut([model.layout.embedding]);
    let panels = all.len() / (hidden * PANEL);
    let most = panels.div_ceil(workspace.team.threads());
    let tasks = all.chunks_mut(most * hidden * PANEL).enumerate();
    workspace.team.each(tasks, &mut workspace.worker, |_, (index, own)| {
        let first = index * most * PANEL;
        let last = first + own.len() / hidden;
        for (token, row) in token.iter().zip(d_stream.chunks_exact(hidden)) {
            let token = *token as usize;
            if !(first..last).contains(&token) {
                continue;
            }
            let lane = (token - first) / PANEL * PANEL * hidden + token % PANEL;
            for (to, value) in own[lane..].iter_mut().step_by(PANEL).zip(row) {
                *to += value;
            }
        }
    });
}
