//! Every credit method: one variant and a line in each match.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::{Needs, ONE_ATTEMPT, TWO_ATTEMPTS, critic};
use crate::Rewards;
use crate::credit::{
    anchor_group, backup, depth_group, effective_reward, gae, gpg, group_mean, leave_one_out,
    length_weighted, monte_carlo, n_step, pass_at_k, permuted, progress, reinforce,
    reinforce_plus_plus, remax, reverse_kl, sibling, uniform,
};

/// What each step is worth.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CreditConfig {
    /// Reward less a baseline that does not depend on the step.
    Reinforce(reinforce::Config),
    /// REINFORCE++: rewards normalised by the whole update.
    ReinforcePlusPlus(reinforce_plus_plus::Config),
    /// GRPO.
    GroupMean(group_mean::Config),
    /// RLOO.
    LeaveOneOut(leave_one_out::Config),
    /// OPO: a baseline weighted by length.
    LengthWeighted(length_weighted::Config),
    /// GPG: scaled up by the share of groups with signal.
    Gpg(gpg::Config),
    /// The lead of the best attempt.
    PassAtK(pass_at_k::Config),
    /// Own value less that of the other continuations.
    Sibling(sibling::Config),
    /// Value after a step less the value before it.
    Backup(backup::Config),
    /// Step-GRPO: value against the steps of the same turn.
    DepthGroup(depth_group::Config),
    /// GiGPO: value against the steps that observed the same.
    AnchorGroup(anchor_group::Config),
    /// PAV: outcome and progress under a best-of-K prover.
    Progress(progress::Config),
    /// The surprise of a critic, from each moment on.
    Gae(gae::Config),
    /// A2C: rewards of n moments, then the critic.
    NStep(n_step::Config),
    /// ReMax: reward less that of the greedy attempt.
    Remax(remax::Config),
    /// VinePPO: difference of values that continuations estimate.
    MonteCarlo(monte_carlo::Config),
    /// PAV: outcome and progress by a learned value of prefixes.
    EffectiveReward(effective_reward::Config),
    /// The teacher's opinion of each token.
    ReverseKl(reverse_kl::Config),
    /// Control: the same number everywhere.
    Uniform(uniform::Config),
    /// Control: another method's numbers on the wrong steps.
    Permuted(permuted::Config),
}

impl CreditConfig {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] = &[
        "reinforce",
        "reinforce_plus_plus",
        "group_mean",
        "leave_one_out",
        "length_weighted",
        "gpg",
        "pass_at_k",
        "sibling",
        "backup",
        "depth_group",
        "anchor_group",
        "progress",
        "gae",
        "n_step",
        "remax",
        "monte_carlo",
        "effective_reward",
        "reverse_kl",
        "uniform",
        "permuted",
    ];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "reinforce" => CreditConfig::Reinforce(reinforce::Config::deserialize(table)?),
            "reinforce_plus_plus" => {
                CreditConfig::ReinforcePlusPlus(reinforce_plus_plus::Config::deserialize(table)?)
            }
            "group_mean" => CreditConfig::GroupMean(group_mean::Config::deserialize(table)?),
            "leave_one_out" => {
                CreditConfig::LeaveOneOut(leave_one_out::Config::deserialize(table)?)
            }
            "length_weighted" => {
                CreditConfig::LengthWeighted(length_weighted::Config::deserialize(table)?)
            }
            "gpg" => CreditConfig::Gpg(gpg::Config::deserialize(table)?),
            "pass_at_k" => CreditConfig::PassAtK(pass_at_k::Config::deserialize(table)?),
            "sibling" => CreditConfig::Sibling(sibling::Config::deserialize(table)?),
            "backup" => CreditConfig::Backup(backup::Config::deserialize(table)?),
            "depth_group" => CreditConfig::DepthGroup(depth_group::Config::deserialize(table)?),
            "anchor_group" => CreditConfig::AnchorGroup(anchor_group::Config::deserialize(table)?),
            "progress" => CreditConfig::Progress(progress::Config::deserialize(table)?),
            "gae" => CreditConfig::Gae(gae::Config::deserialize(table)?),
            "n_step" => CreditConfig::NStep(n_step::Config::deserialize(table)?),
            "remax" => CreditConfig::Remax(remax::Config::deserialize(table)?),
            "monte_carlo" => CreditConfig::MonteCarlo(monte_carlo::Config::deserialize(table)?),
            "effective_reward" => {
                CreditConfig::EffectiveReward(effective_reward::Config::deserialize(table)?)
            }
            "reverse_kl" => CreditConfig::ReverseKl(reverse_kl::Config::deserialize(table)?),
            "uniform" => CreditConfig::Uniform(uniform::Config::deserialize(table)?),
            "permuted" => CreditConfig::Permuted(permuted::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            CreditConfig::Reinforce(_) => "reinforce",
            CreditConfig::ReinforcePlusPlus(_) => "reinforce_plus_plus",
            CreditConfig::GroupMean(_) => "group_mean",
            CreditConfig::LeaveOneOut(_) => "leave_one_out",
            CreditConfig::LengthWeighted(_) => "length_weighted",
            CreditConfig::Gpg(_) => "gpg",
            CreditConfig::PassAtK(_) => "pass_at_k",
            CreditConfig::Sibling(_) => "sibling",
            CreditConfig::Backup(_) => "backup",
            CreditConfig::DepthGroup(_) => "depth_group",
            CreditConfig::AnchorGroup(_) => "anchor_group",
            CreditConfig::Progress(_) => "progress",
            CreditConfig::Gae(_) => "gae",
            CreditConfig::NStep(_) => "n_step",
            CreditConfig::Remax(_) => "remax",
            CreditConfig::MonteCarlo(_) => "monte_carlo",
            CreditConfig::EffectiveReward(_) => "effective_reward",
            CreditConfig::ReverseKl(_) => "reverse_kl",
            CreditConfig::Uniform(_) => "uniform",
            CreditConfig::Permuted(_) => "permuted",
        }
    }

    /// What the engine must provide.
    pub fn needs(&self) -> Needs {
        match self {
            CreditConfig::Reinforce(_) | CreditConfig::Uniform(_) => ONE_ATTEMPT,
            CreditConfig::ReinforcePlusPlus(config) => match config.baseline {
                reinforce_plus_plus::Baseline::None => ONE_ATTEMPT,
                reinforce_plus_plus::Baseline::GroupMean => TWO_ATTEMPTS,
            },
            CreditConfig::GroupMean(config) => match config.single {
                group_mean::Single::None => TWO_ATTEMPTS,
                group_mean::Single::Reward => ONE_ATTEMPT,
            },
            CreditConfig::LeaveOneOut(_)
            | CreditConfig::LengthWeighted(_)
            | CreditConfig::Gpg(_)
            | CreditConfig::PassAtK(_)
            | CreditConfig::Sibling(_)
            | CreditConfig::Backup(_)
            | CreditConfig::DepthGroup(_)
            | CreditConfig::AnchorGroup(_)
            | CreditConfig::Progress(_)
            | CreditConfig::Remax(_)
            | CreditConfig::MonteCarlo(_) => TWO_ATTEMPTS,
            CreditConfig::Gae(config) => critic::needs(config.kl),
            CreditConfig::NStep(config) => critic::needs(config.kl),
            CreditConfig::EffectiveReward(config) => critic::needs_score(config),
            CreditConfig::ReverseKl(_) => {
                Needs { token_columns: &[reverse_kl::TEACHER], ..ONE_ATTEMPT }
            }
            CreditConfig::Permuted(config) => config.of.needs(),
        }
    }

    /// True where rewards are read as chances of success, so that they must be from 0 to 1.
    pub fn reads_chances(&self) -> bool {
        match self {
            CreditConfig::Progress(_) => true,
            CreditConfig::EffectiveReward(config) => config.alpha > 0.0,
            CreditConfig::Permuted(config) => config.of.reads_chances(),
            _ => false,
        }
    }

    /// The methods of growing whose companions it reads: it goes with one of them or not at all;
    /// nothing where it reads none.
    pub fn needs_grow(&self) -> &'static [&'static str] {
        match self {
            CreditConfig::Remax(_) => &["greedy_baseline"],
            CreditConfig::MonteCarlo(_) => &["continuations", "first_pit"],
            CreditConfig::Permuted(config) => config.of.needs_grow(),
            _ => &[],
        }
    }

    /// True where the credit of the judged alternatives of every decision adds up to 0.
    pub fn siblings_sum_to_zero(&self) -> bool {
        matches!(self, CreditConfig::Sibling(_))
    }

    /// True where attempts of all tasks are compared, and not only those of one.
    pub fn compares_update(&self) -> bool {
        match self {
            CreditConfig::ReinforcePlusPlus(_) => true,
            CreditConfig::Permuted(config) => config.of.compares_update(),
            _ => false,
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            CreditConfig::Reinforce(config) => config.problem(),
            CreditConfig::ReinforcePlusPlus(config) => config.problem(),
            CreditConfig::GroupMean(config) => config.problem(),
            CreditConfig::Gpg(config) => config.problem(),
            CreditConfig::PassAtK(config) => config.problem(),
            CreditConfig::DepthGroup(config) => config.problem(),
            CreditConfig::AnchorGroup(config) => config.problem(),
            CreditConfig::Progress(config) => config.problem(),
            CreditConfig::Gae(config) => config.problem(),
            CreditConfig::NStep(config) => config.problem(),
            CreditConfig::EffectiveReward(config) => config.problem(),
            CreditConfig::ReverseKl(config) => config.problem(),
            CreditConfig::Uniform(config) => config.problem(),
            CreditConfig::Permuted(config) => config.of.problem(),
            CreditConfig::LeaveOneOut(_)
            | CreditConfig::LengthWeighted(_)
            | CreditConfig::Sibling(_)
            | CreditConfig::Remax(_)
            | CreditConfig::MonteCarlo(_)
            | CreditConfig::Backup(_) => None,
        }
    }

    /// One credit per tree.
    pub fn credit(&self, forest: &[StepTree], rewards: &Rewards) -> Vec<Credit> {
        match self {
            CreditConfig::Reinforce(config) => reinforce::credit(forest, rewards, config),
            CreditConfig::ReinforcePlusPlus(config) => {
                reinforce_plus_plus::credit(forest, rewards, config)
            }
            CreditConfig::GroupMean(config) => group_mean::credit(forest, rewards, config),
            CreditConfig::LeaveOneOut(config) => leave_one_out::credit(forest, rewards, config),
            CreditConfig::LengthWeighted(config) => {
                length_weighted::credit(forest, rewards, config)
            }
            CreditConfig::Gpg(config) => gpg::credit(forest, rewards, config),
            CreditConfig::PassAtK(config) => pass_at_k::credit(forest, rewards, config),
            CreditConfig::Sibling(config) => sibling::credit(forest, rewards, config),
            CreditConfig::Backup(config) => backup::credit(forest, rewards, config),
            CreditConfig::DepthGroup(config) => depth_group::credit(forest, rewards, config),
            CreditConfig::AnchorGroup(config) => anchor_group::credit(forest, rewards, config),
            CreditConfig::Progress(config) => progress::credit(forest, rewards, config),
            CreditConfig::Gae(config) => gae::credit(forest, rewards, config),
            CreditConfig::NStep(config) => n_step::credit(forest, rewards, config),
            CreditConfig::Remax(config) => remax::credit(forest, rewards, config),
            CreditConfig::MonteCarlo(config) => monte_carlo::credit(forest, rewards, config),
            CreditConfig::EffectiveReward(config) => {
                effective_reward::credit(forest, rewards, config)
            }
            CreditConfig::ReverseKl(config) => reverse_kl::credit(forest, rewards, config),
            CreditConfig::Uniform(config) => uniform::credit(forest, rewards, config),
            CreditConfig::Permuted(config) => permuted::credit(forest, rewards, config),
        }
    }
}
