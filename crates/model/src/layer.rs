//! The row-wise parts of one layer: the sampler and the trainer both run these (INV-6).

use crate::{
    adapter::{DeltaScratch, Target},
    kernel::{Panels, add, product, rms_norm, rotate, swiglu},
    model::Model,
    rotary::Rotary,
};

/// Queries, keys and values of a run of rows, each `[rows][width]`.
pub(crate) struct Projected<'a> {
    pub(crate) query: &'a mut [f32],
    pub(crate) key: &'a mut [f32],
    pub(crate) value: &'a mut [f32],
    /// Query and key before their head norms; empty in families without.
    pub(crate) raw: Option<(&'a mut [f32], &'a mut [f32])>,
}

/// What the feed-forward part leaves behind, each `[rows][width]`.
pub(crate) struct FeedForward<'a> {
    /// The residual stream after attention.
    pub(crate) middle: &'a mut [f32],
    pub(crate) gate: &'a mut [f32],
    pub(crate) up: &'a mut [f32],
    /// The residual stream after the layer.
    pub(crate) output: &'a mut [f32],
}

/// Copies the embeddings of `token` to `[rows][hidden]`.
pub(crate) fn embed(model: &Model, token: &[u32], out: &mut [f32]) {
    let Panels { data, rows, columns } = model.matrix(model.layout.embedding);
    for (token, out) in token.iter().zip(out.chunks_exact_mut(columns)) {
        let token = *token as usize;
        assert!(token < rows, "token {token} of a vocabulary of {rows}");
        let lane = token / crate::kernel::PANEL * crate::kernel::PANEL * columns
            + token % crate::kernel::PANEL;
        for (value, from) in out.iter_mut().zip(data[lane..].iter().step_by(crate::kernel::PANEL)) {
            *value = *from;
        }
    }
}

/// One projection: the product with the matrix, and what an adapter adds to it.
fn project(
    model: &Model,
    (layer, target): (usize, Target),
    x: &[f32],
    y: &mut [f32],
    scratch: &mut DeltaScratch,
) {
    product(x, model.matrix(model.layout.layers[layer].of(target)), y);
    if let Some(pair) = model.pair(layer, target) {
        pair.forward(x, y, scratch);
    }
}

/// Norm, projections, biases, head norms and rotation.
pub(crate) fn before_attention(
    model: &Model,
    layer: usize,
    rotary: &Rotary,
    (input, position): (&[f32], &[u32]),
    (normed, scratch): (&mut [f32], &mut DeltaScratch),
    out: &mut Projected,
) {
    let config = model.config();
    let slots = model.layout.layers[layer];
    let epsilon = config.norm_epsilon as f32;
    rms_norm(input, model.vector(slots.input_norm), epsilon, normed);
    project(model, (layer, Target::Query), normed, out.query, scratch);
    project(model, (layer, Target::Key), normed, out.key, scratch);
    project(model, (layer, Target::Value), normed, out.value, scratch);
    if let Some([query, key, value]) = slots.bias {
        for (rows, bias) in
            [(&mut *out.query, query), (&mut *out.key, key), (&mut *out.value, value)]
        {
            let bias = model.vector(bias);
            rows.chunks_exact_mut(bias.len()).for_each(|row| add(row, bias));
        }
    }
    if let (Some([query, key]), Some((raw_query, raw_key))) = (slots.head_norm, &mut out.raw) {
        raw_query.copy_from_slice(out.query);
        raw_key.copy_from_slice(out.key);
        rms_norm(raw_query, model.vector(query), epsilon, out.query);
        rms_norm(raw_key, model.vector(key), epsilon, out.key);
    }
    turn(rotary, position, out.query, config.query_width(), 1.0);
    turn(rotary, position, out.key, config.kv_width(), 1.0);
}

/// Rotates rows of `width` by their positions; `sign` -1 is the inverse and the gradient.
pub(crate) fn turn(rotary: &Rotary, position: &[u32], rows: &mut [f32], width: usize, sign: f32) {
    for (row, position) in rows.chunks_exact_mut(width).zip(position) {
        let (cosine, sine) = rotary.at(*position);
        rotate(row, cosine, sine, sign);
    }
}

/// Output projection, residual, norm and the gated feed-forward layer.
pub(crate) fn after_attention(
    model: &Model,
    layer: usize,
    (attended, input): (&[f32], &[f32]),
    (normed, hidden, scratch): (&mut [f32], &mut [f32], &mut DeltaScratch),
    out: &mut FeedForward,
) {
    let slots = model.layout.layers[layer];
    project(model, (layer, Target::Output), attended, out.middle, scratch);
    add(out.middle, input);
    let epsilon = model.config().norm_epsilon as f32;
    rms_norm(out.middle, model.vector(slots.ffn_norm), epsilon, normed);
    project(model, (layer, Target::Gate), normed, out.gate, scratch);
    project(model, (layer, Target::Up), normed, out.up, scratch);
    swiglu(out.gate, out.up, hidden);
    project(model, (layer, Target::Down), hidden, out.output, scratch);
    add(out.output, out.middle);
}
