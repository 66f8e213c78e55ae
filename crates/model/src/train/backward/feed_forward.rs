//! The feed-forward part of a layer, backwards: from the layer's output to the attention's.

use super::{
    inputs,
    low_rank::{InnerChunk, Part, weight_tasks},
    pair_chunks, partial_width, partial_widths, split,
};
use crate::{
    adapter::Target,
    gradients::Gradients,
    kernel::{pair_rows, rms_norm, rms_norm_grad, swiglu_grad},
    model::Model,
    train::{
        activations::{Inside, chunks, chunks_mut},
        weights::run_weights,
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
    low: InnerChunk<'a>,
}

pub(super) fn feed_forward_rows(workspace: &mut Workspace, model: &Model, layer: usize) {
    let config = model.config();
    let query = config.query_width();
    let partial = partial_width(model);
    let Inside { middle, gate, up, attended, .. } = &mut workspace.layers[layer].inside;
    let flow = &mut workspace.flow;
    let mut words = pair_chunks(&mut flow.hidden_pairs, config.ffn)
        .zip(pair_chunks(&mut flow.normed_pairs, config.hidden))
        .zip(pair_chunks(&mut flow.attended_pairs, query))
        .map(|((hidden, normed), attended)| [hidden, normed, attended]);
    let mut low = flow.low.chunks(model);
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
                low: low.next(),
            }
        });
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, task| {
        feed_forward_chunk(model, layer, worker, task);
    });
}

fn feed_forward_chunk(model: &Model, layer: usize, worker: &mut Worker, mut task: FeedForwardTask) {
    let config = model.config();
    let slots = model.layout.layers[layer];
    let (scratch, low) = (&mut worker.product, &mut task.low);
    let at = |target: Target| (model, layer, target);
    task.hidden.fill(0.0);
    low.grad_input(at(Target::Down), task.d_output, task.hidden, scratch);
    swiglu_grad(task.gate, task.up, task.hidden);
    low.inner(at(Target::Down), task.hidden);
    let d_normed = &mut worker.d_normed[..task.middle.len()];
    d_normed.fill(0.0);
    low.grad_input(at(Target::Gate), task.gate, d_normed, scratch);
    low.grad_input(at(Target::Up), task.up, d_normed, scratch);
    let weight = model.vector(slots.ffn_norm);
    let epsilon = config.norm_epsilon as f32;
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
    let inside = inputs(&flow.hidden, &flow.hidden_pairs);
    let normed = inputs(&flow.normed, &flow.normed_pairs);
    let attended = inputs(attended, &flow.attended_pairs);
    let parts = [
        Part::new(Target::Down, (&workspace.d_stream, hidden), (inside, ffn)),
        Part::new(Target::Gate, (gate, ffn), (normed, hidden)),
        Part::new(Target::Up, (up, ffn), (normed, hidden)),
        Part::new(Target::Output, (&flow.middle, hidden), (attended, query)),
    ];
    let tasks = weight_tasks((model, layer), parts, &flow.low, gradients);
    run_weights(&workspace.team, &mut workspace.worker, tasks);
}
