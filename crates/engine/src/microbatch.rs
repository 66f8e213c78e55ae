//! How many tokens a training step computes at once.

use stepwell_model::{ActivationPlan, Config};

/// Bytes of activations of a micro-batch that a recipe leaves to us: a laptop has them.
const ACTIVATIONS: usize = 1 << 30;
/// Fewer lose speed in every product, more gain none.
const TOKENS: std::ops::RangeInclusive<usize> = 1024..=32_768;

/// The tokens that a recipe wants for a model of this shape, or as many as a laptop has room for.
pub(crate) fn microbatch(wanted: Option<usize>, model: &Config) -> usize {
    wanted.unwrap_or_else(|| {
        let token = ActivationPlan::new(model, 1, None).bytes;
        (ACTIVATIONS / token).clamp(*TOKENS.start(), *TOKENS.end())
    })
}

#[cfg(test)]
mod tests {
    use stepwell_model::{Family, RopeScaling};

    use super::*;

    #[test]
    fn larger_models_compute_fewer_tokens_at_once() {
        let mut model = Config {
            family: Family::Llama,
            vocabulary: 100,
            hidden: 96,
            layers: 4,
            heads: 4,
            kv_heads: 4,
            head_dim: 24,
            ffn: 256,
            context: 64,
            tied: true,
            norm_epsilon: 1e-5,
            rope_base: 10_000.0,
            rope_scaling: RopeScaling::None,
        };
        assert_eq!(microbatch(None, &model), 32_768);
        assert_eq!(microbatch(Some(70), &model), 70);
        // (30 · (2·576 + 2·192 + 576 + 2·1536) + 31 · 576) · 4 = 693,504 bytes a token.
        (model.hidden, model.layers, model.heads) = (576, 30, 9);
        (model.kv_heads, model.head_dim, model.ffn) = (3, 64, 1536);
        assert_eq!(microbatch(None, &model), (1 << 30) / 693_504);
        model.layers = 300;
        assert_eq!(microbatch(None, &model), 1024);
    }
}
