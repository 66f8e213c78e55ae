//! The shape of a model: what `config.json` says, in our words.

use serde::{Deserialize, Serialize};

/// The three layouts of one family: they differ by biases and per-head norms only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Llama 2 and 3, SmolLM2: no biases, no head norms.
    Llama,
    /// Qwen2 and Qwen2.5: biases on the query, key and value projections.
    Qwen2,
    /// Qwen3: a root-mean-square norm per head on queries and keys.
    Qwen3,
}

/// How rotary frequencies are stretched for contexts longer than the one trained first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RopeScaling {
    /// Frequencies as they are.
    #[default]
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3.1's rule: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// The divisor of low frequencies, at least 1.
        factor: f64,
        /// Wavelengths longer than `original_context / low_frequency_factor` are divided.
        low_frequency_factor: f64,
        /// Wavelengths shorter than `original_context / high_frequency_factor` are kept.
        high_frequency_factor: f64,
        /// The context of the first training, in tokens.
        original_context: usize,
    },
}

/// The shape of a model and the constants of its arithmetic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which layout.
    pub family: Family,
    /// Entries of the vocabulary.
    pub vocabulary: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head; even, because rotation works on pairs.
    pub head_dim: usize,
    /// Width of the gated feed-forward layer.
    pub ffn: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f64,
    /// Stretching of the rotary frequencies.
    #[serde(default)]
    pub rope_scaling: RopeScaling,
    /// Added to the mean square before the root.
    pub norm_epsilon: f64,
    /// Whether the output head is the embedding.
    pub tied: bool,
    /// Longest path in tokens.
    pub context: usize,
}

impl Config {
    /// Every reason why no model can have this shape, each a sentence; `Ok` if there is none.
    ///
    /// # Errors
    /// One message per field out of range: what was wrong, got, expected.
    pub fn validate(&self) -> Result<(), Vec<String>> {
        let mut wrong = self.sizes_out_of_range();
        if self.kv_heads > 0 && !self.heads.is_multiple_of(self.kv_heads) {
            wrong.push(format!(
                "`heads` must be a multiple of `kv_heads` ({}): {}",
                self.kv_heads, self.heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            wrong.push(format!("`head_dim` must be even: {}", self.head_dim));
        }
        if !(self.rope_base.is_finite() && self.rope_base > 1.0) {
            wrong.push(format!("`rope_base` must be finite and above 1: {}", self.rope_base));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            wrong.push(format!("`norm_epsilon` must lie in (0, 1): {}", self.norm_epsilon));
        }
        wrong.extend(self.rope_scaling.out_of_range());
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn sizes_out_of_range(&self) -> Vec<String> {
        // The upper ends keep every product of two sizes far below 2^64 and catch swapped fields.
        let sizes = [
            ("vocabulary", self.vocabulary, 1 << 21),
            ("hidden", self.hidden, 1 << 16),
            ("layers", self.layers, 1 << 10),
            ("heads", self.heads, 1 << 10),
            ("kv_heads", self.kv_heads, 1 << 10),
            ("head_dim", self.head_dim, 1 << 10),
            ("ffn", self.ffn, 1 << 18),
            ("context", self.context, 1 << 24),
        ];
        let outside = sizes.iter().filter(|(_, size, most)| *size == 0 || size > most);
        outside
            .map(|(name, size, most)| format!("`{name}` must lie in 1..={most}: {size}"))
            .collect()
    }

    /// Width of all query heads together.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    pub(crate) fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Query heads that share one key head.
    pub(crate) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

impl RopeScaling {
    fn out_of_range(&self) -> Option<String> {
        match *self {
            RopeScaling::None => None,
            RopeScaling::Linear { factor } => (!(1.0..=1e6).contains(&factor))
                .then(|| format!("`rope_scaling.factor` must lie in 1..=1e6: {factor}")),
            RopeScaling::Llama3 { factor, low_frequency_factor: low, .. }
                if !(1.0..=1e6).contains(&factor) || low.is_nan() || low <= 0.0 =>
            {
                Some(format!(
                    "`rope_scaling` needs a factor in 1..=1e6 and a positive \
                     `low_frequency_factor`: {factor}, {low}"
                ))
            }
            RopeScaling::Llama3 {
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context,
                ..
            } => (high.is_nan() || high <= low || original_context == 0).then(|| {
                format!(
                    "`rope_scaling.high_frequency_factor` must be above `low_frequency_factor` \
                     ({low}) and `original_context` positive: {high}, {original_context}"
                )
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::tiny;

    use super::*;

    #[test]
    fn a_sound_shape_passes_and_each_fault_is_named() {
        assert_eq!(tiny(Family::Llama).validate(), Ok(()));
        let broken = Config { heads: 3, head_dim: 7, rope_base: f64::NAN, ..tiny(Family::Llama) };
        let messages = broken.validate().unwrap_err();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].contains("`heads`"), "{messages:?}");
        let zero = Config { ffn: 0, ..tiny(Family::Llama) };
        assert!(zero.validate().unwrap_err()[0].contains("`ffn`"));
    }
}
