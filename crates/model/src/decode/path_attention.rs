//! Attention of decoding rows over the steps of their paths.
//!
//! Rows that share a path pass over its keys together: one product, not one per row. The chains
//! are those of the packed forest (INV-5): a score per key, then one chain over the path's
//! positions that is continued from step to step.

use std::sync::Arc;

use super::{block::Block, prefix::Node};
use crate::{
    attention::{Heads, panel_scores, value_tile},
    kernel::{Buffer, PANEL, scale, softmax_numerators},
};

/// Query rows that share one pass over the keys.
pub(super) const QUERY_BLOCK: usize = 48;

/// Consecutive tokens of one growing step that query together.
#[derive(Clone, Copy)]
pub(super) struct Member<'a> {
    /// First row among those of the cluster.
    pub(super) row: usize,
    pub(super) tokens: usize,
    /// The step's own keys, and where the first row's token lies in them.
    pub(super) block: &'a Block,
    pub(super) first: usize,
}

impl Member<'_> {
    fn rows(&self) -> std::ops::Range<usize> {
        self.row..self.row + self.tokens
    }

    /// Tokens of the own step that the last row sees.
    fn visible(&self) -> usize {
        self.first + self.tokens
    }
}

/// Members that share the steps above their own.
pub(super) struct Cluster<'a> {
    pub(super) path: &'a [Arc<Node>],
    /// Tokens on that path.
    pub(super) above: usize,
    pub(super) members: Vec<Member<'a>>,
}

impl Cluster<'_> {
    /// Rows of all members.
    pub(super) fn rows(&self) -> usize {
        self.members.iter().map(|member| member.tokens).sum()
    }
}

/// Buffers of one worker.
#[derive(Default)]
pub(super) struct AttentionScratch {
    /// `[query rows][padded head_dim]`
    query: Buffer,
    /// `[query rows][stride]` by path position.
    scores: Buffer,
    /// `[query rows][padded head_dim]`
    out: Buffer,
    /// One over the sum of each query row's exponentials.
    inverse: Vec<f32>,
}

/// Attention of one cluster in one layer; `query` and `attended` are its rows, `[rows][width]`.
pub(super) fn attend(
    heads: &Heads,
    layer: usize,
    cluster: &Cluster,
    scratch: &mut AttentionScratch,
    (query, attended): (&[f32], &mut [f32]),
) {
    let own = cluster.members.iter().map(Member::visible).max().unwrap_or(0);
    // A step's last panel may write past its last token; the next step overwrites that.
    let stride = (cluster.above + own).next_multiple_of(PANEL) + PANEL;
    let rows = cluster.rows() * heads.group;
    scratch.query.reserve(rows * heads.padded());
    scratch.out.reserve(rows * heads.padded());
    scratch.scores.reserve(rows * stride);
    let width = heads.group * heads.dim;
    for kv in 0..heads.kv {
        let at = |row: usize| row * heads.query_width() + kv * width;
        let mut packed = scratch.query.chunks_exact_mut(heads.padded());
        for row in cluster.members.iter().flat_map(Member::rows) {
            let own = query[at(row)..at(row) + width].chunks_exact(heads.dim);
            for (head, to) in own.zip(&mut packed) {
                to[..heads.dim].copy_from_slice(head);
            }
        }
        scores(heads, (layer, kv), cluster, (rows, stride), scratch);
        normalise(heads, cluster, stride, scratch);
        values(heads, (layer, kv), cluster, (rows, stride), scratch);
        let mut out = scratch.out.chunks_exact(heads.padded()).zip(&scratch.inverse);
        for row in cluster.members.iter().flat_map(Member::rows) {
            let own = attended[at(row)..at(row) + width].chunks_exact_mut(heads.dim);
            for (head, (from, inverse)) in own.zip(&mut out) {
                head.copy_from_slice(&from[..heads.dim]);
                scale(head, *inverse);
            }
        }
    }
}

/// Scores of all rows over the shared path, then of each member's rows over its own step.
fn scores(
    heads: &Heads,
    (layer, kv): (usize, usize),
    cluster: &Cluster,
    (rows, stride): (usize, usize),
    scratch: &mut AttentionScratch,
) {
    let AttentionScratch { query, scores, .. } = scratch;
    let mut position = 0;
    for Node { block, .. } in cluster.path.iter().map(AsRef::as_ref) {
        let shape = (block.tokens().div_ceil(PANEL), stride);
        let keys = block.key(heads, layer, kv);
        panel_scores(heads, rows, shape, query, keys, &mut scores[position..]);
        position += block.tokens();
    }
    let mut first = 0;
    for member in &cluster.members {
        let count = member.tokens * heads.group;
        let shape = (member.visible().div_ceil(PANEL), stride);
        let keys = member.block.key(heads, layer, kv);
        let to = &mut scores[first * stride + cluster.above..];
        panel_scores(heads, count, shape, &query[first * heads.padded()..], keys, to);
        first += count;
    }
}

/// Turns scores into exponentials and keeps one over the sum of each row.
fn normalise(heads: &Heads, cluster: &Cluster, stride: usize, scratch: &mut AttentionScratch) {
    let visible = cluster
        .members
        .iter()
        .flat_map(|member| member.first..member.visible())
        .flat_map(|own| std::iter::repeat_n(cluster.above + own + 1, heads.group));
    scratch.inverse.clear();
    for (row, visible) in scratch.scores.chunks_exact_mut(stride).zip(visible) {
        scratch.inverse.push(1.0 / softmax_numerators(row, visible, heads.scale));
    }
}

/// Weighted sums of the values: one chain per output, shared path first, own step last.
fn values(
    heads: &Heads,
    (layer, kv): (usize, usize),
    cluster: &Cluster,
    (rows, stride): (usize, usize),
    scratch: &mut AttentionScratch,
) {
    let AttentionScratch { scores, out, .. } = scratch;
    let mut position = 0;
    for Node { block, .. } in cluster.path.iter().map(AsRef::as_ref) {
        let (shape, rows) = ((rows, stride), block.value(heads, layer, kv));
        let weights = &scores[position..];
        value_tile(heads, shape, block.tokens(), weights, rows, out, position > 0);
        position += block.tokens();
    }
    let mut first = 0;
    for member in &cluster.members {
        let count = member.tokens * heads.group;
        let (shape, rows) = ((count, stride), member.block.value(heads, layer, kv));
        let weights = &scores[first * stride + cluster.above..];
        let out = &mut out[first * heads.padded()..];
        value_tile(heads, shape, member.visible(), weights, rows, out, cluster.above > 0);
        first += count;
    }
}
