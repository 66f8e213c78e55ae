//! The feed-forward part of a layer, backwards: from the layer's output to the attention's.

use super::{
    low_rank::{InnerChunk, Part, weight_tasks},
    partial_width, partial_widths, split,
};
use crate::{
    adapter::Target,
    gradients::Gradients,
    kernel::{rms_norm, rms_norm_grad, swiglu_grad},
    model::Model,
    train::{
        activations::{LayerActivations, chunks, chunks_mut},
        weights::run_weights,
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
    attended: &'a [f32],
    d_attended: &'a mut [f32],
    partial: &'a mut [f32],
    low: InnerChunk<'a>,
}

pub(super) fn feed_forward_rows(workspace: &mut Workspace, model: &Model, layer: usize) {
    let config = model.config();
    let partial = partial_width(model);
    let LayerActivations { attended, middle, gate, up, .. } = &mut workspace.layers[layer];
    let flow = &mut workspace.flow;
    let mut tasks = Vec::new();
    let mut gates = chunks_mut(gate, config.ffn).zip(chunks_mut(up, config.ffn));
    let mut inside =
        chunks_mut(&mut flow.hidden, config.ffn).zip(chunks_mut(&mut flow.normed, config.hidden));
    let mut outs = chunks_mut(&mut flow.middle, config.hidden)
        .zip(chunks_mut(&mut flow.attended, config.query_width()))
        .zip(flow.partial.chunks_mut(partial));
    let count = middle.len() / config.hidden;
    let rows = chunks(&workspace.d_stream, config.hidden)
        .zip(chunks(middle, config.hidden))
        .zip(chunks(attended, config.query_width()).zip(flow.low.chunks(model, count)));
    for ((d_output, middle), (attended, low)) in rows {
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
            attended,
            d_attended,
            partial,
            low,
        });
    }
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, task| {
        feed_forward_chunk(model, layer, worker, task);
    });
}

fn feed_forward_chunk(model: &Model, layer: usize, worker: &mut Worker, mut task: FeedForwardTask) {
    let slots = model.layout.layers[layer];
    let (scratch, low) = (&mut worker.product, &mut task.low);
    let at = |target: Target| (model, layer, target);
    task.hidden.fill(0.0);
    low.grad_input(at(Target::Down), task.d_output, task.hidden, scratch);
    swiglu_grad(task.gate, task.up, task.hidden);
    low.inner(at(Target::Down), task.hidden);
    let d_normed = &mut worker.normed[..task.middle.len()];
    d_normed.fill(0.0);
    low.grad_input(at(Target::Gate), task.gate, d_normed, scratch);
    low.grad_input(at(Target::Up), task.up, d_normed, scratch);
    let weight = model.vector(slots.ffn_norm);
    let epsilon = model.config().norm_epsilon as f32;
    rms_norm(task.middle, weight, epsilon, task.normed);
    low.inner(at(Target::Gate), task.normed);
    low.inner(at(Target::Up), task.normed);
    task.d_middle.copy_from_slice(task.d_output);
    let mut partial = &mut *task.partial;
    let [_, d_weight, ..] = partial_widths(model).map(|width| split(&mut partial, width));
    rms_norm_grad(task.middle, weight, epsilon, d_normed, task.d_middle, d_weight);
    task.d_attended.fill(0.0);
    low.grad_input(at(Target::Output), task.d_middle, task.d_attended, scratch);
    low.inner(at(Target::Output), task.attended);
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
    let parts = [
        (Target::Down, &workspace.d_stream, hidden, &flow.hidden, ffn),
        (Target::Gate, gate, ffn, &flow.normed, hidden),
        (Target::Up, up, ffn, &flow.normed, hidden),
        (Target::Output, &flow.middle, hidden, attended, query),
    ];
    let parts = parts.map(|(target, dy, n, x, k)| Part { target, dy, n, x, k });
    let tasks = weight_tasks((model, layer), parts, &flow.low, gradients.slots_mut());
    run_weights(&workspace.team, &mut workspace.worker, tasks);
}
