//! Attention of decoding rows over the steps of their paths.
//!
//! Rows that share a path pass over its keys together: one product, not one per row. The chains
//! are those of the packed forest (INV-5): a score per key, then one chain over the path's
//! positions that is continued from page to page.

use super::{
    block::{Block, PageShape},
    prefix::Prefix,
};
use crate::{
    attention::{panel_scores, value_tile},
    kernel::{Buffer, PANEL, scale, softmax_numerators},
};

/// Query rows that share one pass over the keys.
pub(super) const QUERY_BLOCK: usize = 48;

/// Consecutive rows of one lane that query together.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    /// First row of the batch.
    pub(super) row: usize,
    pub(super) tokens: usize,
    /// The lane's own keys, and where the first row's token lies in them.
    pub(super) block: &'a Block,
    pub(super) first: usize,
}

/// Members that share the steps before their own.
pub(super) struct Cluster<'a> {
    pub(super) path: &'a [Prefix],
    pub(super) members: Vec<Member<'a>>,
}

/// Buffers of one worker.
#[derive(Default)]
pub(super) struct AttentionScratch {
    query: Buffer,
    scores: Buffer,
    out: Buffer,
}

/// Attention of one cluster in one layer; `query` and `attended` are `[rows][width]` of the batch.
pub(super) fn attend(
    shape: &PageShape,
    layer: usize,
    cluster: &Cluster,
    scratch: &mut AttentionScratch,
    (query, attended): (&[f32], &mut [f32]),
) {
    let heads = &shape.heads;
    let start = cluster.path.last().map_or(0, Prefix::len);
    let own = cluster.members.iter().map(|member| member.first + member.tokens).max();
    // One panel more than the keys: the last page of a step writes whole lanes.
    let stride = (start + own.unwrap_or(0)).next_multiple_of(PANEL) + PANEL;
    let tokens: usize = cluster.members.iter().map(|member| member.tokens).sum();
    let rows = tokens * heads.group;
    scratch.query.reserve(rows * heads.padded());
    scratch.out.reserve(rows * heads.padded());
    scratch.scores.reserve(rows * stride);
    let width = heads.group * heads.dim;
    for kv in 0..heads.kv {
        let at = |row: usize| row * heads.query_width() + kv * width;
        let mut packed = scratch.query.chunks_exact_mut(heads.padded());
        for row in cluster.members.iter().flat_map(|member| member.row..member.row + member.tokens)
        {
            let own = query[at(row)..at(row) + width].chunks_exact(heads.dim);
            for (head, to) in own.zip(&mut packed) {
                to[..heads.dim].copy_from_slice(head);
            }
        }
        attend_head(shape, (layer, kv), cluster, (rows, stride), scratch);
        let mut out = scratch.out.chunks_exact(heads.padded());
        for row in cluster.members.iter().flat_map(|member| member.row..member.row + member.tokens)
        {
            let own = attended[at(row)..at(row) + width].chunks_exact_mut(heads.dim);
            for (head, from) in own.zip(&mut out) {
                head.copy_from_slice(&from[..heads.dim]);
            }
        }
    }
}

/// Scores, softmax and values of one key head for all rows of a cluster.
fn attend_head(
    shape: &PageShape,
    (layer, kv): (usize, usize),
    cluster: &Cluster,
    (rows, stride): (usize, usize),
    scratch: &mut AttentionScratch,
) {
    let heads = &shape.heads;
    let AttentionScratch { query, scores, out } = scratch;
    let start = cluster.path.last().map_or(0, Prefix::len);
    let on_path = || cluster.path.iter().flat_map(|step| step_pages(step));
    let mut position = 0;
    for (page, held) in on_path() {
        let keys = shape.split(page, layer, kv).0;
        panel_scores(heads, rows, (1, stride), query, keys, &mut scores[position..]);
        position += held;
    }
    let mut first = 0;
    for member in &cluster.members {
        let count = member.tokens * heads.group;
        let query = &query[first * heads.padded()..];
        let mut position = first * stride + start;
        for (page, held) in member.block.pages(member.first + member.tokens) {
            let keys = shape.split(page, layer, kv).0;
            panel_scores(heads, count, (1, stride), query, keys, &mut scores[position..]);
            position += held;
        }
        first += count;
    }
    let inverse = normalise(heads.group, heads.scale, cluster, (start, stride), scores);
    let mut position = 0;
    for (page, held) in on_path() {
        let values = shape.split(page, layer, kv).1;
        let weights = &scores[position..];
        value_tile(heads, (rows, stride), held, weights, values, out, position > 0);
        position += held;
    }
    let mut first = 0;
    for member in &cluster.members {
        let count = member.tokens * heads.group;
        let out = &mut out[first * heads.padded()..];
        let mut position = start;
        for (page, held) in member.block.pages(member.first + member.tokens) {
            let values = shape.split(page, layer, kv).1;
            let weights = &scores[first * stride + position..];
            value_tile(heads, (count, stride), held, weights, values, out, position > 0);
            position += held;
        }
        first += count;
    }
    for (row, inverse) in out.chunks_exact_mut(heads.padded()).zip(&inverse[..rows]) {
        scale(row, *inverse);
    }
}

/// Turns scores into exponentials; one over the sum of each row.
fn normalise(
    group: usize,
    factor: f32,
    cluster: &Cluster,
    (start, stride): (usize, usize),
    scores: &mut [f32],
) -> Vec<f32> {
    let visible = cluster
        .members
        .iter()
        .flat_map(|member| member.first..member.first + member.tokens)
        .flat_map(|own| std::iter::repeat_n(start + own + 1, group));
    let rows = scores.chunks_exact_mut(stride).zip(visible);
    rows.map(|(row, visible)| 1.0 / softmax_numerators(row, visible, factor)).collect()
}

fn step_pages(step: &Prefix) -> impl Iterator<Item = (&[f32], usize)> {
    let block = &step.get().block;
    block.pages(block.tokens)
}
