//! Moves between rows and lanes.

use super::{level::per_level, tile::PANEL};

/// `[rows][width]` at row stride `stride` to `[width][PANEL]`; lanes past `rows` and lines past
/// `width` are zero. At most `PANEL` rows.
pub(crate) fn transpose_in(from: &[f32], stride: usize, rows: usize, width: usize, to: &mut [f32]) {
    if rows < PANEL {
        to.fill(0.0);
    } else {
        to[width * PANEL..].fill(0.0);
    }
    for (row, values) in from.chunks(stride).take(rows).enumerate() {
        for (line, value) in to.chunks_exact_mut(PANEL).zip(&values[..width]) {
            line[row] = *value;
        }
    }
}

/// Adds `[width][PANEL]` to the first `rows` rows of `[rows][width]`.
pub(crate) fn transpose_add(from: &[f32], width: usize, rows: usize, to: &mut [f32]) {
    for (row, values) in to.chunks_exact_mut(width).take(rows).enumerate() {
        for (line, value) in from.chunks_exact(PANEL).zip(values) {
            *value += line[row];
        }
    }
}

per_level! {
    /// `y += x`, elementwise.
    fn add(y: &mut [f32], x: &[f32]) {
        assert_eq!(x.len(), y.len(), "lengths");
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    }
}
