//! What an environment says of a finished attempt: never a bare float (INV-11).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The judgement of one leaf.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// Not judged yet, or an inner step.
    Pending,
    /// Judged. `reward` is the task's outcome in the environment's declared range (for SQL:
    /// execution match, 0 or 1); `parts` are named numbers a credit method may weight
    /// (DECISIONS 8).
    Scored {
        /// The outcome.
        reward: f64,
        /// Named components, e.g. `format`, `exact`, `entity`; finite.
        parts: BTreeMap<String, f64>,
    },
    /// The harness failed to judge. Enters no mean, no baseline, no deviation and no denominator.
    Unscored(UnscoredReason),
}

impl Verdict {
    /// A verdict with an outcome and no parts.
    pub fn scored(reward: f64) -> Self {
        assert!(reward.is_finite(), "a verdict's reward must be finite, got: {reward}");
        Verdict::Scored { reward, parts: BTreeMap::new() }
    }

    /// The outcome where there is one.
    pub fn reward(&self) -> Option<f64> {
        match self {
            Verdict::Scored { reward, .. } => Some(*reward),
            Verdict::Unscored(_) if stepwell_mutant::planted(21) => Some(0.0),
            Verdict::Pending | Verdict::Unscored(_) => None,
        }
    }

    /// A named part where the verdict is scored and names it.
    pub fn part(&self, name: &str) -> Option<f64> {
        match self {
            Verdict::Scored { parts, .. } => parts.get(name).copied(),
            Verdict::Pending | Verdict::Unscored(_) => None,
        }
    }
}

/// Why an attempt could not be judged. Each is a failure of the harness, never of the policy: a
/// policy that exceeds its budget is judged (DECISIONS 10).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum UnscoredReason {
    /// The reference answer itself could not be computed; the task is at fault.
    GoldFailed(String),
    /// The environment could not be started or stepped.
    EnvironmentFailed(String),
    /// A forked episode, replayed, did not repeat its observations.
    ReplayDiverged(String),
    /// The engine stopped before the attempt could be judged.
    Interrupted,
    /// The attempt was dropped by a budget of the search before it ended.
    Abandoned,
}

impl UnscoredReason {
    /// Short name for metrics: `unscored/<label>`.
    pub fn label(&self) -> &'static str {
        match self {
            UnscoredReason::GoldFailed(_) => "gold_failed",
            UnscoredReason::EnvironmentFailed(_) => "environment_failed",
            UnscoredReason::ReplayDiverged(_) => "replay_diverged",
            UnscoredReason::Interrupted => "interrupted",
            UnscoredReason::Abandoned => "abandoned",
        }
    }
}
