//! The gradient of the layers, from the last to the first.

use super::{
    Packed,
    activations::{CHUNK, LayerActivations, chunks, chunks_mut},
    attention::Rows,
    attention_grad::{GradRows, HeadGradients, attend_tree_grad},
    forward::rows_from_heads,
    weights::{WeightTask, run_weights},
    workspace::{Worker, Workspace},
};
use crate::{
    attention::Heads,
    config::Config,
    gradients::Gradients,
    kernel::{Buffer, PANEL, add, product_grad_input, rms_norm, rms_norm_grad, swiglu_grad},
    layer::turn,
    model::Model,
};

/// Gradients that pass between the parts of a layer, each `[N][width]`.
#[derive(Default)]
pub(super) struct Flow {
    /// By the residual stream after attention.
    middle: Buffer,
    /// By the attention's output.
    attended: Buffer,
    /// Input of the gated layer, then of the projections: recomputed, not kept.
    normed: Buffer,
    /// Output of the gate: recomputed, not kept.
    hidden: Buffer,
    /// `[kv_heads][N][..]` by queries, keys and values.
    query: Buffer,
    key: Buffer,
    value: Buffer,
    /// `[chunks][partial width]` sums for norms and biases.
    partial: Buffer,
}

/// Widths of one chunk's partial sums: norms of the stream, of the heads, biases.
fn partial_widths(config: &Config) -> [usize; 7] {
    let (hidden, head) = (config.hidden, config.head_dim);
    let (query, kv) = (config.query_width(), config.kv_width());
    [hidden, hidden, head, head, query, kv, kv]
}

/// Runs every layer backwards; `workspace.d_stream` holds the gradient of the last stream.
pub(super) fn trunk(
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
    let partial: usize = partial_widths(config).iter().sum();
    flow.partial.resize(rows.div_ceil(CHUNK) * partial);
    for layer in (0..config.layers).rev() {
        workspace.flow.partial.fill(0.0);
        feed_forward_rows(workspace, model, layer);
        feed_forward_weights(workspace, model, layer, gradients);
        attention_heads(workspace, model, layer);
        projection_rows(workspace, model, layer, packed.position);
        projection_weights(workspace, model, layer, gradients);
        add_partials(workspace, model, layer, gradients);
    }
    embedding(workspace, model, packed.token, gradients);
}

/// One chunk of rows of the feed-forward part.
struct FeedForwardTask<'a> {
    d_output: &'a [f32],
    middle: &'a [f32],
    gate: &'a mut [f32],
    up: &'a mut [f32],
    hidden: &'a mut [f32],
    normed: &'a mut [f32],
    d_middle: &'a mut [f32],
    d_attended: &'a mut [f32],
    partial: &'a mut [f32],
}

fn feed_forward_rows(workspace: &mut Workspace, model: &Model, layer: usize) {
    let config = model.config();
    let partial: usize = partial_widths(config).iter().sum();
    let LayerActivations { middle, gate, up, .. } = &mut workspace.layers[layer];
    let flow = &mut workspace.flow;
    let mut tasks = Vec::new();
    let mut gates = chunks_mut(gate, config.ffn).zip(chunks_mut(up, config.ffn));
    let mut inside =
        chunks_mut(&mut flow.hidden, config.ffn).zip(chunks_mut(&mut flow.normed, config.hidden));
    let mut outs = chunks_mut(&mut flow.middle, config.hidden)
        .zip(chunks_mut(&mut flow.attended, config.query_width()))
        .zip(flow.partial.chunks_mut(partial));
    let rows = chunks(&workspace.d_stream, config.hidden).zip(chunks(middle, config.hidden));
    for (d_output, middle) in rows {
        let (Some((gate, up)), Some((hidden, normed)), Some(((d_middle, d_attended), partial))) =
            (gates.next(), inside.next(), outs.next())
        else {
            unreachable!("every buffer has as many chunks");
        };
        tasks.push(FeedForwardTask {
            d_output,
            middle,
            gate,
            up,
            hidden,
            normed,
            d_middle,
            d_attended,
            partial,
        });
    }
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, task| {
        feed_forward_chunk(model, layer, worker, task);
    });
}

fn feed_forward_chunk(model: &Model, layer: usize, worker: &mut Worker, task: FeedForwardTask) {
    let slots = model.layout.layers[layer];
    let scratch = &mut worker.product;
    task.hidden.fill(0.0);
    product_grad_input(task.d_output, model.matrix(slots.down), task.hidden, scratch);
    swiglu_grad(task.gate, task.up, task.hidden);
    let d_normed = &mut worker.normed[..task.middle.len()];
    d_normed.fill(0.0);
    product_grad_input(task.gate, model.matrix(slots.gate), d_normed, scratch);
    product_grad_input(task.up, model.matrix(slots.up), d_normed, scratch);
    let weight = model.vector(slots.ffn_norm);
    let epsilon = model.config().norm_epsilon as f32;
    rms_norm(task.middle, weight, epsilon, task.normed);
    task.d_middle.copy_from_slice(task.d_output);
    let d_weight = &mut task.partial[weight.len()..2 * weight.len()];
    rms_norm_grad(task.middle, weight, epsilon, d_normed, task.d_middle, d_weight);
    task.d_attended.fill(0.0);
    product_grad_input(task.d_middle, model.matrix(slots.output), task.d_attended, scratch);
}

fn feed_forward_weights(
    workspace: &mut Workspace,
    model: &Model,
    layer: usize,
    gradients: &mut Gradients,
) {
    let (hidden, ffn) = (model.config().hidden, model.config().ffn);
    let query = model.config().query_width();
    let LayerActivations { attended, gate, up, .. } = &workspace.layers[layer];
    let flow = &workspace.flow;
    let slots = model.layout.layers[layer];
    let parts = [
        (slots.down, &workspace.d_stream, hidden, &flow.hidden, ffn),
        (slots.gate, gate, ffn, &flow.normed, hidden),
        (slots.up, up, ffn, &flow.normed, hidden),
        (slots.output, &flow.middle, hidden, attended, query),
    ];
    let mut taken = gradients.slots_mut();
    let task = |(slot, dy, n, x, k): (usize, &'_ Buffer, usize, &'_ Buffer, usize)| {
        (slot, n, k, dy.len() / n == x.len() / k)
    };
    debug_assert!(parts.iter().all(|part| task(*part).3));
    let tasks = parts
        .into_iter()
        .map(|(slot, dy, n, x, k)| WeightTask {
            dy,
            n,
            x,
            k,
            first: 0,
            dw: std::mem::take(&mut taken[slot]),
        })
        .collect();
    run_weights(&workspace.team, &mut workspace.worker, tasks);
}

fn attention_heads(workspace: &mut Workspace, model: &Model, layer: usize) {
    let heads = Heads::new(model.config());
    let LayerActivations { query, key, value, attended, .. } = &mut workspace.layers[layer];
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
fn split<'a>(rest: &mut &'a mut [f32], length: usize) -> &'a mut [f32] {
    let (own, after) = std::mem::take(rest).split_at_mut(length);
    *rest = after;
    own
}

/// One chunk of rows of the projections.
struct ProjectionTask<'a> {
    position: &'a [u32],
    input: &'a [f32],
    raw: Option<(&'a [f32], &'a [f32])>,
    query: &'a mut [f32],
    key: &'a mut [f32],
    value: &'a mut [f32],
    normed: &'a mut [f32],
    d_middle: &'a [f32],
    d_input: &'a mut [f32],
    partial: &'a mut [f32],
}

fn projection_rows(workspace: &mut Workspace, model: &Model, layer: usize, position: &[u32]) {
    let config = model.config();
    let (hidden, query_width, kv_width) = (config.hidden, config.query_width(), config.kv_width());
    let partial: usize = partial_widths(config).iter().sum();
    let LayerActivations { input, query, key, value, raw_query, raw_key, .. } =
        &mut workspace.layers[layer];
    let flow = &mut workspace.flow;
    let mut raw = chunks(raw_query, query_width).zip(chunks(raw_key, kv_width));
    let projected = chunks_mut(query, query_width)
        .zip(chunks_mut(key, kv_width).zip(chunks_mut(value, kv_width)));
    let streams = chunks(&flow.middle, hidden)
        .zip(chunks_mut(&mut workspace.d_stream, hidden))
        .zip(flow.partial.chunks_mut(partial));
    let tasks: Vec<_> = position
        .chunks(CHUNK)
        .zip(chunks(input, hidden).zip(chunks_mut(&mut flow.normed, hidden)))
        .zip(projected)
        .zip(streams)
        .map(|(((position, (input, normed)), (query, (key, value))), streams)| {
            let ((d_middle, d_input), partial) = streams;
            let raw = raw.next();
            ProjectionTask {
                position,
                input,
                raw,
                query,
                key,
                value,
                normed,
                d_middle,
                d_input,
                partial,
            }
        })
        .collect();
    let rotary = &workspace.rotary;
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, mut task| {
        turn(rotary, task.position, task.query, query_width, -1.0);
        turn(rotary, task.position, task.key, kv_width, -1.0);
        projection_chunk(model, layer, worker, &mut task);
    });
}

fn projection_chunk(model: &Model, layer: usize, worker: &mut Worker, task: &mut ProjectionTask) {
    let config = model.config();
    let slots = model.layout.layers[layer];
    let epsilon = config.norm_epsilon as f32;
    let mut partial = &mut *task.partial;
    let [input_norm, _, query_norm, key_norm, query_bias, key_bias, value_bias] =
        partial_widths(config).map(|width| split(&mut partial, width));
    if let (Some([query, key]), Some((raw_query, raw_key))) = (slots.head_norm, task.raw) {
        for (rows, raw, slot, d_weight) in [
            (&mut *task.query, raw_query, query, query_norm),
            (&mut *task.key, raw_key, key, key_norm),
        ] {
            worker.hidden.reserve(rows.len());
            let d_normed = &mut worker.hidden[..rows.len()];
            d_normed.copy_from_slice(rows);
            rows.fill(0.0);
            rms_norm_grad(raw, model.vector(slot), epsilon, d_normed, rows, d_weight);
        }
    }
    if slots.bias.is_some() {
        for (rows, bias) in
            [(&*task.query, query_bias), (&*task.key, key_bias), (&*task.value, value_bias)]
        {
            rows.chunks_exact(bias.len()).for_each(|row| add(bias, row));
        }
    }
    let d_normed = &mut worker.normed[..task.input.len()];
    d_normed.fill(0.0);
    for (rows, slot) in
        [(&*task.query, slots.query), (&*task.key, slots.key), (&*task.value, slots.value)]
    {
        product_grad_input(rows, model.matrix(slot), d_normed, &mut worker.product);
    }
    let weight = model.vector(slots.input_norm);
    rms_norm(task.input, weight, epsilon, task.normed);
    task.d_input.copy_from_slice(task.d_middle);
    rms_norm_grad(task.input, weight, epsilon, d_normed, task.d_input, input_norm);
}

fn projection_weights(
    workspace: &mut Workspace,
    model: &Model,
    layer: usize,
    gradients: &mut Gradients,
) {
    let config = model.config();
    let (query_width, kv_width) = (config.query_width(), config.kv_width());
    let LayerActivations { query, key, value, .. } = &workspace.layers[layer];
    let slots = model.layout.layers[layer];
    let mut taken = gradients.slots_mut();
    let parts = [
        (slots.query, query, query_width),
        (slots.key, key, kv_width),
        (slots.value, value, kv_width),
    ];
    let (x, k) = (&workspace.flow.normed[..], config.hidden);
    let tasks = parts
        .into_iter()
        .map(|(slot, dy, n)| WeightTask {
            dy,
            n,
            x,
            k,
            first: 0,
            dw: std::mem::take(&mut taken[slot]),
        })
        .collect();
    run_weights(&workspace.team, &mut workspace.worker, tasks);
}

/// Adds the chunks' sums in the order of their rows.
fn add_partials(workspace: &Workspace, model: &Model, layer: usize, gradients: &mut Gradients) {
    let slots = model.layout.layers[layer];
    let [query_norm, key_norm] = slots.head_norm.map_or([None; 2], |norms| norms.map(Some));
    let [query, key, value] = slots.bias.map_or([None; 3], |biases| biases.map(Some));
    let norms = [Some(slots.input_norm), Some(slots.ffn_norm), query_norm, key_norm];
    let targets = norms.into_iter().chain([query, key, value]);
    let widths = partial_widths(model.config());
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
    let mut taken = gradients.slots_mut();
    let all = std::mem::take(&mut taken[model.layout.embedding]);
    let panels = all.len() / (hidden * PANEL);
    let most = panels.div_ceil(workspace.team.threads());
    let tasks: Vec<_> = all.chunks_mut(most * hidden * PANEL).enumerate().collect();
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
