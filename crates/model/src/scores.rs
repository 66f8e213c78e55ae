//! Final norm and logits: one function for the sampler and the trainer.

use crate::{
    kernel::{Numbers, Panels},
    layer::{Inputs, norm_rows, products},
    model::Model,
    team::Team,
};

/// Positions whose logits over the whole vocabulary exist at the same time (INV-7).
pub(crate) const LOGIT_ROWS: usize = 64;

/// The final norm of residual streams `[rows][hidden]`.
pub(crate) fn final_norm(team: &Team, model: &Model, stream: &[f32], normed: &mut Inputs) {
    let hidden = model.config().hidden;
    normed.resize(stream.len() / hidden, hidden, model.paired());
    norm_rows(team, model, model.layout.final_norm, stream, normed);
}

/// Fills `[rows][rows of the head]` with logits, before any temperature.
pub(crate) fn logits(team: &Team, normed: Numbers, head: Panels, out: &mut [f32]) {
    products(team, normed, [(head, out)]);
}

/// The temperature of the distribution that log-probabilities are of; greedy sampling
/// (temperature 0) is scored at temperature 1.
pub(crate) fn effective(temperature: f32) -> f32 {
    assert!(temperature >= 0.0 && temperature.is_finite(), "temperature {temperature}");
    if temperature == 0.0 { 1.0 } else { temperature }
}
