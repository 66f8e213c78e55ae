//! The gradient of tree attention, part by part, in each from the last segment to the first.
//!
//! In that order a segment's own keys have collected the gradients of all its descendants when
//! its turn comes, so its positions can be written out and zeroed for the sibling before it. What
//! a part adds to the keys of the path above it is kept apart and added in the order of the parts:
//! the sums are the same for any number of threads.

use super::{
    attention::{PathScratch, Rows, copy_rows, head_rows, run_rows},
    forest::Forest,
    parts::{Part, Run, parts, query_blocks},
};
use crate::{
    attention::{
        Heads, QUERY_BLOCK, Queries, key_tile, pack, score_stride, score_tile, value_tile,
    },
    kernel::{Buffer, PANEL, Rectangle, add, dot, softmax_grad, write_lanes},
};

/// Keys whose gradients are taken together: a block of scores stays in the near caches.
const KEY_BLOCK: usize = 256;

/// Rows of the forward that the gradient reads, `[N][width]`.
#[derive(Clone, Copy)]
pub(super) struct GradRows<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) attended: &'a [f32],
    pub(super) d_attended: &'a [f32],
}

/// Gradients of one part and key head.
pub(super) struct PartGradients<'a> {
    /// The part's rows and the head's columns of `[N][width]` each.
    pub(super) query: Rectangle<'a>,
    pub(super) key: Rectangle<'a>,
    pub(super) value: Rectangle<'a>,
    /// `[2][path above the part][head_dim]`: keys and values, see [`add_above`].
    pub(super) above: &'a mut [f32],
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
    /// `[query rows][KEY_BLOCK]`
    d_scores: Buffer,
    /// Of each query row, its output times the gradient of its output.
    mean: Vec<f32>,
    /// Segments whose keys lie in the path buffers, from the root on.
    loaded: Vec<usize>,
}

impl PathGradScratch {
    fn reserve(&mut self, heads: &Heads, path: usize) {
        let rows = QUERY_BLOCK.max(heads.group);
        self.value_panels.reserve(path.next_multiple_of(PANEL) * heads.dim);
        for rows_of_path in [&mut self.key_rows, &mut self.d_key, &mut self.d_value] {
            rows_of_path.reserve(path * heads.padded());
        }
        self.d_out.reserve(rows * heads.padded());
        self.d_query.reserve(rows * heads.padded());
        self.d_scores.reserve(rows * score_stride(KEY_BLOCK));
        self.mean.resize(rows, 0.0);
        self.d_key[..path * heads.padded()].fill(0.0);
        self.d_value[..path * heads.padded()].fill(0.0);
        self.loaded.clear();
    }

    /// Puts the path of segment `index` into the buffers; what is loaded is a path to an ancestor.
    fn load_path(
        &mut self,
        (heads, kv): (&Heads, usize),
        rows: Rows,
        (forest, part, index): (&Forest, &Part, usize),
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
        for at in &self.loaded[known..] {
            let segment = &forest.segments[*at];
            let (begin, position) = (segment.begin, segment.position);
            let run = Run { begin, end: segment.end.min(part.end), position };
            let (key, value) =
                (head_rows(heads, kv, rows.key, run), head_rows(heads, kv, rows.value, run));
            write_lanes(&mut path.key_panels, position, key);
            write_lanes(&mut self.value_panels, position, value);
            copy_rows(heads, key, run, &mut self.key_rows);
        }
    }

    /// Gradients of one block of queries.
    fn block(
        &mut self,
        (heads, kv): (&Heads, usize),
        from: GradRows,
        block: Run,
        path: &mut PathScratch,
    ) {
        let tokens = block.end - block.begin;
        let queries = Queries { rows: tokens * heads.group, position: block.position };
        pack(heads, kv, run_rows(heads, from.rows.query, block), &mut path.query);
        pack(heads, kv, run_rows(heads, from.d_attended, block), &mut self.d_out);
        pack(heads, kv, run_rows(heads, from.attended, block), &mut path.out);
        // Σ p dp of a query is its output times the gradient of its output.
        let pairs = path.out.chunks_exact(heads.padded());
        let pairs = pairs.zip(self.d_out.chunks_exact(heads.padded()));
        for (mean, (out, d_out)) in self.mean[..queries.rows].iter_mut().zip(pairs) {
            *mean = dot(&out[..heads.dim], &d_out[..heads.dim]);
        }
        let stride = path.attend(heads, queries);
        let keys = block.position + tokens;
        for first in (0..keys).step_by(KEY_BLOCK) {
            let size = (KEY_BLOCK.min(keys - first), stride);
            self.keys(heads, queries, (first, size), path);
        }
    }

    /// What the keys from `first` on add to the gradients of a block of queries, and the queries
    /// to theirs.
    fn keys(
        &mut self,
        heads: &Heads,
        queries: Queries,
        (first, (keys, stride)): (usize, (usize, usize)),
        path: &mut PathScratch,
    ) {
        let padded = heads.padded();
        // Rows before do not see these keys.
        let row = queries.first_that_sees(heads, first);
        let position = queries.position + row / heads.group - first;
        let queries = Queries { rows: queries.rows - row, position };
        let size = (keys, score_stride(KEY_BLOCK));
        let (query, d_out) = (&path.query[row * padded..], &self.d_out[row * padded..]);
        let d_query = &mut self.d_query[row * padded..];
        let values = &self.value_panels[first * heads.dim..];
        score_tile(heads, queries, size, d_out, values, &mut self.d_scores);
        let scores = &mut path.scores[row * stride + first..];
        let rows = self.d_scores.chunks_exact_mut(size.1).zip(scores.chunks_mut(stride));
        let factors = path.inverse[row..].iter().zip(&self.mean[row..]);
        let rows = rows.zip(factors).take(queries.rows).enumerate();
        for (row, ((d_scores, scores), (inverse, mean))) in rows {
            let seen = queries.seen(heads, row).min(keys);
            softmax_grad(&mut scores[..seen], *inverse, &mut d_scores[..seen], *mean, heads.scale);
            d_scores[seen..].fill(0.0);
        }
        let (d_scores, own) = (&self.d_scores[..], first * padded..(first + keys) * padded);
        let key_rows = &self.key_rows[own.clone()];
        value_tile(heads, queries, size, d_scores, key_rows, d_query, first > 0);
        key_tile(heads, queries, size, d_scores, query, &mut self.d_key[own.clone()]);
        let size = (keys, stride);
        key_tile(heads, queries, size, scores, d_out, &mut self.d_value[own]);
    }
}

/// Gradients of attention of one part and key head.
pub(super) fn attend_part_grad(
    (heads, kv): (&Heads, usize),
    from: GradRows,
    (forest, part): (&Forest, &Part),
    (path, scratch): (&mut PathScratch, &mut PathGradScratch),
    out: &mut PartGradients,
) {
    path.reserve(heads, part.longest);
    scratch.reserve(heads, part.longest);
    for index in (part.first..part.last).rev() {
        scratch.load_path((heads, kv), from.rows, (forest, part, index), path);
        let own = part.own(&forest.segments[index]);
        for block in query_blocks(heads, own) {
            scratch.block((heads, kv), from, block, path);
            let mut d_query = scratch.d_query.chunks_exact(heads.padded());
            for row in block.begin..block.end {
                let to = out.query.row(row - part.begin).chunks_exact_mut(heads.dim);
                for (to, from) in to.zip(&mut d_query) {
                    to.copy_from_slice(&from[..heads.dim]);
                }
            }
        }
        // The descendants are done and so are the own queries: the part adds no more.
        let at =
            own.position * heads.padded()..(own.position + own.end - own.begin) * heads.padded();
        let sums = [(&mut scratch.d_key, &mut out.key), (&mut scratch.d_value, &mut out.value)];
        for (sums, out) in sums {
            let rows = sums[at.clone()].chunks_exact_mut(heads.padded());
            for (row, sum) in (own.begin - part.begin..).zip(rows) {
                out.row(row).copy_from_slice(&sum[..heads.dim]);
                sum.fill(0.0);
            }
        }
        scratch.loaded.pop();
    }
    let (key, value) = out.above.split_at_mut(out.above.len() / 2);
    for (sums, out) in [(&scratch.d_key, key), (&scratch.d_value, value)] {
        let sums = sums.chunks_exact(heads.padded());
        for (to, sum) in out.chunks_exact_mut(heads.dim).zip(sums) {
            to.copy_from_slice(&sum[..heads.dim]);
        }
    }
}

/// Length of the sums of one part and key head for the path above the part.
pub(super) fn above_length(heads: &Heads, forest: &Forest, part: &Part) -> usize {
    2 * part.above(forest) * heads.dim
}

/// Adds what all parts have for the keys and values of the rows from `first` on, in the order of
/// the parts. `above` holds the sums of each part and key head, one after the other.
pub(super) fn add_above(
    heads: &Heads,
    forest: &Forest,
    above: &[f32],
    first: usize,
    (key, value): (&mut [f32], &mut [f32]),
) {
    let (width, dim) = (heads.kv_width(), heads.dim);
    let last = first + key.len() / width;
    let mut rest = above;
    for part in parts(heads, forest) {
        let length = above_length(heads, forest, &part);
        let (own, after) = rest.split_at(heads.kv * length);
        rest = after;
        for run in part.path(forest) {
            for row in run.begin.max(first)..run.end.min(last) {
                let from = (run.position + row - run.begin) * dim;
                let to = (row - first) * width;
                for (kv, own) in own.chunks_exact(length).enumerate() {
                    let (keys, values) = own.split_at(length / 2);
                    let to = to + kv * dim..to + (kv + 1) * dim;
                    add(&mut key[to.clone()], &keys[from..from + dim]);
                    add(&mut value[to], &values[from..from + dim]);
                }
            }
        }
    }
}
