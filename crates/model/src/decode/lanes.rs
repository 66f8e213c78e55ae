//! The forward of decoding: lanes of known tokens through the whole stack of layers.
//!
//! One thread runs all layers for its lanes, so there is one parallel region per token and not
//! one per operation. The row-wise functions are the trainer's (INV-6).

use super::{
    block::{Block, PageShape},
    path_attention::{AttentionScratch, Cluster, Member, QUERY_BLOCK, attend},
    prefix::Prefix,
};
use crate::{
    kernel::Buffer,
    layer::{FeedForward, Projected, after_attention, before_attention, embed},
    model::Model,
    rotary::Rotary,
};

/// Tokens to run behind a path whose steps are settled.
pub(super) struct Lane<'a> {
    /// The steps before the lane's own, from the root on.
    pub(super) path: &'a [Prefix],
    /// Receives the tokens' keys and values.
    pub(super) block: &'a mut Block,
    pub(super) tokens: &'a [u32],
    /// `[hidden]` receives the last token's residual stream.
    pub(super) stream: &'a mut Vec<f32>,
}

/// Rows that pass through the layers together.
const BATCH: usize = 256;

/// Buffers of one worker, `[BATCH][width]`.
#[derive(Default)]
pub(super) struct LaneScratch {
    attention: AttentionScratch,
    input: Buffer,
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
    hidden: Buffer,
    output: Buffer,
}

/// A run of one lane's tokens inside a batch.
#[derive(Clone, Copy)]
struct Piece {
    lane: usize,
    /// First token of the lane's tokens.
    from: usize,
    tokens: usize,
    /// Where that token lies in the lane's block.
    first: usize,
}

/// Runs every token of every lane.
pub(super) fn run(
    model: &Model,
    shape: &PageShape,
    rotary: &Rotary,
    lanes: &mut [Lane],
    scratch: &mut LaneScratch,
) {
    let mut batch = Vec::new();
    let mut rows = 0;
    for lane in 0..lanes.len() {
        let total = lanes[lane].tokens.len();
        let before = lanes[lane].block.tokens;
        lanes[lane].block.reserve(shape, before + total);
        let mut from = 0;
        while from < total {
            let tokens = (total - from).min(BATCH - rows);
            batch.push(Piece { lane, from, tokens, first: before + from });
            rows += tokens;
            from += tokens;
            if rows == BATCH {
                run_batch(model, shape, rotary, (lanes, &batch), scratch);
                batch.clear();
                rows = 0;
            }
        }
    }
    if rows > 0 {
        run_batch(model, shape, rotary, (lanes, &batch), scratch);
    }
}

fn run_batch(
    model: &Model,
    shape: &PageShape,
    rotary: &Rotary,
    (lanes, batch): (&mut [Lane], &[Piece]),
    scratch: &mut LaneScratch,
) {
    let hidden = model.config().hidden;
    let (mut token, mut position) = (Vec::new(), Vec::new());
    for piece in batch {
        let lane = &lanes[piece.lane];
        let start = lane.path.last().map_or(0, Prefix::len) + piece.first;
        token.extend(&lane.tokens[piece.from..piece.from + piece.tokens]);
        position.extend((start as u32..).take(piece.tokens));
    }
    scratch.resize(model, token.len());
    embed(model, &token, &mut scratch.input);
    for layer in 0..shape.layers {
        project(model, layer, rotary, &position, scratch);
        write_keys(shape, layer, (lanes, batch), scratch);
        for cluster in clusters(shape, lanes, batch) {
            let rows = (&scratch.query[..], &mut scratch.attended[..]);
            attend(shape, layer, &cluster, &mut scratch.attention, rows);
        }
        feed_forward(model, layer, scratch);
        std::mem::swap(&mut scratch.input, &mut scratch.output);
    }
    let mut row = 0;
    for piece in batch {
        row += piece.tokens;
        let lane = &mut lanes[piece.lane];
        lane.block.tokens = piece.first + piece.tokens;
        lane.stream.clear();
        lane.stream.extend_from_slice(&scratch.input[(row - 1) * hidden..row * hidden]);
    }
}

impl LaneScratch {
    fn resize(&mut self, model: &Model, rows: usize) {
        let config = model.config();
        let (query, kv) = (rows * config.query_width(), rows * config.kv_width());
        for buffer in [&mut self.input, &mut self.normed, &mut self.middle, &mut self.output] {
            buffer.resize(rows * config.hidden);
        }
        for buffer in [&mut self.query, &mut self.raw_query, &mut self.attended] {
            buffer.resize(query);
        }
        for buffer in [&mut self.key, &mut self.value, &mut self.raw_key] {
            buffer.resize(kv);
        }
        for buffer in [&mut self.gate, &mut self.up, &mut self.hidden] {
            buffer.resize(rows * config.ffn);
        }
    }
}

fn project(
    model: &Model,
    layer: usize,
    rotary: &Rotary,
    position: &[u32],
    scratch: &mut LaneScratch,
) {
    let raw = Some((&mut scratch.raw_query[..], &mut scratch.raw_key[..]));
    let mut out = Projected {
        query: &mut scratch.query,
        key: &mut scratch.key,
        value: &mut scratch.value,
        raw,
    };
    let rows = (&scratch.input[..], position);
    before_attention(model, layer, rotary, rows, &mut scratch.normed, &mut out);
}

fn feed_forward(model: &Model, layer: usize, scratch: &mut LaneScratch) {
    let mut out = FeedForward {
        middle: &mut scratch.middle,
        gate: &mut scratch.gate,
        up: &mut scratch.up,
        output: &mut scratch.output,
    };
    let rows = (&scratch.attended[..], &scratch.input[..]);
    let inside = (&mut scratch.normed[..], &mut scratch.hidden[..]);
    after_attention(model, layer, rows, inside, &mut out);
}

fn write_keys(
    shape: &PageShape,
    layer: usize,
    (lanes, batch): (&mut [Lane], &[Piece]),
    scratch: &LaneScratch,
) {
    let width = shape.heads.kv_width();
    let mut rows = scratch.key.chunks_exact(width).zip(scratch.value.chunks_exact(width));
    for piece in batch {
        let block = &mut lanes[piece.lane].block;
        for (token, (key, value)) in (piece.first..).zip((&mut rows).take(piece.tokens)) {
            block.write(shape, (layer, token), key, value);
        }
    }
}

/// Cuts the batch in runs of at most `QUERY_BLOCK` query rows that share their path.
fn clusters<'a>(shape: &PageShape, lanes: &'a [Lane], batch: &[Piece]) -> Vec<Cluster<'a>> {
    let most = (QUERY_BLOCK / shape.heads.group).max(1);
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut room = 0;
    let mut row = 0;
    for piece in batch {
        let lane = &lanes[piece.lane];
        for from in (0..piece.tokens).step_by(most) {
            let tokens = most.min(piece.tokens - from);
            let member = Member { row, tokens, block: lane.block, first: piece.first + from };
            row += tokens;
            match clusters.last_mut() {
                Some(last) if tokens <= room && same_path(last.path, lane.path) => {
                    last.members.push(member);
                    room -= tokens;
                }
                _ => {
                    clusters.push(Cluster { path: lane.path, members: vec![member] });
                    room = most - tokens;
                }
            }
        }
    }
    clusters
}

fn same_path(left: &[Prefix], right: &[Prefix]) -> bool {
    match (left.last(), right.last()) {
        (None, None) => true,
        (Some(left), Some(right)) => left.same(right),
        _ => false,
    }
}
