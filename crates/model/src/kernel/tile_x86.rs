//! The tile kernel on AVX-512 and AVX2. The chains are those of the portable code.

use std::arch::x86_64::{
    __m256, __m512, __m512bh, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_storeu_ps, _mm512_castsi512_ps, _mm512_dpbf16_ps, _mm512_fmadd_ps, _mm512_loadu_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::tile::{PANEL, Tile, rows_portable};

/// The kernel of one operand: `ROWS` rows of at most 12 and `PANELS` panels at once.
macro_rules! avx512_run {
    ($name:ident, $features:literal, $word:ty, $splat:expr, $load:expr, $step:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize, const PANELS: usize>(
            tile: &Tile,
            left: *const $word,
            right: *const $word,
            out: *mut f32,
        ) {
            let mut sum: [[[__m512; 2]; PANELS]; ROWS] = [[[_mm512_setzero_ps(); 2]; PANELS]; ROWS];
            // SAFETY: every offset is one that the caller vouches for.
            unsafe {
                if tile.accumulate {
                    for (r, row) in sum.iter_mut().enumerate() {
                        for (p, panel) in row.iter_mut().enumerate() {
                            let from = out.add(r * tile.out_row + p * tile.out_panel);
                            *panel = [_mm512_loadu_ps(from), _mm512_loadu_ps(from.add(16))];
                        }
                    }
                }
                let mut right = right;
                for outer in 0..tile.outer {
                    // One pointer per three rows: the two others are reached by scaled
                    // addressing, so that the addresses of twelve rows fit in the registers.
                    let base = left.add(outer * tile.left_outer);
                    let mut bases: [*const $word; 4] =
                        std::array::from_fn(|group| base.wrapping_add(3 * group * tile.left_row));
                    for _ in 0..tile.inner {
                        let mut lanes = [[_mm512_setzero_ps(); 2]; PANELS];
                        for (p, lanes) in lanes.iter_mut().enumerate() {
                            let from = right.add(p * tile.right_panel);
                            *lanes = [$load(from), $load(from.add(16))];
                        }
                        for r in 0..ROWS {
                            let factor = $splat(*bases[r / 3].add(r % 3 * tile.left_row));
                            for p in 0..PANELS {
                                sum[r][p][0] = $step(factor, lanes[p][0], sum[r][p][0]);
                                sum[r][p][1] = $step(factor, lanes[p][1], sum[r][p][1]);
                            }
                        }
                        for base in &mut bases {
                            *base = base.wrapping_add(tile.left_step);
                        }
                        right = right.wrapping_add(tile.right_step);
                    }
                }
                for (r, row) in sum.iter().enumerate() {
                    for (p, panel) in row.iter().enumerate() {
                        let to = out.add(r * tile.out_row + p * tile.out_panel);
                        _mm512_storeu_ps(to, panel[0]);
                        _mm512_storeu_ps(to.add(16), panel[1]);
                    }
                }
            }
        }
    };
}

/// At most 12 rows and any number of panels. Few rows take several panels at once, because one
/// chain alone waits for its own latency.
macro_rules! avx512_rows {
    ($name:ident, $word:ty, $run:ident) => {
        /// # Safety
        /// What the strides reach with `rows` rows must lie behind the pointers, and the processor
        /// must have what the kernel's name says.
        pub(super) unsafe fn $name(
            tile: &Tile,
            rows: usize,
            left: *const $word,
            right: *const $word,
            out: *mut f32,
        ) {
            let mut done = 0;
            while done < tile.panels {
                let rest = tile.panels - done;
                // SAFETY: `done` stays below the tile's panels.
                unsafe {
                    let right = right.add(done * tile.right_panel);
                    let out = out.add(done * tile.out_panel);
                    done += if rows <= 3 && rest >= 4 {
                        pick!(rows, $run, 4, (tile, left, right, out), 1 2 3);
                        4
                    } else if rows <= 6 && rest >= 2 {
                        pick!(rows, $run, 2, (tile, left, right, out), 1 2 3 4 5 6);
                        2
                    } else {
                        let from = (tile, left, right, out);
                        pick!(rows, $run, 1, from, 1 2 3 4 5 6 7 8 9 10 11 12);
                        1
                    };
                }
            }
        }
    };
}

macro_rules! pick {
    ($rows:ident, $run:ident, $panels:literal, $from:expr, $($known:literal)*) => {{
        let (tile, left, right, out) = $from;
        match $rows {
            $($known => $run::<$known, $panels>(tile, left, right, out),)*
            _ => panic!("at most 12 rows"),
        }
    }};
}

avx512_run!(run_f32, "avx512f", f32, _mm512_set1_ps, _mm512_loadu_ps, _mm512_fmadd_ps);
avx512_rows!(rows_avx512, f32, run_f32);

/// Both operands as the unit names them.
#[target_feature(enable = "avx512f,avx512bf16")]
fn pair_product(left: __m512, right: __m512, sum: __m512) -> __m512 {
    // SAFETY: 64 bytes of bits, whatever they are called.
    let pairs = |lanes: __m512| unsafe { std::mem::transmute::<__m512, __m512bh>(lanes) };
    _mm512_dpbf16_ps(sum, pairs(left), pairs(right))
}

#[target_feature(enable = "avx512f")]
fn splat_pair(pair: u32) -> __m512 {
    _mm512_castsi512_ps(_mm512_set1_epi32(pair.cast_signed()))
}

/// # Safety
/// 64 bytes must be readable.
#[target_feature(enable = "avx512f")]
unsafe fn load_pairs(from: *const u32) -> __m512 {
    // SAFETY: the caller's.
    unsafe { _mm512_loadu_ps(from.cast()) }
}

/// One step of the unit.
///
/// # Panics
/// If the processor has no such unit.
pub(super) fn one_pair(left: u32, right: u32, sum: f32) -> f32 {
    assert!(is_x86_feature_detected!("avx512bf16"), "products of pairs");
    let mut lanes = [0.0; 16];
    // SAFETY: the assertion; 16 floats are writable.
    unsafe {
        let value = pair_product(splat_pair(left), splat_pair(right), _mm512_set1_ps(sum));
        _mm512_storeu_ps(lanes.as_mut_ptr(), value);
    }
    lanes[0]
}

avx512_run!(run_pairs, "avx512f,avx512bf16", u32, splat_pair, load_pairs, pair_product);
avx512_rows!(rows_pairs, u32, run_pairs);

/// Pairs on AVX-512 without their unit.
///
/// # Safety
/// What the strides reach with `rows` rows must lie behind the pointers, and the processor must
/// have AVX-512.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
pub(super) unsafe fn rows_pairs_avx512(
    tile: &Tile,
    rows: usize,
    left: *const u32,
    right: *const u32,
    out: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe { rows_portable(tile, rows, left, right, out) }
}

/// Pairs on AVX2.
///
/// # Safety
/// What the strides reach with `rows` rows must lie behind the pointers, and the processor must
/// have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn rows_pairs_avx2(
    tile: &Tile,
    rows: usize,
    left: *const u32,
    right: *const u32,
    out: *mut f32,
) {
    // SAFETY: the caller's.
    unsafe { rows_portable(tile, rows, left, right, out) }
}

/// At most 6 rows and any number of panels.
///
/// # Safety
/// What the strides reach with `rows` rows must lie behind the pointers, and the processor must
/// have AVX2 and FMA.
pub(super) unsafe fn rows_avx2(
    tile: &Tile,
    rows: usize,
    left: *const f32,
    right: *const f32,
    out: *mut f32,
) {
    macro_rules! pick {
        ($vectors:literal, $($rows:literal)*) => {
            let pieces: usize = PANEL / (8 * $vectors);
            for piece in 0..tile.panels * pieces {
                let (panel, shift) = (piece / pieces, piece % pieces * 8 * $vectors);
                // SAFETY: the caller's; a piece lies inside its panel.
                unsafe {
                    let right = right.add(panel * tile.right_panel + shift);
                    let out = out.add(panel * tile.out_panel + shift);
                    match rows { $($rows => run_avx2::<$rows, $vectors>(tile, left, right, out),)*
                        _ => panic!("at most 6 rows") }
                }
            }
        };
    }
    const { assert!(PANEL == 32, "four vectors of eight lanes") };
    if rows <= 3 {
        pick!(4, 1 2 3);
    } else {
        pick!(2, 4 5 6);
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<const ROWS: usize, const VECTORS: usize>(
    tile: &Tile,
    left: *const f32,
    right: *const f32,
    out: *mut f32,
) {
    let mut sum: [[__m256; VECTORS]; ROWS] = [[_mm256_setzero_ps(); VECTORS]; ROWS];
    // SAFETY: every offset is one that the caller vouches for.
    unsafe {
        if tile.accumulate {
            for (r, row) in sum.iter_mut().enumerate() {
                for (v, vector) in row.iter_mut().enumerate() {
                    *vector = _mm256_loadu_ps(out.add(r * tile.out_row + 8 * v));
                }
            }
        }
        let mut right = right;
        for outer in 0..tile.outer {
            let mut base = left.add(outer * tile.left_outer);
            for _ in 0..tile.inner {
                let lanes: [__m256; VECTORS] = {
                    let mut lanes = [_mm256_setzero_ps(); VECTORS];
                    for (v, lanes) in lanes.iter_mut().enumerate() {
                        *lanes = _mm256_loadu_ps(right.add(8 * v));
                    }
                    lanes
                };
                for (r, row) in sum.iter_mut().enumerate() {
                    let factor = _mm256_set1_ps(*base.add(r * tile.left_row));
                    for (sum, lane) in row.iter_mut().zip(&lanes) {
                        *sum = _mm256_fmadd_ps(factor, *lane, *sum);
                    }
                }
                base = base.wrapping_add(tile.left_step);
                right = right.wrapping_add(tile.right_step);
            }
        }
        for (r, row) in sum.iter().enumerate() {
            for (v, vector) in row.iter().enumerate() {
                _mm256_storeu_ps(out.add(r * tile.out_row + 8 * v), *vector);
            }
        }
    }
}
