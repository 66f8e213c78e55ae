//! One file per kind of stage.

mod attempts;
mod columns;
mod companions;
mod critic;
mod estimator;
mod evaluate;
mod forest;
mod judged;
mod kept;
mod mixture;
mod offline;
mod preference;
mod refill;
mod rejection;
mod rl;
mod sft;
mod sift;
mod step;
mod supervision;

pub(crate) use attempts::hinted;
pub(crate) use critic::prepare as prepare_critic;
pub(crate) use estimator::estimator;
pub(crate) use evaluate::{Keys, answers, evaluate, verifier};
pub(crate) use forest::STRICT_GAP;
pub(crate) use judged::{Bench, bench, known as known_judges};
pub(crate) use offline::offline;
pub(crate) use preference::preference;
pub(crate) use rejection::rejection;
pub(crate) use rl::{recredit, rl};
pub(crate) use sft::sft;

use stepwell_model::AdamWSettings;
use stepwell_train::{LearningRate, Shape};

use crate::recipe::{Optimizer, Schedule};

/// The optimizer's settings at a step of a stage.
fn adamw(optimizer: &Optimizer, steps: usize, step: usize) -> AdamWSettings {
    let shape = match optimizer.schedule {
        Schedule::Constant => Shape::Constant,
        Schedule::Linear => Shape::Linear,
        Schedule::Cosine => Shape::Cosine,
    };
    let rate = LearningRate {
        peak: optimizer.learning_rate,
        warmup: optimizer.warmup_steps,
        total: steps,
        shape,
        floor: optimizer.final_learning_rate_ratio,
    };
    AdamWSettings {
        learning_rate: rate.at(step),
        beta1: optimizer.beta1,
        beta2: optimizer.beta2,
        epsilon: optimizer.epsilon,
        weight_decay: optimizer.weight_decay,
    }
}
