//! The three matrix products of a linear layer, all through the one tile kernel.

use super::tile::{PANEL, Tile};

/// A matrix `[rows, columns]` as panels `[rows / PANEL][columns][PANEL]`.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Panels<'_> {
    pub(crate) fn panels(&self) -> usize {
        self.rows.div_ceil(PANEL)
    }
}

/// Rows that one tile of any vector unit can hold.
const TILE_ROWS: usize = 12;
/// Rows that pass a panel while it lies in the near caches.
const ROW_BLOCK: usize = 192;

/// `y[m][n] = Σₖ x[m][k] w[n][k]`; `x` is `[M, k]`, `y` is `[M, n]`.
pub(crate) fn product(x: &[f32], w: Panels, y: &mut [f32]) {
    let (n, k) = (w.rows, w.columns);
    assert_eq!(x.len() / k, y.len() / n, "rows of input and output");
    for (x, y) in x.chunks(ROW_BLOCK * k).zip(y.chunks_mut(ROW_BLOCK * n)) {
        product_block(x, w, y);
    }
}

fn product_block(x: &[f32], w: Panels, y: &mut [f32]) {
    let (n, k) = (w.rows, w.columns);
    let rows = x.len() / k;
    let whole = n / PANEL;
    // Few rows run through several panels at once; many rows reuse one panel.
    let at_once = if rows <= 6 { whole.max(1) } else { 1 };
    let tile = Tile {
        rows,
        panels: at_once,
        inner: k,
        outer: 1,
        left_row: k,
        left_step: 1,
        left_outer: 0,
        right_step: PANEL,
        right_panel: k * PANEL,
        out_row: n,
        out_panel: PANEL,
        accumulate: false,
    };
    let mut panel = 0;
    while panel < whole {
        let tile = Tile { panels: at_once.min(whole - panel), ..tile };
        tile.run(x, &w.data[panel * k * PANEL..], &mut y[panel * PANEL..]);
        panel += tile.panels;
    }
    let edge = n - whole * PANEL;
    if edge > 0 {
        let mut padded = [0.0; TILE_ROWS * PANEL];
        let right = &w.data[whole * k * PANEL..];
        for first in (0..rows).step_by(TILE_ROWS) {
            let rows = TILE_ROWS.min(rows - first);
            let tile = Tile { rows, panels: 1, out_row: PANEL, ..tile };
            tile.run(&x[first * k..], right, &mut padded);
            for (row, values) in padded.chunks_exact(PANEL).take(rows).enumerate() {
                let to = (first + row) * n + whole * PANEL;
                y[to..to + edge].copy_from_slice(&values[..edge]);
            }
        }
    }
}

/// Transposed copies that the gradient by the input needs; reusable.
#[derive(Default)]
pub(crate) struct GradientScratch {
    /// `[groups][n of a block][PANEL rows]`
    output: super::Buffer,
    /// `[groups][k][PANEL rows]`
    input: super::Buffer,
    /// `[rows of a block][PANEL]`
    pack: super::Buffer,
}

/// Panels of weights whose output gradients are transposed at a time.
const PANEL_BLOCK: usize = 16;
/// Groups of `PANEL` rows that share one pass over the weights.
const GROUPS: usize = 4;

/// `dx[m][k] += Σₙ dy[m][n] w[n][k]`, lanes over the rows `m`.
pub(crate) fn product_grad_input(
    dy: &[f32],
    w: Panels,
    dx: &mut [f32],
    scratch: &mut GradientScratch,
) {
    let (n, k) = (w.rows, w.columns);
    assert_eq!(dy.len() / n, dx.len() / k, "rows of both gradients");
    let block = GROUPS * PANEL;
    for (dy, dx) in dy.chunks(block * n).zip(dx.chunks_mut(block * k)) {
        grad_input_block(dy, w, dx, scratch);
    }
}

fn grad_input_block(dy: &[f32], w: Panels, dx: &mut [f32], scratch: &mut GradientScratch) {
    let (n, k) = (w.rows, w.columns);
    let rows = dy.len() / n;
    let groups = rows.div_ceil(PANEL);
    let most = PANEL_BLOCK * PANEL;
    scratch.output.reserve(groups * most * PANEL);
    scratch.input.reserve(groups * k * PANEL);
    for panel in (0..w.panels()).step_by(PANEL_BLOCK) {
        let panels = PANEL_BLOCK.min(w.panels() - panel);
        let first = panel * PANEL;
        let width = (panels * PANEL).min(n - first);
        for group in 0..groups {
            let to = &mut scratch.output[group * most * PANEL..][..panels * PANEL * PANEL];
            let rows = PANEL.min(rows - group * PANEL);
            super::transpose_in(&dy[group * PANEL * n + first..], n, rows, width, to);
        }
        let tile = Tile {
            rows: 0,
            panels: 1,
            inner: PANEL,
            outer: panels,
            left_row: PANEL,
            left_step: 1,
            left_outer: k * PANEL,
            right_step: PANEL,
            right_panel: 0,
            out_row: PANEL,
            out_panel: 0,
            accumulate: panel > 0,
        };
        for column in (0..k).step_by(TILE_ROWS) {
            let tile = Tile { rows: TILE_ROWS.min(k - column), ..tile };
            let left = &w.data[(panel * k + column) * PANEL..];
            for group in 0..groups {
                let right = &scratch.output[group * most * PANEL..];
                tile.run(left, right, &mut scratch.input[(group * k + column) * PANEL..]);
            }
        }
    }
    for group in 0..groups {
        let rows = PANEL.min(rows - group * PANEL);
        let from = &scratch.input[group * k * PANEL..][..k * PANEL];
        super::transpose_add(from, k, rows, &mut dx[group * PANEL * k..]);
    }
}

/// Rows of one pass of the gradient by the weights: its packed panel fills half of the first
/// cache.
const CHAIN_BLOCK: usize = 192;

/// `dw[n][k] += Σₘ dy[m][n] x[m][k]` for the panels from `first` on that `dw` holds.
///
/// The chain of each weight runs over `m` ascending and continues from the value in `dw`.
pub(crate) fn product_grad_weight(
    (dy, n): (&[f32], usize),
    (x, k): (&[f32], usize),
    first: usize,
    dw: &mut [f32],
    scratch: &mut GradientScratch,
) {
    assert_eq!(dy.len() / n, x.len() / k, "rows of gradient and input");
    scratch.pack.reserve(CHAIN_BLOCK * PANEL);
    for (dy, x) in dy.chunks(CHAIN_BLOCK * n).zip(x.chunks(CHAIN_BLOCK * k)) {
        let rows = x.len() / k;
        for (index, dw) in dw.chunks_exact_mut(k * PANEL).enumerate() {
            let column = (first + index) * PANEL;
            let width = PANEL.min(n - column);
            for (row, lanes) in scratch.pack.chunks_exact_mut(PANEL).take(rows).enumerate() {
                let from = &dy[row * n + column..][..width];
                // A copy of known length is two moves; of unknown length it is a call.
                if let (Some(lanes), Some(from)) =
                    (lanes.first_chunk_mut::<PANEL>(), from.first_chunk::<PANEL>())
                {
                    *lanes = *from;
                } else {
                    lanes[..width].copy_from_slice(from);
                    lanes[width..].fill(0.0);
                }
            }
            let tile = Tile {
                rows: k,
                panels: 1,
                inner: rows,
                outer: 1,
                left_row: 1,
                left_step: k,
                left_outer: 0,
                right_step: PANEL,
                right_panel: 0,
                out_row: PANEL,
                out_panel: 0,
                accumulate: true,
            };
            tile.run(x, &scratch.pack, dw);
        }
    }
}
