//! The rotary factors of Llama 3 files, recognised as the rule that made them.
//!
//! A converter writes the rule's result, one divisor per pair of a head, and not its constants.

use crate::{
    config::{Config, RopeScaling},
    rotary,
};

/// Llama 3's first context, which every published file was made with.
const ORIGINAL_CONTEXT: usize = 8192;
/// The largest relative difference that rounding to `f32` explains.
const TOLERANCE: f64 = 1e-5;

/// The rule whose divisors these are; `None` if none is found. `stated` is the original context
/// where the file names it.
pub(super) fn recognise(
    factors: &[f32],
    config: &Config,
    stated: Option<usize>,
) -> Option<RopeScaling> {
    if factors.iter().all(|factor| *factor == 1.0) && factors.len() == config.head_dim / 2 {
        return Some(RopeScaling::None);
    }
    let factor = factors.iter().copied().map(f64::from).fold(1.0, f64::max);
    let powers = (5..=20).map(|power| 1 << power);
    // Where several contexts give the same divisors, any of them is right.
    let contexts = stated.into_iter().chain([ORIGINAL_CONTEXT]).chain(powers);
    contexts
        .map(|original_context| RopeScaling::Llama3 {
            factor,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context,
        })
        .find(|scaling| equal(factors, config, scaling))
}

fn equal(factors: &[f32], config: &Config, scaling: &RopeScaling) -> bool {
    let plain = rotary::frequencies(config, &RopeScaling::None);
    let scaled = rotary::frequencies(config, scaling);
    let near = |((plain, scaled), factor): ((f64, f64), &f32)| {
        (plain / scaled / f64::from(*factor) - 1.0).abs() < TOLERANCE
    };
    plain.len() == factors.len() && plain.into_iter().zip(scaled).zip(factors).all(near)
}
