//! The feed-forward part of a layer, backwards: from the layer's output to the attention's.

use super::{inputs, pair_chunks, partial_widths};
use crate::{
    gradients::Gradients,
    kernel::{pair_rows, product_grad_input, rms_norm, rms_norm_grad, swiglu_grad},
    model::Model,
    train::{
        activations::{Inside, chunks, chunks_mut},
        weights::{WeightTask, run_weights},
        workspace::{Worker, Workspace},
    },
};

/// One chunk of rows of the feed-forward part.
struct FeedForwardTask<'a> {
    d_output: &'a [f32],
    middle: &'a [f32],
    attended: &'a [f32],
    gate: &'a mut [f32],
    up: &'a mut [f32],
    hidden: &'a mut [f32],
    normed: &'a mut [f32],
    d_middle: &'a mut [f32],
    d_attended: &'a mut [f32],
    partial: &'a mut [f32],
    /// Of `hidden`, `normed` and `attended`, where products read pairs.
    pairs: Option<[&'a mut [u32]; 3]>,
}

pub(super) fn feed_forward_rows(workspace: &mut Workspace, model: &Model, layer: usize) {
    let config = model.config();
    let query = config.query_width();
    let partial: usize = partial_widths(config).iter().sum();
    let Inside { middle, gate, up, attended, .. } = &mut workspace.layers[layer].inside;
    let flow = &mut workspace.flow;
    let mut words = pair_chunks(&mut flow.hidden_pairs, config.ffn)
        .zip(pair_chunks(&mut flow.normed_pairs, config.hidden))
        .zip(pair_chunks(&mut flow.attended_pairs, query))
        .map(|((hidden, normed), attended)| [hidden, normed, attended]);
    let gates = chunks_mut(gate, config.ffn).zip(chunks_mut(up, config.ffn));
    let inside =
        chunks_mut(&mut flow.hidden, config.ffn).zip(chunks_mut(&mut flow.normed, config.hidden));
    let outs = chunks_mut(&mut flow.middle, config.hidden)
        .zip(chunks_mut(&mut flow.attended, query))
        .zip(flow.partial.chunks_mut(partial));
    let tasks = chunks(&workspace.d_stream, config.hidden)
        .zip(chunks(middle, config.hidden).zip(chunks(attended, query)))
        .zip(gates.zip(inside).zip(outs))
        .map(|((d_output, (middle, attended)), (((gate, up), inside), outs))| {
            let ((hidden, normed), ((d_middle, d_attended), partial)) = (inside, outs);
            let pairs = words.next();
            FeedForwardTask {
                d_output,
                middle,
                attended,
                gate,
                up,
                hidden,
                normed,
                d_middle,
                d_attended,
                partial,
                pairs,
            }
        });
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, task| {
        feed_forward_chunk(model, layer, worker, task);
    });
}

fn feed_forward_chunk(model: &Model, layer: usize, worker: &mut Worker, task: FeedForwardTask) {
    let config = model.config();
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
    let epsilon = config.norm_epsilon as f32;
    rms_norm(task.middle, weight, epsilon, task.normed);
    task.d_middle.copy_from_slice(task.d_output);
    let d_weight = &mut task.partial[weight.len()..2 * weight.len()];
    rms_norm_grad(task.middle, weight, epsilon, d_normed, task.d_middle, d_weight);
    task.d_attended.fill(0.0);
    product_grad_input(task.d_middle, model.matrix(slots.output), task.d_attended, scratch);
    if let Some([hidden, normed, attended]) = task.pairs {
        pair_rows(task.hidden, config.ffn, hidden);
        pair_rows(task.normed, config.hidden, normed);
        pair_rows(task.attended, config.query_width(), attended);
    }
}

pub(super) fn feed_forward_weights(
    workspace: &mut Workspace,
    model: &Model,
    layer: usize,
    gradients: &mut Gradients,
) {
    let (hidden, ffn) = (model.config().hidden, model.config().ffn);
    let query = model.config().query_width();
    let Inside { attended, gate, up, .. } = &workspace.layers[layer].inside;
    let flow = &workspace.flow;
    let slots = model.layout.layers[layer];
    let [down, gate_weight, up_weight, output] =
        gradients.stored_mut([slots.down, slots.gate, slots.up, slots.output]);
    let inside = inputs(&flow.hidden, &flow.hidden_pairs);
    let normed = inputs(&flow.normed, &flow.normed_pairs);
    let attended = inputs(attended, &flow.attended_pairs);
    let tasks = [
        WeightTask::new((&workspace.d_stream, hidden), (inside, ffn), down),
        WeightTask::new((gate, ffn), (normed, hidden), gate_weight),
        WeightTask::new((up, ffn), (normed, hidden), up_weight),
        WeightTask::new((&flow.middle, hidden), (attended, query), output),
    ];
    run_weights(&workspace.team, &mut workspace.worker, tasks);
}
