//! How the weights move: the keys that `sft` and `rl` stages share.

use super::macros::{choices, settings};
use super::setting::Limit;

choices! {
    /// How the learning rate moves after the warm-up.
    pub enum Schedule {
        /// Stays at the peak.
        Constant = "constant",
        /// Falls in a straight line.
        Linear = "linear",
        /// Falls along half a cosine.
        Cosine = "cosine",
    }
}

settings! {
    /// AdamW, its schedule, and the limit on the gradient. Its keys stand in the stage's own table.
    pub struct Optimizer {
        /// Highest learning rate, reached after the warm-up.
        learning_rate: f64 = 1e-3, Limit::Real(0.0, 1.0);
        /// Optimizer steps in which the rate rises in a straight line.
        warmup_steps: usize = 0, Limit::Whole(0, 10_000_000);
        /// How the rate moves after the warm-up.
        schedule: Schedule = Schedule::Constant, Limit::Any;
        /// Rate at the stage's last step as a share of the highest.
        final_learning_rate_ratio: f64 = 0.1, Limit::Real(0.0, 1.0);
        /// Largest norm of the gradient; a larger one is scaled down to it.
        gradient_clip: f64 = 1.0, Limit::Above(0.0, 1e6);
        /// Share of each weight taken off per unit of learning rate (decoupled).
        weight_decay: f64 = 0.0, Limit::Real(0.0, 1.0);
        /// Decay of the mean of gradients.
        beta1: f64 = 0.9, Limit::Real(0.0, 0.9999);
        /// Decay of the mean of squared gradients.
        beta2: f64 = 0.95, Limit::Real(0.0, 0.99999);
        /// Added to the root of the mean of squares.
        epsilon: f64 = 1e-8, Limit::Above(0.0, 1.0);
    }
}

impl Optimizer {
    /// The defaults of `sft`: a new model learns fast and ends slowly.
    pub(super) fn for_sft() -> Self {
        Optimizer {
            learning_rate: 2e-3,
            warmup_steps: 20,
            schedule: Schedule::Cosine,
            ..Optimizer::default()
        }
    }

    /// The defaults of `rl`: small steps, so that a policy stays near the one that sampled.
    pub(super) fn for_rl() -> Self {
        Optimizer { learning_rate: 1e-4, ..Optimizer::default() }
    }
}
