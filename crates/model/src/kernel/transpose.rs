//! Turns a block of a panel so that the chain runs over its lanes, and elementwise addition.

use super::{
    buffer::Word,
    level::{Level, per_level},
    tile::PANEL,
};

/// A block of `PANEL` columns of a panel, turned.
pub(crate) trait Transpose: Word {
    /// Lines of a block: `PANEL` numbers, or half as many pairs.
    const LINES: usize;

    /// Lines of a whole panel with `columns` columns.
    fn lines(columns: usize) -> usize;

    /// From lines over the rows of the matrix, at most `LINES` of them, to `LINES` lines over its
    /// columns. Columns that are not there become zeros.
    fn transpose(from: &[Self], to: &mut [Self]);
}

impl Transpose for f32 {
    const LINES: usize = PANEL;

    fn lines(columns: usize) -> usize {
        columns
    }

    fn transpose(from: &[f32], to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        if Level::best() >= Level::Avx512 && from.len() == PANEL * PANEL {
            // SAFETY: `best` has found AVX-512; both blocks are `[PANEL][PANEL]`.
            unsafe { super::transpose_x86::block_f32(from, to) };
            return;
        }
        if from.len() < PANEL * PANEL {
            to.fill(0.0);
        }
        for (column, line) in from.chunks_exact(PANEL).enumerate() {
            for (to, value) in to.chunks_exact_mut(PANEL).zip(line) {
                to[column] = *value;
            }
        }
    }
}

impl Transpose for u32 {
    const LINES: usize = PANEL / 2;

    fn lines(columns: usize) -> usize {
        columns.div_ceil(2)
    }

    /// Of pairs along the columns to pairs along the rows.
    fn transpose(from: &[u32], to: &mut [u32]) {
        #[cfg(target_arch = "x86_64")]
        if Level::best() >= Level::Avx512 && from.len() == PANEL / 2 * PANEL {
            // SAFETY: `best` has found AVX-512; both blocks are `[PANEL / 2][PANEL]`.
            unsafe { super::transpose_x86::block_pairs(from, to) };
            return;
        }
        if from.len() < PANEL / 2 * PANEL {
            to.fill(0);
        }
        for (at, line) in from.chunks_exact(PANEL).enumerate() {
            let (rows, _) = line.as_chunks::<2>();
            for (to, [first, second]) in to.chunks_exact_mut(PANEL).zip(rows) {
                to[2 * at] = first & 0xffff | second << 16;
                to[2 * at + 1] = first >> 16 | second & 0xffff_0000;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_pairs_turn_and_missing_columns_are_zero() {
        for lines in [PANEL, PANEL - 1, 3] {
            let from: Vec<f32> = (0..lines * PANEL).map(|at| at as f32 + 1.0).collect();
            let mut to = vec![9.0; PANEL * PANEL];
            f32::transpose(&from, &mut to);
            for (at, value) in to.iter().enumerate() {
                let (row, column) = (at / PANEL, at % PANEL);
                let expected = if column < lines { from[column * PANEL + row] } else { 0.0 };
                assert_eq!(*value, expected);
            }
        }
        for lines in [PANEL / 2, 5] {
            // Number (row, column) is 64 * column + row + 1, in 16 bits.
            let number = |row: usize, column: usize| (64 * column + row + 1) as u32;
            let pair = |at: usize| {
                let (line, row) = (at / PANEL, at % PANEL);
                number(row, 2 * line) | number(row, 2 * line + 1) << 16
            };
            let from: Vec<u32> = (0..lines * PANEL).map(pair).collect();
            let mut to = vec![9; PANEL / 2 * PANEL];
            u32::transpose(&from, &mut to);
            for (at, word) in to.iter().enumerate() {
                let (line, column) = (at / PANEL, at % PANEL);
                let there = column < 2 * lines;
                let expected = number(2 * line, column) | number(2 * line + 1, column) << 16;
                assert_eq!(*word, if there { expected } else { 0 });
            }
        }
    }
}
