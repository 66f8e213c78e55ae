//! The one product kernel: a tile of outputs, each a single chain of fused multiply-adds.
//!
//! `out[r][p][lane] = Σ left[r * left_row + i * left_step + o * left_outer]
//!                  * right[(o * inner + i) * right_step + p * right_panel + lane]`
//! with `(o, i)` ascending and all accumulators in registers from the first step to the last.
//! Which tile, batch or vector unit an output falls in changes nothing about its chain.

use super::level::Level;

/// Outputs that lie side by side in every panel.
pub(crate) const PANEL: usize = 32;

/// Strides and sizes of one product of tiles; see the module's formula.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    pub(crate) rows: usize,
    pub(crate) panels: usize,
    pub(crate) inner: usize,
    pub(crate) outer: usize,
    pub(crate) left_row: usize,
    pub(crate) left_step: usize,
    pub(crate) left_outer: usize,
    pub(crate) right_step: usize,
    pub(crate) right_panel: usize,
    pub(crate) out_row: usize,
    pub(crate) out_panel: usize,
    /// Chains start at `out` and not at zero.
    pub(crate) accumulate: bool,
}

impl Tile {
    /// Runs the tile; any number of rows and panels.
    ///
    /// # Panics
    /// If a slice is shorter than the strides reach.
    pub(crate) fn run(&self, left: &[f32], right: &[f32], out: &mut [f32]) {
        self.run_at(Level::best(), left, right, out);
    }

    pub(crate) fn run_at(&self, level: Level, left: &[f32], right: &[f32], out: &mut [f32]) {
        if self.rows == 0 || self.panels == 0 {
            return;
        }
        self.check(left, right, out);
        let most = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => 12,
            _ => 6,
        };
        // Even pieces: 13 rows are 7 and 6, which run faster than 12 and 1.
        let pieces = self.rows.div_ceil(most);
        for piece in 0..pieces {
            let first = piece * self.rows / pieces;
            let rows = (piece + 1) * self.rows / pieces - first;
            // SAFETY: `check` has bounded every offset that the strides can reach for all rows
            // and panels, and each piece stays within them; `level` was detected.
            unsafe {
                let left = left.as_ptr().add(first * self.left_row);
                let out = out.as_mut_ptr().add(first * self.out_row);
                match level {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => {
                        super::tile_x86::rows_avx512(self, rows, left, right.as_ptr(), out)
                    }
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => {
                        super::tile_x86::rows_avx2(self, rows, left, right.as_ptr(), out)
                    }
                    Level::Portable => rows_portable(self, rows, left, right.as_ptr(), out),
                }
            }
        }
    }

    /// Every offset of the formula lies inside its slice.
    fn check(&self, left: &[f32], right: &[f32], out: &[f32]) {
        let last_panel = self.panels - 1;
        let out_end = (self.rows - 1) * self.out_row + last_panel * self.out_panel + PANEL;
        assert!(out_end <= out.len(), "out: {out_end} > {} of {self:?}", out.len());
        let steps = self.inner * self.outer;
        if steps == 0 {
            return;
        }
        let left_end = (self.rows - 1) * self.left_row
            + (self.inner - 1) * self.left_step
            + (self.outer - 1) * self.left_outer
            + 1;
        assert!(left_end <= left.len(), "left: {left_end} > {} of {self:?}", left.len());
        let right_end = (steps - 1) * self.right_step + last_panel * self.right_panel + PANEL;
        assert!(right_end <= right.len(), "right: {right_end} > {} of {self:?}", right.len());
    }
}

/// # Safety
/// `Tile::check` must hold for the slices behind the pointers, with at least `rows` rows.
unsafe fn rows_portable(
    tile: &Tile,
    rows: usize,
    left: *const f32,
    right: *const f32,
    out: *mut f32,
) {
    const HALF: usize = PANEL / 2;
    for half in 0..tile.panels * 2 {
        let shift = half % 2 * HALF;
        for row in 0..rows {
            // SAFETY: the caller's `check`; a half panel lies inside its panel.
            unsafe {
                let target = out.add(row * tile.out_row + half / 2 * tile.out_panel + shift);
                let target = &mut *target.cast::<[f32; HALF]>();
                let mut sum = if tile.accumulate { *target } else { [0.0; HALF] };
                for outer in 0..tile.outer {
                    for inner in 0..tile.inner {
                        let from = row * tile.left_row + inner * tile.left_step;
                        let factor = *left.add(from + outer * tile.left_outer);
                        let step = (outer * tile.inner + inner) * tile.right_step;
                        let lanes = right.add(step + half / 2 * tile.right_panel + shift);
                        let lanes = &*lanes.cast::<[f32; HALF]>();
                        for (sum, lane) in sum.iter_mut().zip(lanes) {
                            *sum = factor.mul_add(*lane, *sum);
                        }
                    }
                }
                *target = sum;
            }
        }
    }
}
