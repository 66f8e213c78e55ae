//! Tree attention over a packed forest, part by part.
//!
//! Keys and values lie in a buffer indexed by path position. In depth-first order a segment
//! overwrites the positions from its own first one on, and the positions before are its
//! ancestors': the path is contiguous, and a path inside a tree is the same bytes as the path
//! alone (INV-5).

use std::slice::ChunksExact;

use super::{
    forest::Forest,
    parts::{Part, Run, query_blocks},
};
use crate::{
    attention::{Heads, QUERY_BLOCK, Queries, pack, score_stride, score_tile, value_tile},
    kernel::{Buffer, LaneRows, PANEL, Rectangle, softmax_numerators, write_lanes},
};

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
        let rows = QUERY_BLOCK.max(heads.group);
        self.key_panels.reserve(path.next_multiple_of(PANEL) * heads.dim);
        self.value_rows.reserve(path * heads.padded());
        self.query.reserve(rows * heads.padded());
        self.scores.reserve(rows * score_stride(path));
        self.out.reserve(rows * heads.padded());
        self.inverse.resize(rows, 0.0);
    }

    /// Writes the keys and values of head `kv` of a run of rows at their path positions.
    fn load(&mut self, heads: &Heads, kv: usize, rows: Rows, run: Run) {
        let key = head_rows(heads, kv, rows.key, run);
        write_lanes(&mut self.key_panels, run.position, key);
        copy_rows(heads, head_rows(heads, kv, rows.value, run), run, &mut self.value_rows);
    }

    /// Numerators of the softmax of each packed query, and the inverse of their sums. Returns
    /// the length of the score rows.
    pub(super) fn attend(&mut self, heads: &Heads, queries: Queries) -> usize {
        let keys = queries.seen(heads, queries.rows - 1);
        let stride = score_stride(keys);
        let size = (keys, stride);
        score_tile(heads, queries, size, &self.query, &self.key_panels, &mut self.scores);
        let rows = self.scores.chunks_exact_mut(stride).zip(&mut self.inverse);
        for (row, (scores, inverse)) in rows.take(queries.rows).enumerate() {
            let scores = &mut scores[..keys];
            *inverse = 1.0 / softmax_numerators(scores, queries.seen(heads, row), heads.scale);
        }
        stride
    }
}

/// One key head's rows of a run, as [`write_lanes`] takes them.
pub(super) fn head_rows<'a>(heads: &Heads, kv: usize, rows: &'a [f32], run: Run) -> LaneRows<'a> {
    let stride = heads.kv_width();
    let values = &rows[run.begin * stride + kv * heads.dim..];
    LaneRows { values, stride, dim: heads.dim, count: run.end - run.begin }
}

/// Copies one head's rows to padded rows at their path positions.
pub(super) fn copy_rows(heads: &Heads, from: LaneRows, run: Run, to: &mut [f32]) {
    let to = to[run.position * heads.padded()..].chunks_exact_mut(heads.padded());
    for (to, from) in to.zip(from.values.chunks(from.stride)).take(from.count) {
        to[..heads.dim].copy_from_slice(&from[..heads.dim]);
    }
}

/// The rows of a run, `[query_width]` each.
pub(super) fn run_rows<'a>(heads: &Heads, rows: &'a [f32], run: Run) -> ChunksExact<'a, f32> {
    let width = heads.query_width();
    rows[run.begin * width..run.end * width].chunks_exact(width)
}

/// Attention of one part and key head; `out` has the part's rows and the head's queries.
pub(super) fn attend_part(
    heads: &Heads,
    kv: usize,
    rows: Rows,
    (forest, part): (&Forest, &Part),
    scratch: &mut PathScratch,
    out: &mut Rectangle,
) {
    scratch.reserve(heads, part.longest);
    for run in part.path(forest) {
        scratch.load(heads, kv, rows, run);
    }
    for segment in &forest.segments[part.first..part.last] {
        let own = part.own(segment);
        scratch.load(heads, kv, rows, own);
        for block in query_blocks(heads, own) {
            let tokens = block.end - block.begin;
            let queries = Queries { rows: tokens * heads.group, position: block.position };
            pack(heads, kv, run_rows(heads, rows.query, block), &mut scratch.query);
            let stride = scratch.attend(heads, queries);
            let (scores, values) = (&scratch.scores, &scratch.value_rows);
            let size = (block.position + tokens, stride);
            value_tile(heads, queries, size, scores, values, &mut scratch.out, false);
            let mut from = scratch.out.chunks_exact(heads.padded()).zip(&scratch.inverse);
            for row in block.begin..block.end {
                let out = out.row(row - part.begin).chunks_exact_mut(heads.dim);
                out.zip(&mut from).for_each(|(to, (from, inverse))| times(to, from, *inverse));
            }
        }
    }
}

fn times(to: &mut [f32], from: &[f32], factor: f32) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor);
}
