//! Attention of decoding rows over the steps of their paths.
//!
//! Rows whose paths have a step in common pass over its keys together: one product, not one per
//! row. The chains are those of the packed forest (INV-5): a score per key, then one chain over
//! the path's positions that is continued from step to step.

use std::{ops::Range, sync::Arc};

use super::{block::Keys, prefix::Node, row::Growing};
use crate::{
    attention::{Heads, Queries, pack, score_stride, score_tile, value_tile},
    kernel::{Buffer, PANEL, Rectangle, softmax_numerators},
};

/// Consecutive tokens of one growing step that query together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Index of the growing step.
    pub(super) step: usize,
    /// First row of the batch.
    pub(super) row: usize,
    pub(super) tokens: usize,
    /// Where the first row's token lies in the growing step.
    pub(super) first: usize,
}

impl Member {
    /// Tokens of the own step that the last row sees.
    fn visible(&self) -> usize {
        self.first + self.tokens
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
    /// Path positions of each member that are done.
    position: Vec<usize>,
}

/// Cuts a batch in members, and these in clusters: runs of members (as a range of their indices)
/// that share at least the first step of their paths, `most` tokens or fewer. `pieces` are runs
/// of tokens in the order of the batch. Smaller clusters serve more threads; larger ones read
/// fewer keys. The cut changes no bit.
pub(super) fn clusters(
    growing: &[&mut Growing],
    pieces: impl Iterator<Item = Member>,
    most: usize,
    members: &mut Vec<Member>,
    clusters: &mut Vec<Range<usize>>,
) {
    members.clear();
    clusters.clear();
    let mut room = 0;
    for piece in pieces {
        for done in (0..piece.tokens).step_by(most) {
            let tokens = most.min(piece.tokens - done);
            let (row, first) = (piece.row + done, piece.first + done);
            let next = members.len();
            let shared = members.last().is_some_and(|last: &Member| {
                let [left, right] = [last.step, piece.step].map(|step| growing[step].path.first());
                last.step == piece.step || left.is_some() && same(left, right)
            });
            match clusters.last_mut() {
                Some(last) if shared && tokens <= room => {
                    last.end += 1;
                    room -= tokens;
                }
                _ => {
                    clusters.push(next..next + 1);
                    room = most - tokens;
                }
            }
            members.push(Member { row, tokens, first, ..piece });
        }
    }
}

fn same(left: Option<&Arc<Node>>, right: Option<&Arc<Node>>) -> bool {
    match (left, right) {
        (Some(left), Some(right)) => Arc::ptr_eq(left, right),
        (None, None) => true,
        _ => false,
    }
}

/// Attention of one cluster in one layer and key head. `query` is `[rows][query_width]` of the
/// batch; `out` has the cluster's rows and the head's columns.
pub(super) fn attend(
    heads: &Heads,
    at: (usize, usize),
    growing: &[&mut Growing],
    members: &[Member],
    query: &[f32],
    scratch: &mut AttentionScratch,
    out: &mut Rectangle,
) {
    let keys = members.iter().map(|member| growing[member.step].above + member.visible()).max();
    // A step's last panel may write past its last token; the next step overwrites that.
    let stride = score_stride(keys.unwrap_or(0)) + PANEL;
    let rows = members.iter().map(|member| member.tokens).sum::<usize>() * heads.group;
    scratch.query.reserve(rows * heads.padded());
    scratch.out.reserve(rows * heads.padded());
    scratch.scores.reserve(rows * stride);
    let width = heads.query_width();
    let own = members.iter().flat_map(|member| member.row..member.row + member.tokens);
    let own = own.map(|row| &query[row * width..(row + 1) * width]);
    pack(heads, at.1, own, &mut scratch.query);
    let AttentionScratch { query, scores, out: sums, inverse, position } = scratch;
    each_step(heads, at, (growing, members), position, |step, keys| {
        let Shared { first, queries, position } = step;
        let (query, size) = (&query[first * heads.padded()..], (keys.tokens, stride));
        let scores = &mut scores[first * stride + position..];
        score_tile(heads, queries, size, query, keys.key, scores);
    });
    inverse.clear();
    let mut rows = scores.chunks_exact_mut(stride);
    for member in members {
        let above = growing[member.step].above;
        for (row, scores) in (0..member.tokens * heads.group).zip(&mut rows) {
            let scores = &mut scores[..above + member.visible()];
            let seen = above + member.first + row / heads.group + 1;
            inverse.push(1.0 / softmax_numerators(scores, seen, heads.scale));
        }
    }
    each_step(heads, at, (growing, members), position, |step, keys| {
        let Shared { first, queries, position } = step;
        let (weights, size) = (&scores[first * stride + position..], (keys.tokens, stride));
        let sums = &mut sums[first * heads.padded()..];
        value_tile(heads, queries, size, weights, keys.value, sums, position > 0);
    });
    let mut sums = sums.chunks_exact(heads.padded()).zip(&*inverse);
    for row in 0..out.rows() {
        for (to, (from, inverse)) in out.row(row).chunks_exact_mut(heads.dim).zip(&mut sums) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * inverse);
        }
    }
}

/// Query rows that pass over the same keys.
struct Shared {
    /// First query row of the cluster.
    first: usize,
    queries: Queries,
    /// Path position of the first key.
    position: usize,
}

/// Visits keys in the order of every path: each step above once for all members that share it,
/// then the members' own steps.
fn each_step(
    heads: &Heads,
    at: (usize, usize),
    (growing, members): (&[&mut Growing], &[Member]),
    position: &mut Vec<usize>,
    mut visit: impl FnMut(Shared, Keys),
) {
    position.clear();
    position.resize(members.len(), 0);
    let deepest = members.iter().map(|member| growing[member.step].path.len()).max();
    for depth in 0..deepest.unwrap_or(0) {
        let node = |member: &Member| growing[member.step].path.get(depth);
        let (mut from, mut first) = (0, 0);
        for run in members.chunk_by(|left, right| same(node(left), node(right))) {
            let rows = run.iter().map(|member| member.tokens).sum::<usize>() * heads.group;
            if let Some(node) = node(&run[0]) {
                for keys in node.block.keys(heads, at) {
                    let queries = Queries { rows, position: keys.tokens };
                    visit(Shared { first, queries, position: position[from] + keys.first }, keys);
                }
                position[from..from + run.len()].iter_mut().for_each(|p| *p += node.block.tokens());
            }
            from += run.len();
            first += rows;
        }
    }
    let mut first = 0;
    for (member, above) in members.iter().zip(position) {
        let rows = member.tokens * heads.group;
        for keys in growing[member.step].block.keys(heads, at) {
            // Rows of tokens before this chunk do not see it.
            let skipped = keys.first.saturating_sub(member.first) * heads.group;
            if keys.first < member.visible() && skipped < rows {
                let own = member.first.max(keys.first) - keys.first;
                let queries = Queries { rows: rows - skipped, position: own };
                let tokens = keys.tokens.min(member.visible() - keys.first);
                let position = *above + keys.first;
                let keys = Keys { tokens, ..keys };
                visit(Shared { first: first + skipped, queries, position }, keys);
            }
        }
        first += rows;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, Family},
        decode::{block::Block, prefix::Prefix},
        testing::{noise, tiny},
    };

    /// Keys and values of `more` tokens, then `more` again: several chunks.
    fn block(config: &Config, stream: u64, more: &[usize]) -> Block {
        let heads = Heads::new(config);
        let mut block = Block::new(config);
        for more in more {
            block.grow(&heads, *more);
        }
        let width = heads.kv_width();
        for token in 0..block.tokens() {
            let row = |kind: u64| -> Vec<f32> {
                (0..width).map(|i| noise(stream + kind, token * width + i)).collect()
            };
            (0..config.layers).for_each(|layer| {
                block.write(&heads, layer, token, &row(0), &row(1));
            });
        }
        block
    }

    fn step(config: &Config, stream: u64, path: &[&Arc<Node>], more: &[usize]) -> Growing {
        let path: Vec<Arc<Node>> = path.iter().map(|node| Arc::clone(node)).collect();
        let above = path.iter().map(|node| node.block.tokens()).sum();
        Growing { path, above, block: block(config, stream, more), stream: Vec::new() }
    }

    /// Path, tokens of the own step as it grew, how many of its last ones query.
    type Row<'a> = (&'a [&'a Arc<Node>], &'a [usize], usize);

    #[test]
    fn a_cut_in_clusters_changes_no_bit() {
        let config = tiny(Family::Llama);
        let heads = Heads::new(&config);
        let node = |stream, parent: Option<&Arc<Node>>, tokens| {
            let parent = parent.map(|parent| Prefix(Arc::clone(parent)));
            let block = block(&config, stream, &[tokens]);
            Arc::new(Node { parent, block, total: 0, stream: Vec::new() })
        };
        let root = node(10, None, 70);
        let (left, right) = (node(20, Some(&root), 33), node(30, Some(&root), 5));
        let rows: [Row; 7] = [
            (&[&root, &left], &[30, 50], 45),
            (&[&root, &left], &[3], 1),
            (&[&root, &right], &[1], 1),
            (&[&root, &right], &[20, 20], 40),
            (&[&root], &[2], 2),
            (&[], &[10, 30], 40),
            (&[], &[1], 1),
        ];
        let stream = |index: usize| 100 + 10 * index as u64;
        let mut steps: Vec<Growing> = rows
            .iter()
            .enumerate()
            .map(|(index, (path, more, _))| step(&config, stream(index), path, more))
            .collect();
        let growing: Vec<&mut Growing> = steps.iter_mut().collect();
        let count: usize = rows.iter().map(|(.., tokens)| tokens).sum();
        let width = heads.query_width();
        let query: Vec<f32> = (0..count * width).map(|index| noise(1, index)).collect();
        let run = |most| {
            let (mut members, mut cut, mut row) = (Vec::new(), Vec::new(), 0);
            let pieces = rows.iter().enumerate().map(|(index, (_, more, tokens))| {
                row += tokens;
                let first = more.iter().sum::<usize>() - tokens;
                Member { step: index, row: row - tokens, tokens: *tokens, first }
            });
            clusters(&growing, pieces, most, &mut members, &mut cut);
            let mut scratch = AttentionScratch::default();
            let mut out = vec![0.0_f32; count * width];
            let mut rest = Rectangle::new(&mut out, width);
            for cluster in &cut {
                let members = &members[cluster.clone()];
                let mut own = rest.take_rows(members.iter().map(|member| member.tokens).sum());
                for kv in 0..heads.kv {
                    let mut to = own.take_columns(heads.group * heads.dim);
                    attend(&heads, (1, kv), &growing, members, &query, &mut scratch, &mut to);
                }
            }
            (cut.len(), out.into_iter().map(f32::to_bits).collect::<Vec<u32>>())
        };
        let (alone, expected) = run(1);
        assert_eq!(alone, count, "every row is a cluster of its own");
        assert!(expected.iter().all(|bits| f32::from_bits(*bits) != 0.0), "all rows are written");
        for most in [2, 5, 48, 200] {
            let (fewer, bits) = run(most);
            assert!(fewer < alone && bits == expected, "{most} tokens at most, {fewer} clusters");
        }
    }
}
