//! The gradient of tree attention, segment by segment from the last to the first.
//!
//! In that order a segment's own keys have collected the gradients of all its descendants when
//! its turn comes, so its positions can be written out and zeroed for the sibling before it.

use super::{
    attention::{PathScratch, QUERY_BLOCK, Rows, lane_write, pack, query_blocks},
    forest::{Forest, Segment, Tree},
};
use crate::{
    attention::{Heads, score_tile, value_tile},
    kernel::{Buffer, PANEL, Tile, dot, softmax_grad},
};

/// Rows of the forward that the gradient reads, `[N][width]`.
#[derive(Clone, Copy)]
pub(super) struct GradRows<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) attended: &'a [f32],
    pub(super) d_attended: &'a [f32],
}

/// Gradients of one tree and key head, `[rows of the tree][width]`.
pub(super) struct HeadGradients<'a> {
    pub(super) query: &'a mut [f32],
    pub(super) key: &'a mut [f32],
    pub(super) value: &'a mut [f32],
}

/// Buffers of one worker beside those of the forward.
#[derive(Default)]
pub(super) struct PathGradScratch {
    /// `[path / PANEL][head_dim][PANEL]`
    value_panels: Buffer,
    /// `[path][padded head_dim]` each
    key_rows: Buffer,
    d_key: Buffer,
    d_value: Buffer,
    /// `[query rows][padded head_dim]` each
    d_out: Buffer,
    d_query: Buffer,
    /// `[query rows][path]`
    d_scores: Buffer,
    /// Segments whose keys lie in the path buffers, from the root on.
    loaded: Vec<usize>,
}

impl PathGradScratch {
    fn reserve(&mut self, heads: &Heads, path: usize) {
        let path = path.next_multiple_of(PANEL);
        let rows = QUERY_BLOCK.max(heads.group);
        self.value_panels.reserve(path * heads.dim);
        for rows_of_path in [&mut self.key_rows, &mut self.d_key, &mut self.d_value] {
            rows_of_path.reserve(path * heads.padded());
        }
        self.d_out.reserve(rows * heads.padded());
        self.d_query.reserve(rows * heads.padded());
        self.d_scores.reserve(rows * path);
        self.d_key[..path * heads.padded()].fill(0.0);
        self.d_value[..path * heads.padded()].fill(0.0);
        self.loaded.clear();
    }

    /// Puts the path of segment `index` into the buffers; what is loaded is a path to an ancestor.
    fn load_path(
        &mut self,
        (heads, kv): (&Heads, usize),
        rows: Rows,
        (forest, index): (&Forest, usize),
        path: &mut PathScratch,
    ) {
        let known = self.loaded.len();
        let mut walk = Some(index);
        while walk != self.loaded[..known].last().copied() {
            let Some(segment) = walk else { unreachable!("the loaded path is one of ancestors") };
            self.loaded.push(segment);
            walk = forest.segments[segment].parent;
        }
        self.loaded[known..].reverse();
        for at in known..self.loaded.len() {
            let segment = &forest.segments[self.loaded[at]];
            path.load(heads, kv, rows, segment);
            for row in segment.begin..segment.end {
                let position = segment.position + row - segment.begin;
                let from = row * heads.kv_width() + kv * heads.dim;
                lane_write(&mut self.value_panels, position, &rows.value[from..from + heads.dim]);
                let to = position * heads.padded();
                self.key_rows[to..to + heads.dim]
                    .copy_from_slice(&rows.key[from..from + heads.dim]);
            }
        }
    }

    /// Gradients of one block of queries; `begin..end` are rows of `segment`.
    fn block(
        &mut self,
        (heads, kv): (&Heads, usize),
        from: GradRows,
        (segment, begin, end): (&Segment, usize, usize),
        path: &mut PathScratch,
    ) {
        let position = segment.position + begin - segment.begin;
        let (tokens, keys) = (end - begin, position + end - begin);
        let queries = tokens * heads.group;
        pack(heads, kv, from.rows.query, (begin, end), &mut path.query);
        pack(heads, kv, from.d_attended, (begin, end), &mut self.d_out);
        let stride = path.attend(heads, tokens, position);
        let shape = (queries, stride);
        score_tile(heads, shape, &self.d_out, &self.value_panels, &mut self.d_scores);
        // Σ p dp of a query is its output times the gradient of its output.
        pack(heads, kv, from.attended, (begin, end), &mut path.out);
        for row in 0..queries {
            let head = row * heads.padded()..row * heads.padded() + heads.dim;
            let mean = dot(&path.out[head.clone()], &self.d_out[head]);
            let scores = &mut path.scores[row * stride..(row + 1) * stride];
            let d_scores = &mut self.d_scores[row * stride..(row + 1) * stride];
            softmax_grad(scores, path.inverse[row], d_scores, mean, heads.scale);
        }
        let (d_scores, d_query) = (&self.d_scores, &mut self.d_query);
        value_tile(heads, shape, keys, d_scores, &self.key_rows, d_query, false);
        per_key(heads, shape, keys, &self.d_scores, &path.query, &mut self.d_key);
        per_key(heads, shape, keys, &path.scores, &self.d_out, &mut self.d_value);
    }
}

/// `out[position] += Σ weight[row][position] * rows[row]` over the query rows.
fn per_key(
    heads: &Heads,
    (rows, stride): (usize, usize),
    keys: usize,
    weights: &[f32],
    from: &[f32],
    out: &mut [f32],
) {
    let tile = Tile {
        rows: keys,
        panels: heads.padded() / PANEL,
        inner: rows,
        outer: 1,
        left_row: 1,
        left_step: stride,
        left_outer: 0,
        right_step: heads.padded(),
        right_panel: PANEL,
        out_row: heads.padded(),
        out_panel: PANEL,
        accumulate: true,
    };
    tile.run(weights, from, out);
}

/// Gradients of attention of one tree and one key head.
pub(super) fn attend_tree_grad(
    (heads, kv): (&Heads, usize),
    from: GradRows,
    (forest, tree): (&Forest, &Tree),
    (path, scratch): (&mut PathScratch, &mut PathGradScratch),
    out: &mut HeadGradients,
) {
    path.reserve(heads, tree.longest);
    scratch.reserve(heads, tree.longest);
    let width = heads.group * heads.dim;
    for index in (tree.first..tree.last).rev() {
        scratch.load_path((heads, kv), from.rows, (forest, index), path);
        let segment = &forest.segments[index];
        for (begin, end) in query_blocks(heads, segment) {
            scratch.block((heads, kv), from, (segment, begin, end), path);
            let to = &mut out.query[(begin - tree.begin) * width..(end - tree.begin) * width];
            let rows = scratch.d_query.chunks_exact(heads.padded());
            for (to, row) in to.chunks_exact_mut(heads.dim).zip(rows) {
                to.copy_from_slice(&row[..heads.dim]);
            }
        }
        // The descendants are done and so are the own queries: nothing more reaches these keys.
        let own = segment.position * heads.padded()..segment.path() * heads.padded();
        let to = (segment.begin - tree.begin) * heads.dim..(segment.end - tree.begin) * heads.dim;
        flush(heads, &mut scratch.d_key[own.clone()], &mut out.key[to.clone()]);
        flush(heads, &mut scratch.d_value[own], &mut out.value[to]);
        scratch.loaded.pop();
    }
}

/// Moves padded rows to `out` and leaves zeros.
fn flush(heads: &Heads, rows: &mut [f32], out: &mut [f32]) {
    for (to, row) in out.chunks_exact_mut(heads.dim).zip(rows.chunks_exact(heads.padded())) {
        to.copy_from_slice(&row[..heads.dim]);
    }
    rows.fill(0.0);
}
