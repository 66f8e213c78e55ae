//! The feed-forward part of a layer, backwards: from the layer's output to the attention's.

use super::partial_widths;
use crate::{
    gradients::Gradients,
    kernel::{product_grad_input, rms_norm, rms_norm_grad, swiglu_grad},
    model::Model,
    train::{
        activations::{LayerActivations, chunks, chunks_mut},
        weights::{WeightTask, run_weights},
        workspace::{Worker, Workspace},
    },
};

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

pub(super) fn feed_forward_rows(workspace: &mut Workspace, model: &Model, layer: usize) {
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

pub(super) fn feed_forward_weights(
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
