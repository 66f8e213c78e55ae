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
    activations::{CHUNK, Inside, chunks_mut},
    attention::Rows,
    attention_grad::{GradRows, PartGradients, above_length, add_above, attend_part_grad},
    forward::{again, lend_spare},
    parts::{Part, parts},
    workspace::{Worker, Workspace},
};
use crate::{
    attention::Heads,
    gradients::Gradients,
    kernel::{Buffer, Numbers, PANEL, Rectangle, add, pairs},
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
    /// By queries, keys and values.
    pub(super) query: Buffer,
    pub(super) key: Buffer,
    pub(super) value: Buffer,
    /// What the parts of the forest add to the keys and values above them.
    pub(super) above: Buffer,
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
    let (flow, forest) = (&mut workspace.flow, &workspace.forest);
    let from = GradRows { rows: Rows { query, key, value }, attended, d_attended: &flow.attended };
    let length = |part: Part| above_length(&heads, forest, &part);
    flow.above.resize(heads.kv * parts(&heads, forest).map(length).sum::<usize>());
    let mut above = &mut flow.above[..];
    let mut d_query = Rectangle::new(&mut flow.query, heads.query_width());
    let mut d_key = Rectangle::new(&mut flow.key, heads.kv_width());
    let mut d_value = Rectangle::new(&mut flow.value, heads.kv_width());
    let tasks = parts(&heads, forest).flat_map(|part| {
        let mut query = d_query.take_rows(part.rows());
        let [mut key, mut value] = [&mut d_key, &mut d_value].map(|d| d.take_rows(part.rows()));
        let length = length(part);
        let mut above = split(&mut above, heads.kv * length);
        (0..heads.kv).map(move |kv| {
            let own = PartGradients {
                query: query.take_columns(heads.group * heads.dim),
                key: key.take_columns(heads.dim),
                value: value.take_columns(heads.dim),
                above: split(&mut above, length),
            };
            (part, kv, own)
        })
    });
    let work = |worker: &mut Worker, (part, kv, mut out): (Part, usize, PartGradients)| {
        let scratch = (&mut worker.path, &mut worker.path_grad);
        attend_part_grad((&heads, kv), from, (forest, &part), scratch, &mut out);
    };
    workspace.team.each(tasks, &mut workspace.worker, work);
    if !flow.above.is_empty() {
        let above = &flow.above[..];
        let keys = chunks_mut(&mut flow.key, heads.kv_width());
        let tasks = keys.zip(chunks_mut(&mut flow.value, heads.kv_width())).enumerate();
        workspace.team.run(tasks, |(chunk, own)| {
            add_above(&heads, forest, above, chunk * CHUNK, own);
        });
    }
    // The forward's queries, keys and values have done their work; their memory serves the next
    // layer's gradients.
    std::mem::swap(&mut flow.query, query);
    std::mem::swap(&mut flow.key, key);
    std::mem::swap(&mut flow.value, value);
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
    workspace.team.run(tasks, |(index, own)| {
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
