//! Every objective: one variant and a line in each match.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::{Needs, ONE_ATTEMPT};
use crate::objective::{
    Kl, Unit, adaptive_clip, cispo, clipped, cross_entropy, gmpo, gspo, policy_gradient, surrogate,
    una,
};
use crate::{Aggregation, Batch, Loss};

/// The loss and its gradient.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Objective {
    /// Maximum likelihood.
    CrossEntropy(cross_entropy::Config),
    /// PPO's clipped surrogate, with KL and entropy.
    Clipped(clipped::Config),
    /// Ratios of sequences, clipped.
    Gspo(gspo::Config),
    /// Bounded weights, no token silenced.
    Cispo(cispo::Config),
    /// Geometric means of clipped ratios.
    Gmpo(gmpo::Config),
    /// An upper clip that follows the entropy (EAG-RL).
    AdaptiveClip(adaptive_clip::Config),
    /// No ratio and no clip (REINFORCE, A2C).
    PolicyGradient(policy_gradient::Config),
    /// Ratios, unclipped (TRPO's).
    Surrogate(surrogate::Config),
    /// The implicit reward, regressed on the score.
    Una(una::Config),
}

impl Objective {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] = &[
        "cross_entropy",
        "clipped",
        "gspo",
        "cispo",
        "gmpo",
        "adaptive_clip",
        "policy_gradient",
        "surrogate",
        "una",
    ];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "cross_entropy" => Objective::CrossEntropy(cross_entropy::Config::deserialize(table)?),
            "clipped" => Objective::Clipped(clipped::Config::deserialize(table)?),
            "gspo" => Objective::Gspo(gspo::Config::deserialize(table)?),
            "cispo" => Objective::Cispo(cispo::Config::deserialize(table)?),
            "gmpo" => Objective::Gmpo(gmpo::Config::deserialize(table)?),
            "adaptive_clip" => Objective::AdaptiveClip(adaptive_clip::Config::deserialize(table)?),
            "policy_gradient" => {
                Objective::PolicyGradient(policy_gradient::Config::deserialize(table)?)
            }
            "surrogate" => Objective::Surrogate(surrogate::Config::deserialize(table)?),
            "una" => Objective::Una(una::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Objective::CrossEntropy(_) => "cross_entropy",
            Objective::Clipped(_) => "clipped",
            Objective::Gspo(_) => "gspo",
            Objective::Cispo(_) => "cispo",
            Objective::Gmpo(_) => "gmpo",
            Objective::AdaptiveClip(_) => "adaptive_clip",
            Objective::PolicyGradient(_) => "policy_gradient",
            Objective::Surrogate(_) => "surrogate",
            Objective::Una(_) => "una",
        }
    }

    /// The penalty for leaving the reference, where the objective has one.
    fn kl(&self) -> Option<Kl> {
        match self {
            Objective::CrossEntropy(_) | Objective::Una(_) => None,
            Objective::Clipped(config) => Some(config.kl),
            Objective::Gspo(config) => Some(config.kl),
            Objective::Cispo(config) => Some(config.kl),
            Objective::Gmpo(config) => Some(config.kl),
            Objective::AdaptiveClip(config) => Some(config.kl),
            Objective::PolicyGradient(config) => Some(config.kl),
            Objective::Surrogate(config) => Some(config.kl),
        }
    }

    /// What a nat of leaving the reference costs; 0 where the objective has no such penalty.
    pub fn kl_coefficient(&self) -> f64 {
        self.kl().map_or(0.0, |kl| kl.coefficient)
    }

    /// The same objective with another coefficient of its KL, where it has one.
    #[must_use]
    pub fn with_kl_coefficient(&self, coefficient: f64) -> Self {
        let mut own = self.clone();
        match &mut own {
            Objective::CrossEntropy(_) | Objective::Una(_) => {}
            Objective::Clipped(config) => config.kl.coefficient = coefficient,
            Objective::Gspo(config) => config.kl.coefficient = coefficient,
            Objective::Cispo(config) => config.kl.coefficient = coefficient,
            Objective::Gmpo(config) => config.kl.coefficient = coefficient,
            Objective::AdaptiveClip(config) => config.kl.coefficient = coefficient,
            Objective::PolicyGradient(config) => config.kl.coefficient = coefficient,
            Objective::Surrogate(config) => config.kl.coefficient = coefficient,
        }
        own
    }

    /// What the engine must provide.
    pub fn needs(&self) -> Needs {
        let una = matches!(self, Objective::Una(_));
        let referenced = una || self.kl().is_some_and(|kl| kl.coefficient > 0.0);
        let token_columns: &[&str] = match (self, referenced) {
            (Objective::AdaptiveClip(_), true) => &[adaptive_clip::ENTROPY, "reference_logprob"],
            (Objective::AdaptiveClip(_), false) => &[adaptive_clip::ENTROPY],
            (_, true) => &["reference_logprob"],
            (_, false) => &[],
        };
        Needs { token_columns, ..ONE_ATTEMPT }
    }

    /// True where the objective differentiates the entropy, so that the trainer must give it.
    pub fn reads_entropy(&self) -> bool {
        let bonus = match self {
            Objective::CrossEntropy(_) | Objective::Una(_) => 0.0,
            Objective::Clipped(config) => config.entropy_bonus,
            Objective::Gspo(config) => config.entropy_bonus,
            Objective::Cispo(config) => config.entropy_bonus,
            Objective::Gmpo(config) => config.entropy_bonus,
            Objective::AdaptiveClip(config) => config.entropy_bonus,
            Objective::PolicyGradient(config) => config.entropy_bonus,
            Objective::Surrogate(config) => config.entropy_bonus,
        };
        bonus != 0.0
    }

    /// From tokens to the update.
    pub fn aggregation(&self) -> Aggregation {
        match self {
            Objective::CrossEntropy(config) => config.aggregation,
            Objective::Clipped(config) => config.aggregation,
            Objective::Gspo(config) => config.aggregation,
            Objective::Cispo(config) => config.aggregation,
            Objective::Gmpo(config) => config.aggregation,
            Objective::AdaptiveClip(config) => config.aggregation,
            Objective::PolicyGradient(config) => config.aggregation,
            Objective::Surrogate(config) => config.aggregation,
            Objective::Una(config) => config.aggregation,
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            Objective::CrossEntropy(config) => config.aggregation.problem(),
            Objective::Clipped(config) => config.problem(),
            Objective::Gspo(config) => config.problem(),
            Objective::Cispo(config) => config.problem(),
            Objective::Gmpo(config) => config.problem(),
            Objective::AdaptiveClip(config) => config.problem(),
            Objective::PolicyGradient(config) => config.problem(),
            Objective::Surrogate(config) => config.problem(),
            Objective::Una(config) => config.problem(),
        }
    }

    /// Which tokens share a ratio; `None` where the objective looks at one token at a time.
    pub fn sequence(&self) -> Option<Unit> {
        match self {
            Objective::Gspo(config) => Some(config.sequence),
            Objective::Gmpo(config) => Some(config.sequence),
            Objective::Una(_) => Some(Unit::Path),
            _ => None,
        }
    }

    /// Writes the columns that depend on the whole update, from those that the engine filled; call
    /// it once per update, before anything is split.
    pub fn prepare(&self, forest: &mut [StepTree], credit: &[Credit]) {
        if let Objective::AdaptiveClip(config) = self {
            let bounds = adaptive_clip::bounds(forest, credit, config);
            for (tree, bound) in forest.iter_mut().zip(bounds) {
                tree.token_column.insert(adaptive_clip::CLIP_HIGH.to_owned(), bound);
            }
        }
    }

    /// Columns over tokens, from [`Objective::prepare`], that a batch has as streams.
    pub fn streams(&self) -> &'static [&'static str] {
        match self {
            Objective::AdaptiveClip(_) => &[adaptive_clip::CLIP_HIGH],
            _ => &[],
        }
    }

    /// The loss of a batch and its gradient.
    pub fn objective(&self, batch: &Batch<'_>) -> Loss {
        match self {
            Objective::CrossEntropy(config) => cross_entropy::objective(batch, config),
            Objective::Clipped(config) => clipped::objective(batch, config),
            Objective::Gspo(config) => gspo::objective(batch, config),
            Objective::Cispo(config) => cispo::objective(batch, config),
            Objective::Gmpo(config) => gmpo::objective(batch, config),
            Objective::AdaptiveClip(config) => adaptive_clip::objective(batch, config),
            Objective::PolicyGradient(config) => policy_gradient::objective(batch, config),
            Objective::Surrogate(config) => surrogate::objective(batch, config),
            Objective::Una(config) => una::objective(batch, config),
        }
    }
}
