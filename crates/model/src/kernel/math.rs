//! Exponentials and the sums around them, in a fixed order.

use super::{buffer::LANES, level::per_level};

/// `e^x` as a fraction and a power of two that multiplies it, for `x` from about -87 to 89. The
/// power is an integer in the low bits: what stands above it is that of [`MAGIC`].
///
/// The same operations in the same order on every vector unit.
#[expect(clippy::excessive_precision, reason = "the constants are exact in their split")]
#[inline(always)]
fn fraction_and_power(x: f32) -> (f32, u32) {
    let shifted = x.mul_add(std::f32::consts::LOG2_E, MAGIC);
    let power = shifted - MAGIC;
    // ln 2 in two parts: the first has trailing zeros, so its product with `power` is exact.
    let rest = power.mul_add(-0.693_145_75, x);
    let rest = power.mul_add(-1.428_606_8e-6, rest);
    let mut sum = 1.987_569_1e-4_f32;
    for coefficient in [1.398_199_95e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        sum = sum.mul_add(rest, coefficient);
    }
    ((rest * rest).mul_add(sum, rest + 1.0), shifted.to_bits())
}

/// Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
const MAGIC: f32 = 12_582_912.0;
/// Below, the exponential would be subnormal.
const LEAST: f32 = -87.336_5;

/// `e^x` to about one unit in the last place; zero below -87.3, where the result would be
/// subnormal.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let (fraction, shifted) = fraction_and_power(x.clamp(LEAST, 88.722_8));
    // 2^power as two factors, because 2^128 is not a float although e^88.72 is.
    let exponent = shifted.wrapping_sub(MAGIC.to_bits()).cast_signed();
    let low = exponent >> 1;
    let high = exponent - low;
    let scale = |power: i32| f32::from_bits((power + 127).cast_unsigned() << 23);
    let value = fraction * scale(low) * scale(high);
    if x < LEAST { 0.0 } else { value }
}

/// The bits of [`exp`] for `x <= 0`, with less work: what the bounds keep out is dropped at the
/// end, and `2^power` is one factor.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    let (fraction, shifted) = fraction_and_power(x);
    // The shift drops all of the magic number but the power, which is at least -126.
    let factor = f32::from_bits((shifted << 23).wrapping_add(1.0_f32.to_bits()));
    let value = fraction * factor;
    if x < LEAST { 0.0 } else { value }
}

/// Adds the lanes in a fixed tree.
#[inline(always)]
pub(crate) fn tree_sum(lanes: &[f32; LANES]) -> f32 {
    let mut half = [0.0; 8];
    for (index, half) in half.iter_mut().enumerate() {
        *half = lanes[index] + lanes[index + 8];
    }
    let quarter: [f32; 4] = std::array::from_fn(|index| half[index] + half[index + 4]);
    (quarter[0] + quarter[2]) + (quarter[1] + quarter[3])
}

/// The largest value; any order of comparisons gives the same.
#[inline(always)]
fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (blocks, tail) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    for (lane, value) in lanes.iter_mut().zip(tail) {
        *lane = if *value > *lane { *value } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, |most, lane| if lane > most { lane } else { most })
}

per_level! {
    /// Turns `visible` scores into exponentials of `scale * (score - largest)`, zeroes the rest of
    /// the slice and returns the sum. Lane sums count in blocks of 16 from the start of the path
    /// (INV-5), so the length of the slice changes nothing.
    fn softmax_numerators(scores: &mut [f32], visible: usize, scale: f32) -> f32 {
        let (seen, hidden) = scores.split_at_mut(visible);
        hidden.fill(0.0);
        let most = largest(seen);
        let mut lanes = [0.0_f32; LANES];
        let (blocks, tail) = seen.as_chunks_mut::<LANES>();
        for block in blocks {
            for (lane, value) in lanes.iter_mut().zip(block) {
                *value = exp_of_negative((*value - most) * scale);
                *lane += *value;
            }
        }
        for (lane, value) in lanes.iter_mut().zip(tail) {
            *value = exp_of_negative((*value - most) * scale);
            *lane += *value;
        }
        tree_sum(&lanes)
    }
}

/// The normaliser of one tempered distribution over the vocabulary.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Normaliser {
    /// The largest tempered logit.
    pub(crate) most: f32,
    /// `Σ e^(z - most)`, at least 1.
    pub(crate) sum: f64,
    /// `ln sum`.
    pub(crate) log_sum: f32,
}

impl Normaliser {
    /// Log-probability of a tempered logit: the same arithmetic in decoding and in training.
    pub(crate) fn logprob(&self, tempered: f32) -> f32 {
        (tempered - self.most) - self.log_sum
    }
}

/// Values that are summed in `f32` lanes before they enter an `f64`.
pub(crate) const SUM_BLOCK: usize = 256;

per_level! {
    /// Divides logits by the temperature in place.
    fn temper(logits: &mut [f32], temperature: f32) {
        if temperature != 1.0 {
            for logit in logits {
                *logit /= temperature;
            }
        }
    }
}

per_level! {
    /// Normalises tempered logits; `numerators` receives `e^(z - most)` of each.
    fn normalise(tempered: &[f32], numerators: &mut [f32]) -> Normaliser {
        assert_eq!(tempered.len(), numerators.len(), "lengths");
        let most = largest(tempered);
        let mut sum = 0.0_f64;
        for (from, to) in tempered.chunks(SUM_BLOCK).zip(numerators.chunks_mut(SUM_BLOCK)) {
            for (value, numerator) in from.iter().zip(to.iter_mut()) {
                *numerator = exp(*value - most);
            }
            sum += f64::from(block_sum(to));
        }
        Normaliser { most, sum, log_sum: sum.ln() as f32 }
    }
}

#[inline(always)]
fn block_sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (blocks, tail) = values.as_chunks::<LANES>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(tail) {
        *lane += value;
    }
    tree_sum(&lanes)
}

per_level! {
    /// Entropy in nats: `ln sum - Σ e (z - most) / sum`.
    fn entropy(tempered: &[f32], numerators: &[f32], normaliser: &Normaliser) -> f32 {
        let mut weighted = 0.0_f64;
        for (values, numerators) in tempered.chunks(SUM_BLOCK).zip(numerators.chunks(SUM_BLOCK)) {
            let mut lanes = [0.0_f32; LANES];
            for (values, numerators) in values.chunks(LANES).zip(numerators.chunks(LANES)) {
                for ((lane, value), numerator) in lanes.iter_mut().zip(values).zip(numerators) {
                    *lane = numerator.mul_add(value - normaliser.most, *lane);
                }
            }
            weighted += f64::from(tree_sum(&lanes));
        }
        (normaliser.sum.ln() - weighted / normaliser.sum) as f32
    }
}

/// Derivatives of a loss by one position's log-probability and entropy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoreSeed {
    /// Where the target is among the logits at hand, if it is.
    pub(crate) target: Option<usize>,
    pub(crate) d_logprob: f32,
    pub(crate) d_entropy: f32,
    pub(crate) entropy: f32,
    pub(crate) temperature: f32,
}

per_level! {
    /// The derivative by the logits, in place of the tempered logits, of all of them or of some:
    /// `(d_logprob (1ₜ - p) - d_entropy p (ln p + H)) / temperature`.
    fn score_grad(tempered: &mut [f32], normaliser: &Normaliser, seed: &ScoreSeed) {
        let inverse = (1.0 / normaliser.sum) as f32;
        let shift = seed.entropy - normaliser.log_sum - normaliser.most;
        let over = 1.0 / seed.temperature;
        for value in tempered.iter_mut() {
            let probability = exp(*value - normaliser.most) * inverse;
            let by = seed.d_entropy.mul_add(*value + shift, seed.d_logprob);
            *value = -(probability * by) * over;
        }
        if let Some(target) = seed.target {
            tempered[target] += seed.d_logprob * over;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere_and_exact_at_zero() {
        let mut worst = 0.0_f64;
        for index in 0..200_000 {
            let x = -87.3 + 176.0 * index as f32 / 200_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.0e-7, "relative error {worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn the_vector_unit_computes_the_bits_of_the_portable_code() {
        // The largest score is 0 and the scale 1, so each result is `exp` of the score itself,
        // here compiled without any vector unit.
        let scores: Vec<f32> = (0..20_011_u16).map(|step| f32::from(step) / -229.0).collect();
        let mut numerators = scores.clone();
        softmax_numerators(&mut numerators, 20_011, 1.0);
        for (score, numerator) in scores.iter().zip(&numerators) {
            assert_eq!(exp(*score).to_bits(), numerator.to_bits(), "e^{score}");
        }
    }

    #[test]
    fn the_exponential_of_a_negative_is_the_general_one() {
        let steps = (0..200_000).map(|index| index as f32 / -2_000.0);
        let edges = [-0.0, -87.336_5, -87.336_51, -1e30, f32::NEG_INFINITY, -f32::MIN_POSITIVE];
        for x in steps.chain(edges).chain((0..9).map(|index| -87.336_5 + 1e-3 * index as f32)) {
            assert_eq!(exp(x).to_bits(), exp_of_negative(x).to_bits(), "e^{x}");
        }
        assert!(exp_of_negative(f32::NAN).is_nan());
    }

    #[test]
    fn a_longer_slice_does_not_change_a_softmax() {
        let scores: Vec<f32> = (0..70_u8).map(|value| f32::from(value % 7)).collect();
        let mut long = scores.clone();
        let mut short = scores[..37].to_vec();
        let of_long = softmax_numerators(&mut long, 37, 0.3);
        let of_short = softmax_numerators(&mut short, 37, 0.3);
        assert_eq!(of_long.to_bits(), of_short.to_bits());
        assert_eq!(long[..37], short[..]);
        assert!(long[37..].iter().all(|value| *value == 0.0));
    }

    #[test]
    fn two_even_logits_have_probability_one_half() {
        let mut numerators = [0.0; 2];
        let normaliser = normalise(&[3.0, 3.0], &mut numerators);
        assert!((normaliser.logprob(3.0) + std::f32::consts::LN_2).abs() < 1e-7);
        let bits = entropy(&[3.0, 3.0], &numerators, &normaliser);
        assert!((bits - std::f32::consts::LN_2).abs() < 1e-7);
    }

    #[test]
    fn the_score_gradient_is_the_central_difference() {
        let logits = [0.3_f32, -1.2, 2.0, 0.7];
        let temperature = 0.7;
        let loss = |logits: &[f64; 4]| -> f64 {
            let z = logits.map(|value| value / 0.7);
            let log_sum = z.iter().map(|value| value.exp()).sum::<f64>().ln();
            let logprob = z.map(|value| value - log_sum);
            let entropy = -logprob.iter().map(|value| value.exp() * value).sum::<f64>();
            1.5 * logprob[1] - 0.4 * entropy
        };
        let mut tempered = logits.map(|value| value / temperature);
        let mut numerators = [0.0; 4];
        let normaliser = normalise(&tempered, &mut numerators);
        let entropy = entropy(&tempered, &numerators, &normaliser);
        let seed =
            ScoreSeed { target: Some(1), d_logprob: 1.5, d_entropy: -0.4, entropy, temperature };
        score_grad(&mut tempered, &normaliser, &seed);
        for index in 0..4 {
            let moved = |by: f64| {
                let mut logits = logits.map(f64::from);
                logits[index] += by;
                loss(&logits)
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((f64::from(tempered[index]) - expected).abs() < 1e-5, "{index}: {expected}");
        }
    }
}
