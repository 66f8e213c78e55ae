//! A step: one uninterrupted stretch of tokens with one origin (DECISIONS 1).

use serde::{Deserialize, Serialize};

/// Row index of a step in its [`StepTree`](crate::StepTree). A parent's index is smaller than its
/// children's (INV-2); the root is 0 and points at itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
pub struct StepId(pub u32);

impl StepId {
    /// The first step of every tree: the prompt.
    pub const ROOT: StepId = StepId(0);

    /// The row as an index into the tree's columns.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which weights wrote a step: 0 before any training, one more after every optimizer step.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default, Serialize, Deserialize,
)]
pub struct PolicyVersion(pub u64);

/// Who wrote a step. Credit sits on policy steps only, and on demonstration steps that an `sft`
/// stage marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// The task as the policy reads it; the root, and nothing else.
    Prompt,
    /// Sampled by the policy under this version of the weights.
    Policy(PolicyVersion),
    /// Written by the environment: an observation, a tool's result. Never trained in `rl` stages.
    Environment,
    /// Written by a demonstrator: a person, a script, a teacher.
    Demonstration,
}

impl Origin {
    /// True for steps that the policy sampled: the only ones that carry credit in `rl` stages.
    pub fn is_policy(self) -> bool {
        matches!(self, Origin::Policy(_))
    }
}

/// Why a policy step ended. An enum and not a Boolean: "stopped" and "malformed" are different.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Stop {
    /// Not a policy step, so nothing stopped.
    NotSampled,
    /// One of the environment's stop strings was written. The token that completed it is kept
    /// (DECISIONS 13).
    StopString,
    /// The policy wrote an end-of-text token.
    EndOfText,
    /// The step reached its token budget.
    Length,
    /// The path reached the model's context.
    Context,
}

/// Half-open range into a tree's token arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Span {
    /// First token.
    pub begin: u32,
    /// One past the last token.
    pub end: u32,
}

impl Span {
    /// Number of tokens.
    pub fn len(self) -> usize {
        (self.end - self.begin) as usize
    }

    /// True where the step holds no token.
    pub fn is_empty(self) -> bool {
        self.begin == self.end
    }

    /// The span as a range for slicing the arena.
    pub fn range(self) -> std::ops::Range<usize> {
        self.begin as usize..self.end as usize
    }
}
