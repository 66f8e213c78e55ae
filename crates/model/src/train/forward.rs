//! The layers over all rows of a packed forest.

use super::{
    Packed,
    activations::{CHUNK, LayerActivations, chunks, chunks_mut},
    attention::{Rows, attend_tree},
    workspace::{Worker, Workspace},
};
use crate::{
    attention::Heads,
    kernel::Buffer,
    layer::{FeedForward, Projected, after_attention, before_attention, embed},
    model::Model,
};

/// Runs every layer and leaves the last residual stream in `workspace.output`.
pub(super) fn trunk(workspace: &mut Workspace, model: &Model, packed: &Packed) {
    let config = model.config();
    let rows = packed.token.len();
    workspace.layers.resize_with(config.layers, LayerActivations::default);
    for layer in &mut workspace.layers {
        layer.resize(config, rows);
    }
    workspace.output.resize(rows * config.hidden);
    workspace.by_head.resize(rows * config.query_width());
    for worker in &mut workspace.worker {
        worker.normed.reserve(CHUNK * config.hidden);
        worker.hidden.reserve(CHUNK * config.ffn);
    }
    embed(model, packed.token, &mut workspace.layers[0].input);
    for layer in 0..config.layers {
        project(workspace, model, layer, packed.position);
        attend(workspace, model, layer);
        feed_forward(workspace, model, layer);
    }
}

fn project(workspace: &mut Workspace, model: &Model, layer: usize, position: &[u32]) {
    let config = model.config();
    let (query_width, kv_width) = (config.query_width(), config.kv_width());
    let LayerActivations { input, query, key, value, raw_query, raw_key, .. } =
        &mut workspace.layers[layer];
    let mut raw = chunks_mut(raw_query, query_width).zip(chunks_mut(raw_key, kv_width));
    let tasks: Vec<_> = chunks(input, config.hidden)
        .zip(position.chunks(CHUNK))
        .zip(chunks_mut(query, query_width))
        .zip(chunks_mut(key, kv_width).zip(chunks_mut(value, kv_width)))
        .map(|((rows, query), (key, value))| {
            (rows, Projected { query, key, value, raw: raw.next() })
        })
        .collect();
    let rotary = &workspace.rotary;
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, (rows, mut out)| {
        let scratch = (&mut worker.normed[..rows.0.len()], &mut worker.delta);
        before_attention(model, layer, rotary, rows, scratch, &mut out);
    });
}

fn attend(workspace: &mut Workspace, model: &Model, layer: usize) {
    let heads = Heads::new(model.config());
    let LayerActivations { query, key, value, attended, .. } = &mut workspace.layers[layer];
    let rows = Rows { query, key, value };
    let width = heads.group * heads.dim;
    let forest = &workspace.forest;
    let count = query.len() / heads.query_width();
    let mut tasks = Vec::new();
    for (kv, mut rest) in workspace.by_head.chunks_exact_mut(count * width).enumerate() {
        for tree in &forest.trees {
            let (own, after) = rest.split_at_mut((tree.end - tree.begin) * width);
            tasks.push((kv, tree, own));
            rest = after;
        }
    }
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, (kv, tree, out)| {
        attend_tree(&heads, kv, rows, (forest, tree), &mut worker.path, out);
    });
    rows_from_heads(&workspace.by_head, (heads.kv, width), attended);
}

/// `[heads][N][width]` to `[N][heads * width]`.
pub(super) fn rows_from_heads(by_head: &Buffer, (heads, width): (usize, usize), rows: &mut [f32]) {
    let count = rows.len() / (heads * width);
    for (head, values) in by_head.chunks_exact(count * width).take(heads).enumerate() {
        for (row, values) in rows.chunks_exact_mut(heads * width).zip(values.chunks_exact(width)) {
            row[head * width..(head + 1) * width].copy_from_slice(values);
        }
    }
}

fn feed_forward(workspace: &mut Workspace, model: &Model, layer: usize) {
    let config = model.config();
    let hidden = config.hidden;
    let (before, after) = workspace.layers.split_at_mut(layer + 1);
    let output = after.first_mut().map_or(&mut workspace.output, |next| &mut next.input);
    let LayerActivations { input, attended, middle, gate, up, .. } = &mut before[layer];
    let tasks: Vec<_> = chunks(attended, config.query_width())
        .zip(chunks(input, hidden))
        .zip(chunks_mut(middle, hidden).zip(chunks_mut(output, hidden)))
        .zip(chunks_mut(gate, config.ffn).zip(chunks_mut(up, config.ffn)))
        .map(|((rows, (middle, output)), (gate, up))| {
            (rows, FeedForward { middle, gate, up, output })
        })
        .collect();
    workspace.team.each(tasks, &mut workspace.worker, |worker: &mut Worker, (rows, mut out)| {
        let normed = &mut worker.normed[..rows.1.len()];
        let inside = &mut worker.hidden[..out.gate.len()];
        after_attention(model, layer, rows, (normed, inside, &mut worker.delta), &mut out);
    });
}
