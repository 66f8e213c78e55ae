//! The layers over rows that each continue a path of their own.

use std::sync::Arc;

use super::{block::Block, prefix::Node};
use crate::{
    attention::{Heads, panel_scores, value_tile},
    kernel::{Buffer, PANEL, scale, softmax_numerators},
    layer::{FeedForward, Projected, after_attention, before_attention, embed},
    model::Model,
    rotary::Rotary,
};

/// A step that receives tokens: known ones or sampled ones.
pub(crate) struct Growing {
    /// Finished steps above, from the root.
    pub(crate) path: Vec<Arc<Node>>,
    /// Tokens on that path.
    pub(crate) above: usize,
    pub(crate) block: Block,
    /// `[hidden]` the residual stream after the last token.
    pub(crate) stream: Vec<f32>,
}

/// Scratch of one thread.
#[derive(Default)]
pub(crate) struct RowScratch {
    stream: [Buffer; 2],
    normed: Buffer,
    query: Buffer,
    key: Buffer,
    value: Buffer,
    raw_query: Buffer,
    raw_key: Buffer,
    attended: Buffer,
    middle: Buffer,
    gate: Buffer,
    up: Buffer,
    inside: Buffer,
    head_query: Buffer,
    scores: Buffer,
    out: Buffer,
    position: Vec<u32>,
    token: Vec<u32>,
    pub(super) logits: Buffer,
    pub(super) numerators: Buffer,
    pub(super) logit_stream: Buffer,
}

/// Runs `tokens[i]` behind `rows[i]`: keys and values are appended to the rows' blocks, and their
/// streams become those after the last token.
pub(crate) fn run(
    model: &Model,
    rotary: &Rotary,
    rows: &mut [&mut Growing],
    tokens: &[&[u32]],
    scratch: &mut RowScratch,
) {
    let config = model.config();
    let heads = Heads::new(config);
    scratch.reserve(model, tokens.iter().map(|own| own.len()).sum());
    scratch.token.clear();
    scratch.position.clear();
    for (row, own) in rows.iter_mut().zip(tokens) {
        let first = row.above + row.block.tokens();
        scratch.token.extend_from_slice(own);
        scratch.position.extend((first..first + own.len()).map(|position| position as u32));
        row.block.grow(&heads, own.len());
    }
    embed(model, &scratch.token, &mut scratch.stream[0]);
    for layer in 0..config.layers {
        scratch.project(model, rotary, layer);
        scratch.attend(&heads, layer, rows, tokens);
        scratch.feed_forward(model, layer);
    }
    let mut last = 0;
    for (row, own) in rows.iter_mut().zip(tokens) {
        last += own.len();
        let stream = &scratch.stream[0][(last - 1) * config.hidden..last * config.hidden];
        row.stream.clear();
        row.stream.extend_from_slice(stream);
    }
}

impl RowScratch {
    fn reserve(&mut self, model: &Model, rows: usize) {
        let config = model.config();
        let (query, kv) = (config.query_width(), config.kv_width());
        let [first, second] = &mut self.stream;
        for (buffer, width) in [
            (first, config.hidden),
            (second, config.hidden),
            (&mut self.normed, config.hidden),
            (&mut self.query, query),
            (&mut self.key, kv),
            (&mut self.value, kv),
            (&mut self.raw_query, query),
            (&mut self.raw_key, kv),
            (&mut self.attended, query),
            (&mut self.middle, config.hidden),
            (&mut self.gate, config.ffn),
            (&mut self.up, config.ffn),
            (&mut self.inside, config.ffn),
        ] {
            buffer.resize(rows * width);
        }
    }

    fn project(&mut self, model: &Model, rotary: &Rotary, layer: usize) {
        let mut out = Projected {
            query: &mut self.query,
            key: &mut self.key,
            value: &mut self.value,
            raw: Some((&mut self.raw_query, &mut self.raw_key)),
        };
        let input = (&self.stream[0][..], &self.position[..]);
        before_attention(model, layer, rotary, input, &mut self.normed, &mut out);
    }

    fn attend(
        &mut self,
        heads: &Heads,
        layer: usize,
        rows: &mut [&mut Growing],
        tokens: &[&[u32]],
    ) {
        let (query_width, kv_width) = (heads.query_width(), heads.kv_width());
        let mut at = 0;
        for (row, own) in rows.iter_mut().zip(tokens) {
            let before = row.block.tokens() - own.len();
            for token in 0..own.len() {
                let from = (at + token) * kv_width;
                let key = &self.key[from..from + kv_width];
                let value = &self.value[from..from + kv_width];
                row.block.write(heads, layer, before + token, key, value);
            }
            for token in 0..own.len() {
                let place = (at + token) * query_width..(at + token + 1) * query_width;
                self.attend_token(heads, layer, row, before + token + 1, place);
            }
            at += own.len();
        }
    }

    /// One token over its path and the first `visible` tokens of its own step, block by block from
    /// the start of the path: scores lie by path position, sums run in path order (INV-5).
    fn attend_token(
        &mut self,
        heads: &Heads,
        layer: usize,
        row: &Growing,
        visible: usize,
        place: std::ops::Range<usize>,
    ) {
        let total = row.above + visible;
        let padded = heads.padded();
        // A block's last panel may write past its last token; the next block overwrites that.
        let stride = total.next_multiple_of(PANEL) + PANEL;
        self.head_query.reserve(heads.group * padded);
        self.scores.reserve(heads.group * stride);
        self.out.reserve(heads.group * padded);
        let width = heads.group * heads.dim;
        for kv in 0..heads.kv {
            let from = place.start + kv * width;
            let queries = self.query[from..from + width].chunks_exact(heads.dim);
            for (to, query) in self.head_query.chunks_exact_mut(padded).zip(queries) {
                to[..heads.dim].copy_from_slice(query);
            }
            let above = row.path.iter().map(|node| (&node.block, node.block.tokens()));
            let blocks = above.chain([(&row.block, visible)]).filter(|(_, tokens)| *tokens > 0);
            let mut offset = 0;
            for (block, tokens) in blocks.clone() {
                let shape = (tokens.div_ceil(PANEL), stride);
                let panels = block.key(heads, layer, kv);
                let to = &mut self.scores[offset..];
                panel_scores(heads, heads.group, shape, &self.head_query, panels, to);
                offset += tokens;
            }
            let mut inverse = [0.0_f32; 64];
            for (index, scores) in
                self.scores.chunks_exact_mut(stride).take(heads.group).enumerate()
            {
                let sum = softmax_numerators(&mut scores[..stride], total, heads.scale);
                inverse[index] = 1.0 / sum;
            }
            let mut offset = 0;
            for (block, tokens) in blocks {
                let shape = (heads.group, stride);
                let values = block.value(heads, layer, kv);
                let weights = &self.scores[offset..];
                value_tile(heads, shape, tokens, weights, values, &mut self.out, offset > 0);
                offset += tokens;
            }
            let to = self.attended[from..from + width].chunks_exact_mut(heads.dim);
            for (index, (to, out)) in to.zip(self.out.chunks_exact(padded)).enumerate() {
                to.copy_from_slice(&out[..heads.dim]);
                scale(to, inverse[index]);
            }
        }
    }

    fn feed_forward(&mut self, model: &Model, layer: usize) {
        let [input, output] = &mut self.stream;
        let mut out = FeedForward {
            middle: &mut self.middle,
            gate: &mut self.gate,
            up: &mut self.up,
            output,
        };
        let rows = (&self.attended[..], &input[..]);
        let scratch = (&mut self.normed[..], &mut self.inside[..]);
        after_attention(model, layer, rows, scratch, &mut out);
        self.stream.swap(0, 1);
    }
}
