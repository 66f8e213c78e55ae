//! The one product kernel: a tile of outputs, each a single chain of fused multiply-adds.
//!
//! `out[r][p][lane] = Σ left[r * left_row + i * left_step + o * left_outer]
//!                  * right[(o * inner + i) * right_step + p * right_panel + lane]`
//! with `(o, i)` ascending and all accumulators in registers from the first step to the last.
//! Which tile, batch or vector unit an output falls in changes nothing about its chain.

#[cfg(target_arch = "x86_64")]
use super::tile_x86;
use super::{bf16, buffer::Word, level::Level};

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
    /// Runs the tile; any number of rows and panels. Strides and sizes count operands: of pairs,
    /// a step is two numbers of the chain.
    ///
    /// # Panics
    /// If a slice is shorter than the strides reach.
    pub(crate) fn run<T: Operand>(&self, left: &[T], right: &[T], out: &mut [f32]) {
        self.run_at(Level::best(), left, right, out);
    }

    pub(crate) fn run_at<T: Operand>(
        &self,
        level: Level,
        left: &[T],
        right: &[T],
        out: &mut [f32],
    ) {
        assert!(level <= Level::best(), "{level:?} on {:?}", Level::best());
        let end = self.out_end();
        assert!(end <= out.len(), "out: {end} > {} of {self:?}", out.len());
        // SAFETY: the assertions.
        unsafe { self.run_to(level, left, right, out.as_mut_ptr()) }
    }

    /// As [`Tile::run_at`] to memory that the caller vouches for.
    ///
    /// # Safety
    /// What `out_row`, `out_panel`, `rows` and `panels` reach from `out` must be the caller's to
    /// write, and the processor must have `level`.
    pub(super) unsafe fn run_to<T: Operand>(
        &self,
        level: Level,
        left: &[T],
        right: &[T],
        out: *mut f32,
    ) {
        if self.rows == 0 || self.panels == 0 {
            return;
        }
        self.check(left.len(), right.len());
        let most = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 | Level::Avx512Bf16 => 12,
            _ => 6,
        };
        // Even pieces: 13 rows are 7 and 6, which run faster than 12 and 1.
        let pieces = self.rows.div_ceil(most);
        for piece in 0..pieces {
            let first = piece * self.rows / pieces;
            let rows = (piece + 1) * self.rows / pieces - first;
            // SAFETY: `check` has bounded every offset that the strides can reach for all rows
            // and panels, the caller vouches for `out`, and each piece stays within them.
            unsafe {
                let left = left.as_ptr().add(first * self.left_row);
                let out = out.add(first * self.out_row);
                T::rows(level, self, rows, left, right.as_ptr(), out);
            }
        }
    }

    /// One past the last output that the strides reach.
    fn out_end(&self) -> usize {
        if self.rows == 0 || self.panels == 0 {
            return 0;
        }
        (self.rows - 1) * self.out_row + (self.panels - 1) * self.out_panel + PANEL
    }

    /// Every offset of the formula lies inside the operands.
    fn check(&self, left: usize, right: usize) {
        let last_panel = self.panels - 1;
        let steps = self.inner * self.outer;
        assert!(steps > 0, "no steps: {self:?}");
        let left_end = (self.rows - 1) * self.left_row
            + (self.inner - 1) * self.left_step
            + (self.outer - 1) * self.left_outer
            + 1;
        assert!(left_end <= left, "left: {left_end} > {left} of {self:?}");
        let right_end = (steps - 1) * self.right_step + last_panel * self.right_panel + PANEL;
        assert!(right_end <= right, "right: {right_end} > {right} of {self:?}");
    }
}

/// What a chain multiplies: `f32`, or pairs of `bf16` in a word.
pub(crate) trait Operand: Word {
    /// The sum after one more step of the chain.
    fn step(left: Self, right: Self, sum: f32) -> f32;

    /// Runs at most 12 rows (6 below AVX-512) of a tile.
    ///
    /// # Safety
    /// What the strides reach with `rows` rows must lie behind the pointers, and the processor
    /// must have `level`.
    unsafe fn rows(
        level: Level,
        tile: &Tile,
        rows: usize,
        left: *const Self,
        right: *const Self,
        out: *mut f32,
    );
}

impl Operand for f32 {
    #[inline(always)]
    fn step(left: f32, right: f32, sum: f32) -> f32 {
        left.mul_add(right, sum)
    }

    unsafe fn rows(
        level: Level,
        tile: &Tile,
        rows: usize,
        left: *const f32,
        right: *const f32,
        out: *mut f32,
    ) {
        // SAFETY: the caller's.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 | Level::Avx512Bf16 => {
                    tile_x86::rows_avx512(tile, rows, left, right, out);
                }
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => tile_x86::rows_avx2(tile, rows, left, right, out),
                Level::Portable => rows_portable(tile, rows, left, right, out),
            }
        }
    }
}

impl Operand for u32 {
    #[inline(always)]
    fn step(left: u32, right: u32, sum: f32) -> f32 {
        bf16::pair_step(left, right, sum)
    }

    unsafe fn rows(
        level: Level,
        tile: &Tile,
        rows: usize,
        left: *const u32,
        right: *const u32,
        out: *mut f32,
    ) {
        // SAFETY: the caller's.
        unsafe {
            match level {
                #[cfg(target_arch = "x86_64")]
                Level::Avx512Bf16 => tile_x86::rows_pairs(tile, rows, left, right, out),
                #[cfg(target_arch = "x86_64")]
                Level::Avx512 => tile_x86::rows_pairs_avx512(tile, rows, left, right, out),
                #[cfg(target_arch = "x86_64")]
                Level::Avx2 => tile_x86::rows_pairs_avx2(tile, rows, left, right, out),
                Level::Portable => rows_portable(tile, rows, left, right, out),
            }
        }
    }
}

/// # Safety
/// What the strides reach with `rows` rows must lie behind the pointers.
#[inline(always)]
pub(super) unsafe fn rows_portable<T: Operand>(
    tile: &Tile,
    rows: usize,
    left: *const T,
    right: *const T,
    out: *mut f32,
) {
    const HALF: usize = PANEL / 2;
    for half in 0..tile.panels * 2 {
        let shift = half % 2 * HALF;
        for row in 0..rows {
            // SAFETY: the caller's; a half panel lies inside its panel.
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
                        let lanes = &*lanes.cast::<[T; HALF]>();
                        for (sum, lane) in sum.iter_mut().zip(lanes) {
                            *sum = T::step(factor, *lane, *sum);
                        }
                    }
                }
                *target = sum;
            }
        }
    }
}
