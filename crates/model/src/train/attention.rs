//! Tree attention over a packed forest: one unit of work is one tree and one key head.
//!
//! Keys and values lie in a buffer indexed by path position. In depth-first order a segment
//! overwrites the positions from its own first one on, and the positions before are its
//! ancestors': the path is contiguous, nothing is copied twice, and a path inside a tree is the
//! same bytes as the path alone (INV-5).

use super::forest::{Forest, Segment, Tree};
use crate::{
    attention::{Heads, score_tile, value_tile},
    kernel::{Buffer, PANEL, scale, softmax_numerators},
};

/// Query rows that share one pass over the keys.
pub(super) const QUERY_BLOCK: usize = 48;

/// Rotated queries, keys and values of all rows, `[N][width]`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) query: &'a [f32],
    pub(super) key: &'a [f32],
    pub(super) value: &'a [f32],
}

/// Buffers of one worker, indexed by path position where not said otherwise.
#[derive(Default)]
pub(super) struct PathScratch {
    /// `[path / PANEL][head_dim][PANEL]`
    pub(super) key_panels: Buffer,
    /// `[path][padded head_dim]`
    pub(super) value_rows: Buffer,
    /// `[query rows][padded head_dim]`
    pub(super) query: Buffer,
    /// `[query rows][path]`
    pub(super) scores: Buffer,
    /// `[query rows][padded head_dim]`
    pub(super) out: Buffer,
    /// One over the sum of each query row's exponentials.
    pub(super) inverse: Vec<f32>,
}

impl PathScratch {
    pub(super) fn reserve(&mut self, heads: &Heads, path: usize) {
        let path = path.next_multiple_of(PANEL);
        let rows = QUERY_BLOCK.max(heads.group);
        self.key_panels.reserve(path * heads.dim);
        self.value_rows.reserve(path * heads.padded());
        self.query.reserve(rows * heads.padded());
        self.scores.reserve(rows * path);
        self.out.reserve(rows * heads.padded());
        self.inverse.resize(rows, 0.0);
    }

    /// Writes a segment's keys and values of head `kv` at their path positions.
    pub(super) fn load(&mut self, heads: &Heads, kv: usize, rows: Rows, segment: &Segment) {
        for row in segment.begin..segment.end {
            let position = segment.position + row - segment.begin;
            let from = row * heads.kv_width() + kv * heads.dim;
            let key = &rows.key[from..from + heads.dim];
            let value = &rows.value[from..from + heads.dim];
            lane_write(&mut self.key_panels, position, key);
            let to = position * heads.padded();
            self.value_rows[to..to + heads.dim].copy_from_slice(value);
        }
    }

    /// Numerators of the softmax of each packed query, and the inverse of their sums. Returns
    /// the stride of the score rows.
    pub(super) fn attend(&mut self, heads: &Heads, tokens: usize, position: usize) -> usize {
        let rows = tokens * heads.group;
        let stride = (position + tokens).next_multiple_of(PANEL);
        score_tile(heads, (rows, stride), &self.query, &self.key_panels, &mut self.scores);
        for row in 0..rows {
            let visible = position + row / heads.group + 1;
            let scores = &mut self.scores[row * stride..(row + 1) * stride];
            self.inverse[row] = 1.0 / softmax_numerators(scores, visible, heads.scale);
        }
        stride
    }
}

/// Copies rows `begin..end` of the query heads that share key head `kv`, token by token and head
/// by head, to padded rows.
pub(super) fn pack(
    heads: &Heads,
    kv: usize,
    rows: &[f32],
    (begin, end): (usize, usize),
    out: &mut [f32],
) {
    let width = heads.group * heads.dim;
    let mut out = out.chunks_exact_mut(heads.padded());
    for row in rows.chunks_exact(heads.query_width()).take(end).skip(begin) {
        let own = row[kv * width..(kv + 1) * width].chunks_exact(heads.dim);
        for (head, to) in own.zip(&mut out) {
            to[..heads.dim].copy_from_slice(head);
        }
    }
}

/// Writes `values` to lane `position % PANEL` of panel `position / PANEL`.
pub(super) fn lane_write(panels: &mut [f32], position: usize, values: &[f32]) {
    let lane = position / PANEL * PANEL * values.len() + position % PANEL;
    for (to, value) in panels[lane..].iter_mut().step_by(PANEL).zip(values) {
        *to = *value;
    }
}

/// Row ranges of a segment whose queries are handled together.
pub(super) fn query_blocks(heads: &Heads, segment: &Segment) -> Vec<(usize, usize)> {
    let tokens = (QUERY_BLOCK / heads.group).max(1);
    let begins = (segment.begin..segment.end).step_by(tokens);
    begins.map(|begin| (begin, (begin + tokens).min(segment.end))).collect()
}

/// Attention of one tree and one key head; `out` is `[rows of the tree][group * head_dim]`.
pub(super) fn attend_tree(
    heads: &Heads,
    kv: usize,
    rows: Rows,
    (forest, tree): (&Forest, &Tree),
    scratch: &mut PathScratch,
    out: &mut [f32],
) {
    scratch.reserve(heads, tree.longest);
    let width = heads.group * heads.dim;
    for segment in &forest.segments[tree.first..tree.last] {
        scratch.load(heads, kv, rows, segment);
        for (begin, end) in query_blocks(heads, segment) {
            let position = segment.position + begin - segment.begin;
            let tokens = end - begin;
            pack(heads, kv, rows.query, (begin, end), &mut scratch.query);
            let stride = scratch.attend(heads, tokens, position);
            let queries = tokens * heads.group;
            let keys = position + tokens;
            let (scores, values) = (&scratch.scores, &scratch.value_rows);
            value_tile(heads, (queries, stride), keys, scores, values, &mut scratch.out, false);
            let to = &mut out[(begin - tree.begin) * width..(end - tree.begin) * width];
            let from = scratch.out.chunks_exact(heads.padded()).zip(&scratch.inverse);
            for (to, (from, inverse)) in to.chunks_exact_mut(heads.dim).zip(from) {
                to.copy_from_slice(&from[..heads.dim]);
                scale(to, *inverse);
            }
        }
    }
}
