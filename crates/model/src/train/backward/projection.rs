//! The projections of a layer, backwards: from queries, keys and values to the layer's input.

use super::{
    inputs,
    low_rank::{InnerChunk, Part, weight_tasks},
    pair_chunks, partial_width, partial_widths, split,
};
use crate::{
    adapter::Target,
    gradients::Gradients,
    kernel::{add, pair_rows, rms_norm, rms_norm_grad},
    layer::turn,
    model::Model,
    train::{
        activations::{CHUNK, Inside, LayerActivations, chunks, chunks_mut},
        weights::run_weights,
        workspace::{Worker, Workspace},
    },
};

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
    /// Of `normed`, where products read pairs.
    pairs: Option<&'a mut [u32]>,
    low: InnerChunk<'a>,
}

pub(super) fn projection_rows(
    workspace: &mut Workspace,
    model: &Model,
    layer: usize,
    position: &[u32],
) {
    let config = model.config();
    let (hidden, query_width, kv_width) = (config.hidden, config.query_width(), config.kv_width());
    let partial = partial_width(model);
    let LayerActivations { input, inside } = &mut workspace.layers[layer];
    let Inside { query, key, value, raw_query, raw_key, .. } = inside;
    let flow = &mut workspace.flow;
    let mut words = pair_chunks(&mut flow.normed_pairs, hidden);
    let mut low = flow.low.chunks(model);
    let mut raw = chunks(raw_query, query_width).zip(chunks(raw_key, kv_width));
    let projected = chunks_mut(query, query_width)
        .zip(chunks_mut(key, kv_width).zip(chunks_mut(value, kv_width)));
    let streams = chunks(&flow.middle, hidden)
        .zip(chunks_mut(&mut workspace.d_stream, hidden))
        .zip(flow.partial.chunks_mut(partial));
    let tasks = position
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
                pairs: words.next(),
                low: low.next(),
            }
        });
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
        partial_widths(model).map(|width| split(&mut partial, width));
    if let (Some([query, key]), Some((raw_query, raw_key))) = (slots.head_norm, task.raw) {
        for (rows, raw, slot, d_weight) in [
            (&mut *task.query, raw_query, query, query_norm),
            (&mut *task.key, raw_key, key, key_norm),
        ] {
            worker.d_heads.reserve(rows.len());
            let d_normed = &mut worker.d_heads[..rows.len()];
            d_normed.copy_from_slice(rows);
            rows.fill(0.0);
            rms_norm_grad(raw, model.vector(slot), epsilon, d_normed, rows, d_weight);
        }
    }
    if slots.bias.is_some() && model.adapter().is_none() {
        for (rows, bias) in
            [(&*task.query, query_bias), (&*task.key, key_bias), (&*task.value, value_bias)]
        {
            rows.chunks_exact(bias.len()).for_each(|row| add(bias, row));
        }
    }
    let d_normed = &mut worker.d_normed[..task.input.len()];
    d_normed.fill(0.0);
    let parts =
        [(Target::Query, &*task.query), (Target::Key, &*task.key), (Target::Value, &*task.value)];
    for (target, rows) in parts {
        task.low.grad_input((model, layer, target), rows, d_normed, &mut worker.product);
    }
    let weight = model.vector(slots.input_norm);
    rms_norm(task.input, weight, epsilon, task.normed);
    for (target, _) in parts {
        task.low.inner((model, layer, target), task.normed);
    }
    task.d_input.copy_from_slice(task.d_middle);
    rms_norm_grad(task.input, weight, epsilon, d_normed, task.d_input, input_norm);
    if let Some(words) = task.pairs.as_deref_mut() {
        pair_rows(task.normed, config.hidden, words);
    }
}

pub(super) fn projection_weights(
    workspace: &mut Workspace,
    model: &Model,
    layer: usize,
    gradients: &mut Gradients,
) {
    let config = model.config();
    let (query_width, kv_width) = (config.query_width(), config.kv_width());
    let Inside { query, key, value, .. } = &workspace.layers[layer].inside;
    let normed = inputs(&workspace.flow.normed, &workspace.flow.normed_pairs);
    let x = (normed, config.hidden);
    let parts = [
        Part::new(Target::Query, (query, query_width), x),
        Part::new(Target::Key, (key, kv_width), x),
        Part::new(Target::Value, (value, kv_width), x),
    ];
    let tasks = weight_tasks((model, layer), parts, &workspace.flow.low, gradients);
    run_weights(&workspace.team, &mut workspace.worker, tasks);
}
