//! The arithmetic of attention, shared by the packed forest and the decoder.
//!
//! A score is one chain over the head, so it does not depend on where its key lies; an output is
//! one chain over the path's positions, continued from block to block.

use crate::{
    config::Config,
    kernel::{LANES, PANEL, Tile},
};

/// Query rows that share one pass over the keys.
pub(crate) const QUERY_BLOCK: usize = 96;
/// Query rows that stop at the same key: one tile of registers holds them.
const PIECE_ROWS: usize = 12;
/// Keys that gather from the same query rows.
const KEY_ROWS: usize = 24;

/// Sizes of the heads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) kv: usize,
    /// Query heads per key head.
    pub(crate) group: usize,
    pub(crate) dim: usize,
    /// Multiplies scores: `1 / sqrt(dim)`.
    pub(crate) scale: f32,
}

impl Heads {
    pub(crate) fn new(config: &Config) -> Self {
        let scale = (1.0 / (config.head_dim as f64).sqrt()) as f32;
        Self { kv: config.kv_heads, group: config.group(), dim: config.head_dim, scale }
    }

    /// Width of a value row: whole panels.
    pub(crate) fn padded(&self) -> usize {
        self.dim.next_multiple_of(PANEL)
    }

    pub(crate) fn query_width(&self) -> usize {
        self.kv * self.group * self.dim
    }

    pub(crate) fn kv_width(&self) -> usize {
        self.kv * self.dim
    }

    /// Tokens whose query rows share one pass over the keys.
    pub(crate) fn tokens_at_once(&self) -> usize {
        (QUERY_BLOCK / self.group).max(1)
    }
}

/// Length of a score row of `keys` keys: whole panels and one line, because rows a power of two
/// apart would share few sets of the cache.
pub(crate) fn score_stride(keys: usize) -> usize {
    keys.next_multiple_of(PANEL) + LANES
}

/// Consecutive tokens' query rows, token by token and head by head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queries {
    pub(crate) rows: usize,
    /// Index of the first token's own key among the keys at hand: its rows see the keys up to
    /// and including this one, the next token's rows one more.
    pub(crate) position: usize,
}

impl Queries {
    /// Rows before this one do not see `key`.
    pub(crate) fn first_that_sees(&self, heads: &Heads, key: usize) -> usize {
        (key.saturating_sub(self.position) * heads.group).min(self.rows)
    }

    /// Keys that `row` sees.
    pub(crate) fn seen(&self, heads: &Heads, row: usize) -> usize {
        self.position + row / heads.group + 1
    }

    /// All rows at once where all see all `keys`, else runs of rows with what their last row sees.
    fn pieces(self, heads: &Heads, keys: usize) -> impl Iterator<Item = Piece> + use<> {
        let (heads, even) = (*heads, self.seen(heads, 0) >= keys);
        let most = if even { self.rows.max(1) } else { PIECE_ROWS };
        (0..self.rows).step_by(most).map(move |first| {
            let rows = most.min(self.rows - first);
            Piece { first, rows, keys: self.seen(&heads, first + rows - 1).min(keys) }
        })
    }
}

/// Query rows `first..first + rows` and the first `keys` keys.
struct Piece {
    first: usize,
    rows: usize,
    keys: usize,
}

/// Copies the query heads that share key head `kv` of some rows `[query_width]`, row by row and
/// head by head, to padded rows.
pub(crate) fn pack<'a>(
    heads: &Heads,
    kv: usize,
    rows: impl Iterator<Item = &'a [f32]>,
    out: &mut [f32],
) {
    let group = heads.group * heads.dim;
    let mut out = out.chunks_exact_mut(heads.padded());
    for row in rows {
        let own = row[kv * group..(kv + 1) * group].chunks_exact(heads.dim);
        for (head, to) in own.zip(&mut out) {
            to[..heads.dim].copy_from_slice(head);
        }
    }
}

/// `scores[row][key] = query[row] · key` for padded queries over whole panels of keys; panels
/// that a row does not see at all may be left alone. `stride` is the length of a score row.
pub(crate) fn score_tile(
    heads: &Heads,
    queries: Queries,
    (keys, stride): (usize, usize),
    query: &[f32],
    key_panels: &[f32],
    scores: &mut [f32],
) {
    for piece in queries.pieces(heads, keys) {
        let tile = Tile {
            rows: piece.rows,
            panels: piece.keys.div_ceil(PANEL),
            inner: heads.dim,
            outer: 1,
            left_row: heads.padded(),
            left_step: 1,
            left_outer: 0,
            right_step: PANEL,
            right_panel: heads.dim * PANEL,
            out_row: stride,
            out_panel: PANEL,
            accumulate: false,
        };
        let scores = &mut scores[piece.first * stride..];
        tile.run(&query[piece.first * heads.padded()..], key_panels, scores);
    }
}

/// `out[row] (+)= Σ weight[row][key] * value[key]` over `keys` keys; `out` rows are padded. The
/// weights of keys that a row does not see are zero.
pub(crate) fn value_tile(
    heads: &Heads,
    queries: Queries,
    (keys, stride): (usize, usize),
    weights: &[f32],
    value_rows: &[f32],
    out: &mut [f32],
    accumulate: bool,
) {
    for piece in queries.pieces(heads, keys) {
        let tile = Tile {
            rows: piece.rows,
            panels: heads.padded() / PANEL,
            inner: piece.keys,
            outer: 1,
            left_row: stride,
            left_step: 1,
            left_outer: 0,
            right_step: heads.padded(),
            right_panel: PANEL,
            out_row: heads.padded(),
            out_panel: PANEL,
            accumulate,
        };
        let out = &mut out[piece.first * heads.padded()..];
        tile.run(&weights[piece.first * stride..], value_rows, out);
    }
}

/// `out[key] += Σ weight[row][key] * rows[row]` over padded query rows, for `keys` keys. Rows that
/// do not see a key may be left out.
pub(crate) fn key_tile(
    heads: &Heads,
    queries: Queries,
    (keys, stride): (usize, usize),
    weights: &[f32],
    from: &[f32],
    out: &mut [f32],
) {
    let padded = heads.padded();
    // Every row sees the keys up to the first row's own; of the others, few at a time.
    let mut key = 0;
    while key < keys {
        let first = queries.first_that_sees(heads, key);
        let rows = if first == 0 { queries.position + 1 } else { KEY_ROWS };
        let tile = Tile {
            rows: rows.min(keys - key),
            panels: padded / PANEL,
            inner: queries.rows - first,
            outer: 1,
            left_row: 1,
            left_step: stride,
            left_outer: 0,
            right_step: padded,
            right_panel: PANEL,
            out_row: padded,
            out_panel: PANEL,
            accumulate: true,
        };
        let weights = &weights[first * stride + key..];
        tile.run(weights, &from[first * padded..], &mut out[key * padded..]);
        key += tile.rows;
    }
}
