//! `bf16`: the upper half of an `f32`. Weights and inputs of products in this precision; every
//! sum is `f32`.
//!
//! A product step takes a *pair*: two numbers that follow each other along the chain, the first
//! in the low half of a 32-bit word. It adds the second product, then the first, each as one
//! fused multiply-add rounded to nearest; subnormal numbers count as zero, on the way in and on
//! the way out. That is what `vdpbf16ps` does on the processors it was measured on, and what the
//! portable step below does in plain arithmetic.

use super::level::per_level;

/// The nearest `bf16`; halves go away from zero, so that the rest of a split fits 16 bits.
#[inline(always)]
pub(crate) fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let nearest = bits.wrapping_add(0x8000) >> 16;
    // A NaN whose payload overflows would come out as a zero.
    if value.is_nan() { bits >> 16 | 0x40 } else { nearest }
}

/// The two numbers of a pair.
#[inline(always)]
pub(crate) fn unpair(pair: u32) -> (f32, f32) {
    (f32::from_bits(pair << 16), f32::from_bits(pair & 0xffff_0000))
}

/// Two `f32` as two words: their nearest `bf16`, and what the bits differ by. A finite number comes
/// back from [`join`] bit for bit.
#[inline(always)]
pub(crate) fn split(values: [f32; 2]) -> (u32, u32) {
    let [first, second] = values.map(round);
    let rest = |value: f32, high: u32| value.to_bits().wrapping_sub(high << 16) & 0xffff;
    let low = rest(values[0], first) | rest(values[1], second) << 16;
    (first | second << 16, low)
}

/// The two numbers that [`split`] took apart.
#[inline(always)]
pub(crate) fn join(high: u32, low: u32) -> [f32; 2] {
    // Sixteen bits with a sign, at the place of the lower half.
    let rest = |low: u32| (low.cast_signed() >> 16).cast_unsigned();
    let first = (high << 16).wrapping_add(rest(low << 16));
    let second = (high & 0xffff_0000).wrapping_add(rest(low));
    [first, second].map(f32::from_bits)
}

/// Words for a chain of `length` numbers.
pub(crate) fn pairs(length: usize) -> usize {
    length.div_ceil(2)
}

per_level! {
    /// `[rows][width]` to `[rows][pairs(width)]`, pairs along the width; an odd end gets a zero.
    fn pair_columns(rows: &[f32], width: usize, to: &mut [u32]) {
        let words = width.div_ceil(2);
        for (row, to) in rows.chunks_exact(width).zip(to.chunks_exact_mut(words)) {
            let (whole, rest) = row.as_chunks::<2>();
            for (to, pair) in to.iter_mut().zip(whole) {
                *to = round(pair[0]) | round(pair[1]) << 16;
            }
            if let [last] = rest {
                to[words - 1] = round(*last);
            }
        }
    }
}

per_level! {
    /// `[rows][width]` to `[pairs(rows)][width]`, pairs along the rows; an odd end gets zeros.
    fn pair_rows(rows: &[f32], width: usize, to: &mut [u32]) {
        for (two, to) in rows.chunks(2 * width).zip(to.chunks_exact_mut(width)) {
            let (first, second) = two.split_at(width);
            if second.is_empty() {
                for (to, first) in to.iter_mut().zip(first) {
                    *to = round(*first);
                }
            }
            for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
                *to = round(*first) | round(*second) << 16;
            }
        }
    }
}

/// The smallest normal number: less is zero.
const TINY: f32 = f32::MIN_POSITIVE;

/// A subnormal number counts as zero of its sign.
#[inline(always)]
fn normal(value: f32) -> f32 {
    if value.abs() < TINY { 0.0_f32.copysign(value) } else { value }
}

/// `sum + left * right`, rounded once, zero where the result is below the normal numbers.
#[inline(always)]
fn add_product(left: f32, right: f32, sum: f32) -> f32 {
    let value = left.mul_add(right, sum);
    if value.abs() > TINY {
        return value;
    }
    // At exactly the smallest normal number the unit asks whether the sum came from below: it
    // rounds as if exponents had no end. The product is exact in `f64`, and so is this sum.
    let exact = f64::from(left) * f64::from(right) + f64::from(sum);
    let limit = f64::from(TINY) * (1.0 - f64::from(f32::EPSILON) / 4.0);
    if exact.abs() < limit { 0.0_f32.copysign(value) } else { value }
}

/// One step of a chain; the definition that every vector unit must meet.
#[inline(always)]
pub(crate) fn pair_step(left: u32, right: u32, sum: f32) -> f32 {
    let ((left_low, left_high), (right_low, right_high)) = (unpair(left), unpair(right));
    let sum = add_product(normal(left_high), normal(right_high), normal(sum));
    add_product(normal(left_low), normal(right_low), sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_to_nearest_and_keeps_what_is_no_number() {
        let near = |value: f32| f32::from_bits(round(value) << 16);
        assert_eq!(near(1.0), 1.0);
        assert_eq!(near(-3.1417), -3.140625);
        assert_eq!(near(1.0 + 1.0 / 256.0), 1.0 + 1.0 / 128.0, "halves go away from zero");
        assert_eq!(near(f32::INFINITY), f32::INFINITY);
        for payload in [0x7f80_0001, 0x7fff_ffff, 0xffff_ffff, 0x7fc0_0000] {
            assert!(near(f32::from_bits(payload)).is_nan(), "{payload:x}");
        }
    }

    #[test]
    fn pairs_follow_columns_or_rows_and_odd_ends_are_zero() {
        let rows = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let mut columns = [9; 6];
        pair_columns(&rows, 3, &mut columns);
        assert_eq!(columns.map(unpair)[..3], [(1.0, 2.0), (3.0, 0.0), (4.0, 5.0)]);
        let mut along = [9; 6];
        pair_rows(&rows, 3, &mut along);
        assert_eq!(along.map(unpair)[2..5], [(3.0, 6.0), (7.0, 0.0), (8.0, 0.0)]);
    }

    #[test]
    fn small_sums_vanish_and_the_second_number_comes_first() {
        let pair = |low: f32, high: f32| round(low) | round(high) << 16;
        let tiny = 2.0_f32.powi(-100);
        assert_eq!(pair_step(pair(tiny, 0.0), pair(tiny, 0.0), 0.0).to_bits(), 0);
        assert_eq!(pair_step(pair(1.0, 0.0), pair(1.0, 0.0), 1e-40), 1.0);
        // 2^24 + 1 rounds to 2^24; had the low product come first, it would be 2^24 + 2.
        let large = 2.0_f32.powi(24);
        assert_eq!(pair_step(pair(1.0, 1.0), pair(1.0, 1.0), large), large);
        assert_eq!(pair_step(pair(1.0, large), pair(1.0, 1.0), 1.0), large);
    }
}
