//! Blocks of panels turned in registers.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_loadu_si512,
    _mm512_set_epi8, _mm512_shuffle_epi8, _mm512_shuffle_f32x4, _mm512_shuffle_i64x2,
    _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_epi64, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_epi64, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::tile::PANEL;

/// `[PANEL][PANEL]` turned, in four blocks of 16 x 16.
///
/// # Safety
/// The processor must have AVX-512 F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn block_f32(from: &[f32], to: &mut [f32]) {
    assert!(from.len() >= PANEL * PANEL && to.len() >= PANEL * PANEL, "whole blocks");
    for (row, column) in [(0, 0), (0, 16), (16, 0), (16, 16)] {
        // SAFETY: 16 lines of 16 numbers from here lie inside both blocks.
        unsafe {
            let from = from.as_ptr().add(row * PANEL + column);
            let to = to.as_mut_ptr().add(column * PANEL + row);
            let lines = std::array::from_fn(|line| _mm512_loadu_ps(from.add(line * PANEL)));
            for (line, turned) in turn_16(lines).into_iter().enumerate() {
                _mm512_storeu_ps(to.add(line * PANEL), turned);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
fn turn_16(lines: [__m512; 16]) -> [__m512; 16] {
    // Quarters of four lanes: first the 4 x 4 blocks inside them, then the quarters themselves.
    let mut inside = lines;
    for four in inside.chunks_exact_mut(4) {
        let low = [_mm512_unpacklo_ps(four[0], four[1]), _mm512_unpacklo_ps(four[2], four[3])];
        let high = [_mm512_unpackhi_ps(four[0], four[1]), _mm512_unpackhi_ps(four[2], four[3])];
        let low = low.map(|lanes| _mm512_castps_pd(lanes));
        let high = high.map(|lanes| _mm512_castps_pd(lanes));
        four[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(low[0], low[1]));
        four[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low[0], low[1]));
        four[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high[0], high[1]));
        four[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high[0], high[1]));
    }
    let mut out = inside;
    for lane in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|four| inside[four + lane]);
        let even = _mm512_shuffle_f32x4::<0x88>(a, b);
        let odd = _mm512_shuffle_f32x4::<0xdd>(a, b);
        let even_high = _mm512_shuffle_f32x4::<0x88>(c, d);
        let odd_high = _mm512_shuffle_f32x4::<0xdd>(c, d);
        out[lane] = _mm512_shuffle_f32x4::<0x88>(even, even_high);
        out[lane + 4] = _mm512_shuffle_f32x4::<0x88>(odd, odd_high);
        out[lane + 8] = _mm512_shuffle_f32x4::<0xdd>(even, even_high);
        out[lane + 12] = _mm512_shuffle_f32x4::<0xdd>(odd, odd_high);
    }
    out
}

/// `[PANEL / 2][PANEL]` pairs along the lines to pairs along the lanes: the two numbers of two
/// neighbouring lanes change places, then eight bytes are one element of a transposition.
///
/// # Safety
/// The processor must have AVX-512 F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) unsafe fn block_pairs(from: &[u32], to: &mut [u32]) {
    assert!(from.len() >= PANEL / 2 * PANEL && to.len() >= PANEL / 2 * PANEL, "whole blocks");
    for (row, column) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        // SAFETY: 8 lines of 8 elements of 8 bytes from here lie inside both blocks.
        unsafe {
            let from = from.as_ptr().add(row * PANEL + 2 * column);
            let to = to.as_mut_ptr().add(column * PANEL + 2 * row);
            let lines = std::array::from_fn(|line| {
                exchange(_mm512_loadu_si512(from.add(line * PANEL).cast()))
            });
            for (line, turned) in turn_8(lines).into_iter().enumerate() {
                _mm512_storeu_si512(to.add(line * PANEL).cast(), turned);
            }
        }
    }
}

/// In every eight bytes, `a b | c d` becomes `a c | b d`, of two bytes each.
#[target_feature(enable = "avx512f,avx512bw")]
fn exchange(lanes: __m512i) -> __m512i {
    let order = _mm512_set_epi8(
        15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0, 15, 14, 11, 10, 13, 12, 9, 8, 7, 6,
        3, 2, 5, 4, 1, 0, 15, 14, 11, 10, 13, 12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0, 15, 14, 11, 10, 13,
        12, 9, 8, 7, 6, 3, 2, 5, 4, 1, 0,
    );
    _mm512_shuffle_epi8(lanes, order)
}

#[target_feature(enable = "avx512f")]
fn turn_8(lines: [__m512i; 8]) -> [__m512i; 8] {
    let mut inside = lines;
    for two in inside.chunks_exact_mut(2) {
        let (first, second) = (two[0], two[1]);
        two[0] = _mm512_unpacklo_epi64(first, second);
        two[1] = _mm512_unpackhi_epi64(first, second);
    }
    let mut out = inside;
    for lane in 0..2 {
        let [a, b, c, d] = [0, 2, 4, 6].map(|two| inside[two + lane]);
        let even = _mm512_shuffle_i64x2::<0x88>(a, b);
        let odd = _mm512_shuffle_i64x2::<0xdd>(a, b);
        let even_high = _mm512_shuffle_i64x2::<0x88>(c, d);
        let odd_high = _mm512_shuffle_i64x2::<0xdd>(c, d);
        out[lane] = _mm512_shuffle_i64x2::<0x88>(even, even_high);
        out[lane + 2] = _mm512_shuffle_i64x2::<0x88>(odd, odd_high);
        out[lane + 4] = _mm512_shuffle_i64x2::<0xdd>(even, even_high);
        out[lane + 6] = _mm512_shuffle_i64x2::<0xdd>(odd, odd_high);
    }
    out
}
