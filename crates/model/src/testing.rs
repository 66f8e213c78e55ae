//! Shapes and draws for unit tests.

use crate::config::{Config, Family, RopeScaling};

/// Small, with every size off a multiple of the panel.
pub(crate) fn tiny(family: Family) -> Config {
    Config {
        family,
        vocabulary: 75,
        hidden: 40,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 10,
        ffn: 52,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 512,
    }
}

/// A deterministic value in [-1, 1) for element `index` of stream `stream`.
pub(crate) fn noise(stream: u64, index: usize) -> f32 {
    let mut z = (stream << 32).wrapping_add(index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^= z >> 27;
    (z % 65_536) as f32 / 32_768.0 - 1.0
}
