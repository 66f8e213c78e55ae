//! The layers over rows that each continue a path of their own.

use std::{ops::Range, sync::Arc};

use super::{
    block::Block,
    path_attention::{AttentionScratch, Member, attend, clusters},
    prefix::Node,
};
use crate::{
    attention::Heads,
    config::Family,
    kernel::{Buffer, Rectangle},
    layer::{FeedForward, LayerScratch, Projected, after_attention, before_attention, embed},
    model::Model,
    rotary::Rotary,
    team::Team,
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

/// Activations of a batch, each `[rows][width]`, and every thread's own scratch.
#[derive(Default)]
pub(crate) struct RowScratch {
    stream: [Buffer; 2],
    query: Buffer,
    key: Buffer,
    value: Buffer,
    raw_query: Buffer,
    raw_key: Buffer,
    attended: Buffer,
    middle: Buffer,
    gate: Buffer,
    up: Buffer,
    layer: LayerScratch,
    position: Vec<u32>,
    token: Vec<u32>,
    /// Runs of tokens that query together, and runs of those that share keys.
    members: Vec<Member>,
    clusters: Vec<Range<usize>>,
    attention: Vec<AttentionScratch>,
}

/// Rows that pass through the layers together: bounds the scratch.
const BATCH: usize = 256;

/// A run of one growing step's tokens inside a batch.
struct Piece<'a> {
    /// Index of the growing step.
    step: usize,
    tokens: &'a [u32],
    /// Where the first token lies in the step's block.
    first: usize,
}

/// What a batch is computed with.
#[derive(Clone, Copy)]
pub(crate) struct Machine<'a> {
    pub(crate) team: &'a Team,
    pub(crate) model: &'a Model,
    pub(crate) rotary: &'a Rotary,
}

/// Runs `tokens[i]` behind `rows[i]`: keys and values are appended to the rows' blocks, and their
/// streams become those after the last token.
pub(crate) fn run(
    machine: Machine,
    rows: &mut [&mut Growing],
    tokens: &[&[u32]],
    scratch: &mut RowScratch,
) {
    let mut batch = Vec::new();
    let mut room = BATCH;
    for (step, own) in tokens.iter().enumerate() {
        let (mut rest, mut first) = (*own, rows[step].block.tokens());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(room));
            batch.push(Piece { step, tokens: now, first });
            room -= now.len();
            first += now.len();
            rest = later;
            if room == 0 {
                run_batch(machine, rows, &batch, scratch);
                batch.clear();
                room = BATCH;
            }
        }
    }
    if !batch.is_empty() {
        run_batch(machine, rows, &batch, scratch);
    }
}

fn run_batch(
    machine: Machine,
    rows: &mut [&mut Growing],
    batch: &[Piece],
    scratch: &mut RowScratch,
) {
    let config = machine.model.config();
    let heads = Heads::new(config);
    scratch.reserve(machine, batch.iter().map(|piece| piece.tokens.len()).sum());
    scratch.token.clear();
    scratch.position.clear();
    for piece in batch {
        let row = &mut rows[piece.step];
        let position = (row.above + piece.first) as u32 + u32::from(stepwell_mutant::planted(32));
        scratch.token.extend_from_slice(piece.tokens);
        scratch.position.extend((position..).take(piece.tokens.len()));
        row.block.grow(&heads, piece.tokens.len());
    }
    let mut row = 0;
    let pieces = batch.iter().map(|piece| {
        let (step, tokens, first) = (piece.step, piece.tokens.len(), piece.first);
        row += tokens;
        Member { step, row: row - tokens, tokens, first }
    });
    let most = heads.tokens_at_once();
    clusters(rows, pieces, most, &mut scratch.members, &mut scratch.clusters);
    embed(machine.model, &scratch.token, &mut scratch.stream[0]);
    for layer in 0..config.layers {
        scratch.project(machine, layer);
        scratch.write(&heads, layer, rows, batch);
        scratch.attend(machine.team, &heads, layer, rows);
        scratch.feed_forward(machine, layer);
    }
    let mut last = 0;
    for piece in batch {
        last += piece.tokens.len();
        let stream = &scratch.stream[0][(last - 1) * config.hidden..last * config.hidden];
        let row = &mut rows[piece.step];
        row.stream.clear();
        row.stream.extend_from_slice(stream);
    }
}

impl RowScratch {
    fn reserve(&mut self, machine: Machine, rows: usize) {
        let config = machine.model.config();
        let (query, kv) = (config.query_width(), config.kv_width());
        let norms = config.family == Family::Qwen3;
        self.attention.resize_with(machine.team.threads(), AttentionScratch::default);
        let [first, second] = &mut self.stream;
        for (buffer, width) in [
            (first, config.hidden),
            (second, config.hidden),
            (&mut self.query, query),
            (&mut self.key, kv),
            (&mut self.value, kv),
            (&mut self.raw_query, if norms { query } else { 0 }),
            (&mut self.raw_key, if norms { kv } else { 0 }),
            (&mut self.attended, query),
            (&mut self.middle, config.hidden),
            (&mut self.gate, config.ffn),
            (&mut self.up, config.ffn),
        ] {
            buffer.resize(rows * width);
        }
    }

    fn project(&mut self, Machine { team, model, rotary }: Machine, layer: usize) {
        let mut out = Projected {
            query: &mut self.query,
            key: &mut self.key,
            value: &mut self.value,
            raw_query: &mut self.raw_query,
            raw_key: &mut self.raw_key,
        };
        let input = (&self.stream[0][..], &self.position[..]);
        before_attention(team, model, layer, rotary, input, &mut self.layer, &mut out);
    }

    fn write(&self, heads: &Heads, layer: usize, rows: &mut [&mut Growing], batch: &[Piece]) {
        let width = heads.kv_width();
        let mut projected = self.key.chunks_exact(width).zip(self.value.chunks_exact(width));
        for piece in batch {
            let block = &mut rows[piece.step].block;
            let places = piece.first..piece.first + piece.tokens.len();
            for (token, (key, value)) in places.zip(&mut projected) {
                block.write(heads, layer, token, key, value);
            }
        }
    }

    fn attend(&mut self, team: &Team, heads: &Heads, layer: usize, rows: &[&mut Growing]) {
        let (members, query) = (&self.members, &self.query);
        let mut rest = Rectangle::new(&mut self.attended, heads.query_width());
        let tasks = self.clusters.iter().flat_map(|cluster| {
            let members = &members[cluster.clone()];
            let mut own = rest.take_rows(members.iter().map(|member| member.tokens).sum());
            let width = heads.group * heads.dim;
            (0..heads.kv).map(move |kv| (kv, members, own.take_columns(width)))
        });
        team.each(tasks, &mut self.attention, |scratch, (kv, members, mut out)| {
            attend(heads, (layer, kv), rows, members, query, scratch, &mut out);
        });
    }

    fn feed_forward(&mut self, Machine { team, model, .. }: Machine, layer: usize) {
        let [input, output] = &mut self.stream;
        let mut out = FeedForward {
            middle: &mut self.middle,
            gate: &mut self.gate,
            up: &mut self.up,
            output: Some(output),
        };
        let rows = (&self.attended[..], &input[..]);
        after_attention(team, model, layer, rows, &mut self.layer, &mut out);
        self.stream.swap(0, 1);
    }
}
