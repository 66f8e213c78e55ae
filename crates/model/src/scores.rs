//! Final norm and tempered logits: one function for the sampler and the trainer.

use crate::{
    kernel::{product, rms_norm, temper},
    model::Model,
};

/// Positions per thread whose logits exist at the same time (INV-7).
pub(crate) const LOGIT_ROWS: usize = 32;

/// Fills `tempered` (`[rows][vocabulary]`) from the residual stream `[rows][hidden]`.
///
/// Greedy sampling (temperature 0) is scored at temperature 1.
pub(crate) fn tempered_logits(
    model: &Model,
    stream: &[f32],
    temperature: f32,
    normed: &mut [f32],
    tempered: &mut [f32],
) {
    let weight = model.vector(model.layout.final_norm);
    rms_norm(stream, weight, model.config().norm_epsilon as f32, normed);
    product(normed, model.matrix(model.layout.head), tempered);
    temper(tempered, effective(temperature));
}

/// The temperature of the distribution that log-probabilities are of.
pub(crate) fn effective(temperature: f32) -> f32 {
    assert!(temperature >= 0.0 && temperature.is_finite(), "temperature {temperature}");
    if temperature == 0.0 { 1.0 } else { temperature }
}
