//! What each step is worth. `None` (never judged) is not `0` (judged, no signal): INV-12.

use serde::{Deserialize, Serialize};

/// One number per step of one tree, spread to the step's tokens by the trainer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Credit {
    /// `[N]` `Some` on policy steps that may train, `None` elsewhere.
    pub step: Vec<Option<f64>>,
    /// `[T]` refinement per token of the arena where a method gives one (token GAE); else `None`.
    pub token: Option<Vec<f64>>,
}

impl Credit {
    /// No credit anywhere, for a tree of `steps` steps.
    pub fn none(steps: usize) -> Self {
        Credit { step: vec![None; steps], token: None }
    }

    /// Number of steps that will train.
    pub fn trained_steps(&self) -> usize {
        self.step.iter().flatten().count()
    }
}
