//! Every reward: one variant and a line in each match.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::StepTree;

use super::{Needs, Nothing, ONE_ATTEMPT};
use crate::Rewards;
use crate::reward::{
    attribution, composite, expert_mix, gated, hierarchical, kl_penalty, outcome, overlong,
};

/// How verdicts become training rewards.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RewardConfig {
    /// The outcome itself.
    #[default]
    Outcome,
    /// A weighted and gated sum of outcome and parts.
    Composite(composite::Config),
    /// G-RA: lower priorities count where higher ones reached their thresholds.
    Gated(gated::Config),
    /// Tool-Star: form, then the answer, then a bonus for tools.
    Hierarchical(hierarchical::Config),
    /// EAG-RL: a score of the answer mixed with agreement.
    ExpertMix(expert_mix::Config),
    /// DAPO: another reward less a penalty for length.
    Overlong(overlong::Config),
    /// Another reward less what leaving the reference costs.
    KlPenalty(kl_penalty::Config),
    /// SPA-RL: what an estimator says that each step contributed, at once.
    Attribution(attribution::Config),
}

impl RewardConfig {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] = &[
        "outcome",
        "composite",
        "gated",
        "hierarchical",
        "expert_mix",
        "overlong",
        "kl_penalty",
        "attribution",
    ];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "outcome" => {
                Nothing::deserialize(table)?;
                RewardConfig::Outcome
            }
            "composite" => RewardConfig::Composite(composite::Config::deserialize(table)?),
            "gated" => RewardConfig::Gated(gated::Config::deserialize(table)?),
            "hierarchical" => RewardConfig::Hierarchical(hierarchical::Config::deserialize(table)?),
            "expert_mix" => RewardConfig::ExpertMix(expert_mix::Config::deserialize(table)?),
            "overlong" => RewardConfig::Overlong(overlong::Config::deserialize(table)?),
            "kl_penalty" => RewardConfig::KlPenalty(kl_penalty::Config::deserialize(table)?),
            "attribution" => RewardConfig::Attribution(attribution::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            RewardConfig::Outcome => "outcome",
            RewardConfig::Composite(_) => "composite",
            RewardConfig::Gated(_) => "gated",
            RewardConfig::Hierarchical(_) => "hierarchical",
            RewardConfig::ExpertMix(_) => "expert_mix",
            RewardConfig::Overlong(_) => "overlong",
            RewardConfig::KlPenalty(_) => "kl_penalty",
            RewardConfig::Attribution(_) => "attribution",
        }
    }

    /// Parts of a verdict this reads; each must be one that the environment declares.
    pub fn parts(&self) -> Vec<String> {
        match self {
            RewardConfig::Outcome => Vec::new(),
            RewardConfig::Composite(config) => config.parts(),
            RewardConfig::Gated(config) => config.parts(),
            RewardConfig::Hierarchical(config) => config.parts(),
            RewardConfig::ExpertMix(config) => vec![config.agreement.clone()],
            RewardConfig::Overlong(config) => config.of.parts(),
            RewardConfig::KlPenalty(config) => config.of.parts(),
            RewardConfig::Attribution(config) => config.parts(),
        }
    }

    /// What the engine must provide.
    pub fn needs(&self) -> Needs {
        match self {
            RewardConfig::KlPenalty(config) if config.coefficient > 0.0 => {
                Needs { token_columns: &["reference_logprob"], ..config.of.needs() }
            }
            RewardConfig::KlPenalty(config) => config.of.needs(),
            RewardConfig::Overlong(config) => config.of.needs(),
            RewardConfig::Attribution(config) => {
                Needs { step_columns: config.columns(), ..config.of.needs() }
            }
            _ => ONE_ATTEMPT,
        }
    }

    /// True where steps earn something at once, so that a method which looks at leaves alone would
    /// not see it.
    pub fn pays_steps(&self) -> bool {
        match self {
            RewardConfig::Attribution(_) => true,
            RewardConfig::KlPenalty(config) => config.of.pays_steps(),
            RewardConfig::Overlong(config) => config.of.pays_steps(),
            _ => false,
        }
    }

    /// True where a reward can be read as a chance of success: outcomes are from 0 to 1.
    pub fn is_chance(&self) -> bool {
        matches!(self, RewardConfig::Outcome)
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            RewardConfig::Outcome => None,
            RewardConfig::Composite(config) => config.problem(),
            RewardConfig::Gated(config) => config.problem(),
            RewardConfig::Hierarchical(config) => config.problem(),
            RewardConfig::ExpertMix(config) => config.problem(),
            RewardConfig::Overlong(config) => config.problem(),
            RewardConfig::KlPenalty(config) => config.problem(),
            RewardConfig::Attribution(config) => config.problem(),
        }
    }

    /// The training reward of every scored leaf.
    pub fn reward(&self, forest: &[StepTree]) -> Rewards {
        match self {
            RewardConfig::Outcome => outcome::reward(forest),
            RewardConfig::Composite(config) => composite::reward(forest, config),
            RewardConfig::Gated(config) => gated::reward(forest, config),
            RewardConfig::Hierarchical(config) => hierarchical::reward(forest, config),
            RewardConfig::ExpertMix(config) => expert_mix::reward(forest, config),
            RewardConfig::Overlong(config) => overlong::reward(forest, config),
            RewardConfig::KlPenalty(config) => kl_penalty::reward(forest, config),
            RewardConfig::Attribution(config) => attribution::reward(forest, config),
        }
    }
}
