//! The layers over all rows of a packed forest.

use super::{
    Packed,
    activations::{Inside, LayerActivations},
    attention::{Rows, attend_part},
    parts::{Part, parts},
    workspace::{Worker, Workspace},
};
use crate::{
    attention::Heads,
    kernel::Rectangle,
    layer::{FeedForward, Projected, after_attention, before_attention, embed},
    model::Model,
};

/// Runs every layer and leaves the last residual stream in `workspace.output`.
pub(super) fn trunk(workspace: &mut Workspace, model: &Model, packed: &Packed) {
    let config = model.config();
    let rows = packed.token.len();
    workspace.layers.resize_with(config.layers, LayerActivations::default);
    for (layer, own) in workspace.layers.iter_mut().enumerate() {
        own.input.resize(rows * config.hidden);
        if workspace.plan.recomputes(layer) {
            // What an earlier plan kept.
            own.inside = Inside::default();
        } else {
            own.inside.resize(config, rows);
        }
    }
    if workspace.plan.recomputed > 0 {
        workspace.spare.resize(config, rows);
    } else {
        workspace.spare = Inside::default();
    }
    workspace.output.resize(rows * config.hidden);
    embed(model, packed.token, &mut workspace.layers[0].input);
    for layer in 0..config.layers {
        lend_spare(workspace, layer);
        project(workspace, model, layer, packed.position);
        attend(workspace, model, layer);
        feed_forward(workspace, model, layer, Extent::Layer);
        lend_spare(workspace, layer);
    }
}

/// Where a layer has no buffers of its own: gives it the spare ones, or takes them back.
pub(super) fn lend_spare(workspace: &mut Workspace, layer: usize) {
    if workspace.plan.recomputes(layer) {
        std::mem::swap(&mut workspace.layers[layer].inside, &mut workspace.spare);
    }
}

/// Computes a layer's activations again, as far as the backward reads them.
pub(super) fn again(workspace: &mut Workspace, model: &Model, layer: usize, position: &[u32]) {
    project(workspace, model, layer, position);
    attend(workspace, model, layer);
    feed_forward(workspace, model, layer, Extent::Gates);
}

fn project(workspace: &mut Workspace, model: &Model, layer: usize, position: &[u32]) {
    let LayerActivations { input, inside } = &mut workspace.layers[layer];
    let Inside { query, key, value, raw_query, raw_key, .. } = inside;
    let mut out = Projected { query, key, value, raw_query, raw_key };
    let (team, scratch) = (&workspace.team, &mut workspace.scratch);
    let rows = (&input[..], position);
    before_attention(team, model, layer, &workspace.rotary, rows, scratch, &mut out);
}

fn attend(workspace: &mut Workspace, model: &Model, layer: usize) {
    let heads = Heads::new(model.config());
    let Inside { query, key, value, attended, .. } = &mut workspace.layers[layer].inside;
    let rows = Rows { query, key, value };
    let forest = &workspace.forest;
    let mut rest = Rectangle::new(attended, heads.query_width());
    let tasks = parts(&heads, forest).flat_map(|part| {
        let mut own = rest.take_rows(part.rows());
        (0..heads.kv).map(move |kv| (part, kv, own.take_columns(heads.group * heads.dim)))
    });
    let work = |worker: &mut Worker, (part, kv, mut out): (Part, usize, Rectangle)| {
        attend_part(&heads, kv, rows, (forest, &part), &mut worker.path, &mut out);
    };
    workspace.team.each(tasks, &mut workspace.worker, work);
}

/// How far the feed-forward part runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// To the layer's output.
    Layer,
    /// To the gates: the output is there already.
    Gates,
}

fn feed_forward(workspace: &mut Workspace, model: &Model, layer: usize, extent: Extent) {
    let (before, after) = workspace.layers.split_at_mut(layer + 1);
    let output = after.first_mut().map_or(&mut workspace.output, |next| &mut next.input);
    let LayerActivations { input, inside } = &mut before[layer];
    let Inside { attended, middle, gate, up, .. } = inside;
    let output = (extent == Extent::Layer).then_some(&mut output[..]);
    let mut out = FeedForward { middle, gate, up, output };
    let (team, scratch) = (&workspace.team, &mut workspace.scratch);
    after_attention(team, model, layer, (attended, input), scratch, &mut out);
}
