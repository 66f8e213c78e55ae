//! The arithmetic of attention, shared by the packed forest and the decoder.
//!
//! A score is one chain over the head, so it does not depend on where its key lies; an output is
//! one chain over the path's positions, continued from block to block.

use crate::{
    config::Config,
    kernel::{PANEL, Tile},
};

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
}

/// `scores[row][position] = query[row] · key[position]` for `rows` padded queries over whole panels
/// of keys, `stride` of them; `stride` is also the length of a score row.
pub(crate) fn score_tile(
    heads: &Heads,
    (rows, stride): (usize, usize),
    query: &[f32],
    key_panels: &[f32],
    scores: &mut [f32],
) {
    panel_scores(heads, rows, (stride / PANEL, stride), query, key_panels, scores);
}

/// As [`score_tile`] with the number of panels and the length of a score row apart.
pub(crate) fn panel_scores(
    heads: &Heads,
    rows: usize,
    (panels, stride): (usize, usize),
    query: &[f32],
    key_panels: &[f32],
    scores: &mut [f32],
) {
    let tile = Tile {
        rows,
        panels,
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
    tile.run(query, key_panels, scores);
}

/// `out[row] (+)= Σ weight[row][position] * value[position]` over `keys` positions; `out` rows
/// are padded.
pub(crate) fn value_tile(
    heads: &Heads,
    (rows, stride): (usize, usize),
    keys: usize,
    weights: &[f32],
    value_rows: &[f32],
    out: &mut [f32],
    accumulate: bool,
) {
    let tile = Tile {
        rows,
        panels: heads.padded() / PANEL,
        inner: keys,
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
    tile.run(weights, value_rows, out);
}
