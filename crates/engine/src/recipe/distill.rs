//! Whole distributions of a teacher: the keys that `sft` and `rl` share.

use std::sync::Arc;

use stepwell_methods::RowObjective;
use stepwell_methods::row::distill;
use stepwell_train::{Distillation, Reference};

use super::combine::Place;
use super::compute::Device;
use super::macros::settings;
use super::rl::Rl;
use super::setting::Limit;
use super::sft::Sft;

settings! {
    /// Generalised distillation (GKD): at every token that trains, the policy's whole distribution
    /// is brought to that of `teacher`.
    pub struct Distill {
        /// Share of the divergence in the stage's loss; the rest is the stage's own. At 1 the
        /// teacher is all there is to learn from. Default: none, and no teacher's distributions
        /// are read.
        share: Option<f64> = None, Limit::Above(0.0, 1.0);
        /// Which divergence: 0 is KL(teacher, policy), which covers all that the teacher would
        /// say, 1 is KL(policy, teacher), which keeps to what it surely says; between them the
        /// generalised Jensen-Shannon divergence.
        beta: f64 = 0.5, Limit::Real(0.0, 1.0);
        /// Divides the logits of both before they are compared.
        temperature: f64 = 1.0, Limit::Real(0.01, 100.0);
    }
}

impl Distill {
    /// In the learner's words; `None` where nothing is distilled.
    #[must_use]
    pub(crate) fn of_train(&self, teacher: Option<&Arc<Reference>>) -> Option<Distillation> {
        let Distill { share, beta, temperature } = *self;
        let (share, teacher) = (share?, Arc::clone(teacher?));
        let objective = RowObjective::Distill(distill::Config { beta, temperature });
        Some(Distillation { teacher, objective, share })
    }
}

/// What cannot go with distillation in an `sft` stage.
pub(super) fn check_sft(sft: &Sft, device: Device, place: &Place<'_, '_>) {
    idle(&sft.distill, place);
    match &sft.teacher {
        None if sft.distill.share.is_some() => unnamed(place),
        Some(_) if sft.distill.share.is_none() => {
            let message = "is named, and nothing reads it; take it out, or set `distill = { share \
                           = 1.0 }`";
            place.error("teacher", message);
        }
        Some(_) if device == Device::Cuda => on_processor(place),
        _ => {}
    }
}

/// What cannot go with distillation in an `rl` stage, beside what its teacher cannot.
pub(super) fn check_rl(rl: &Rl, place: &Place<'_, '_>) {
    idle(&rl.distill, place);
    if rl.distill.share.is_none() {
        return;
    }
    if rl.teacher.is_none() {
        unnamed(place);
    }
    if rl.trust_region.delta.is_some() {
        let message = "moves weights by another loss too, and a trust region is one step of one \
                       loss; take `distill` or `trust_region` out";
        place.error("distill.share", message);
    }
}

fn idle(keys: &Distill, place: &Place<'_, '_>) {
    if keys.share.is_none() && *keys != Distill::default() {
        let message = "has no `share`, without which nothing is distilled; set it, or take the \
                       table out";
        place.warn("distill", message);
    }
}

fn unnamed(place: &Place<'_, '_>) {
    let message = "brings the policy to a teacher's distributions; name its model, `teacher = \
                   \"folder\"`";
    place.error("distill.share", message);
}

/// A teacher where a GPU computes.
pub(super) fn on_processor(place: &Place<'_, '_>) {
    let message = "is computed on the processor only; set `model.compute.device = \"cpu\"`";
    place.error("teacher", message);
}
