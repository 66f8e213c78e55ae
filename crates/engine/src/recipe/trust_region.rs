//! TRPO's step in place of the optimizer's, where an `rl` stage asks for one.

use stepwell_methods::Objective;

use super::combine::Place;
use super::compute::{Compute, Device, Precision};
use super::critic::Trunk;
use super::macros::settings;
use super::rl::Rl;
use super::setting::Limit;

settings! {
    /// A step of a trust region (TRPO): as far along the natural gradient as the policy may move.
    pub struct TrustRegion {
        /// Most nats that an update may move the policy by, the mean over tokens of KL(old, new).
        /// Default: none, and the optimizer steps. TRPO's is 0.01.
        delta: Option<f64> = None, Limit::Above(0.0, 10.0);
        /// Iterations of conjugate gradients.
        iterations: usize = 10, Limit::Whole(1, 1000);
        /// Added to the diagonal of the Fisher matrix.
        damping: f64 = 0.1, Limit::Real(0.0, 1e6);
        /// Factor of a shorter step, where one breaks its bound or does not lower the loss.
        backtrack: f64 = 0.8, Limit::Real(0.01, 0.99);
        /// Steps that are tried; where all fail, the update moves nothing.
        tries: usize = 10, Limit::Whole(1, 100);
    }
}

impl TrustRegion {
    /// In the learner's words; `None` where the optimizer steps.
    #[must_use]
    pub fn of_train(&self) -> Option<stepwell_train::TrustRegion> {
        let TrustRegion { delta, iterations, damping, backtrack, tries } = *self;
        let of =
            |delta| stepwell_train::TrustRegion { delta, iterations, damping, backtrack, tries };
        delta.map(of)
    }
}

/// What cannot go with a trust region.
pub(super) fn check(rl: &Rl, compute: &Compute, place: &Place<'_, '_>) {
    if rl.trust_region.delta.is_none() {
        if rl.trust_region != TrustRegion::default() {
            let message = "has no `delta`, without which the optimizer steps; set it, or take the \
                           table out";
            place.warn("trust_region", message);
        }
        return;
    }
    if !matches!(rl.objective, Objective::Surrogate(_)) {
        let message = format!(
            "is set, and `objective` is `{}`: the region is what bounds the step; set `objective = \
             {{ type = \"surrogate\" }}`",
            rl.objective.name()
        );
        place.error("trust_region.delta", &message);
    }
    for (key, count) in [("epochs", rl.epochs), ("minibatches", rl.minibatches)] {
        if count > 1 {
            let message =
                format!("is {count}, and a trust region is one step an update; set it to 1");
            place.error(key, &message);
        }
    }
    if rl.plan.reads_demonstrations() {
        let message = "moves weights by another loss too, and a trust region is one step of one \
                       loss; take `plan` or `trust_region` out";
        place.error("plan", message);
    }
    if rl.credit.reads_values() && rl.critic.trunk == Trunk::Shared {
        let message = "is \"shared\", and a trust region moves the policy by its own loss alone; \
                       set `critic.trunk = \"own\"`";
        place.error("critic.trunk", message);
    }
    if compute.device == Device::Cuda || compute.precision != Precision::F32 {
        let message = "needs `model.compute` with `device = \"cpu\"` and `precision = \"f32\"`: \
                       products with the Fisher matrix are small differences";
        place.error("trust_region.delta", message);
    }
}
