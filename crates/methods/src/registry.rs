//! The list of everything: one enum and one match per kind. A new method is a file and a line in
//! each match; the compiler names the lines that are missing.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::{Credit, Key, StepTree};

use crate::grow::{
    Open, Scores, SearchView, beam, branch, continuations, first_pit, fork_at_entropy,
    greedy_baseline, independent, mcts,
};
use crate::objective::{
    Kl, Unit, adaptive_clip, cispo, clipped, cross_entropy, gmpo, gspo, policy_gradient, surrogate,
    una,
};
use crate::{Aggregation, Batch, GrowView, Loss};

mod credit;
mod critic;
mod curriculum;
mod estimator;
mod filter;
mod offline;
mod preference;
mod reward;
mod schedule;

pub use credit::CreditConfig;
pub use curriculum::Curriculum;
pub use estimator::EstimatorConfig;
pub use filter::Filter;
pub use offline::{OfflineValue, RowObjective};
pub use preference::PreferenceLoss;
pub use reward::RewardConfig;
pub use schedule::Schedule;

/// What a method must be given beyond the forest or the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Columns over steps, filled by the engine before the call.
    pub step_columns: &'static [&'static str],
    /// Columns over tokens, filled by the engine before the call.
    pub token_columns: &'static [&'static str],
    /// Scored leaves a tree must have to give any credit; a recipe that grows fewer is refused.
    pub attempts_min: u32,
}

const ONE_ATTEMPT: Needs = Needs { step_columns: &[], token_columns: &[], attempts_min: 1 };
const TWO_ATTEMPTS: Needs = Needs { attempts_min: 2, ..ONE_ATTEMPT };

/// The table of a method that has nothing to set: any key in it is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

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

/// Where to sample next.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Grow {
    /// Attempts that share the prompt only.
    Independent(independent::Config),
    /// Forks at observations until a budget is used.
    Branch(branch::Config),
    /// Forks where the policy has become unsure.
    ForkAtEntropy(fork_at_entropy::Config),
    /// Attempts beside a greedy one (ReMax).
    GreedyBaseline(greedy_baseline::Config),
    /// Attempts, and lines to the end from every place they pass (VinePPO).
    Continuations(continuations::Config),
    /// Attempts, and lines from where they could still be saved (PAV).
    FirstPit(first_pit::Config),
    /// Simulations where they promise most.
    Mcts(mcts::Config),
    /// The best few prefixes by a scorer (PAV).
    Beam(beam::Config),
}

impl Grow {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] = &[
        "independent",
        "branch",
        "fork_at_entropy",
        "greedy_baseline",
        "continuations",
        "first_pit",
        "mcts",
        "beam",
    ];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "independent" => Grow::Independent(independent::Config::deserialize(table)?),
            "branch" => Grow::Branch(branch::Config::deserialize(table)?),
            "fork_at_entropy" => Grow::ForkAtEntropy(fork_at_entropy::Config::deserialize(table)?),
            "greedy_baseline" => Grow::GreedyBaseline(greedy_baseline::Config::deserialize(table)?),
            "continuations" => Grow::Continuations(continuations::Config::deserialize(table)?),
            "first_pit" => Grow::FirstPit(first_pit::Config::deserialize(table)?),
            "mcts" => Grow::Mcts(mcts::Config::deserialize(table)?),
            "beam" => Grow::Beam(beam::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Grow::Independent(_) => "independent",
            Grow::Branch(_) => "branch",
            Grow::ForkAtEntropy(_) => "fork_at_entropy",
            Grow::GreedyBaseline(_) => "greedy_baseline",
            Grow::Continuations(_) => "continuations",
            Grow::FirstPit(_) => "first_pit",
            Grow::Mcts(_) => "mcts",
            Grow::Beam(_) => "beam",
        }
    }

    /// Most leaves a tree can have: what the engine makes room for. Of a beam, most at once.
    pub fn leaves_max(&self) -> u32 {
        match self {
            Grow::Independent(config) => config.attempts,
            Grow::Branch(config) if config.branches == 1 => config.attempts,
            Grow::Branch(config) => config.leaves,
            Grow::ForkAtEntropy(config) if config.branches == 1 => config.attempts,
            Grow::ForkAtEntropy(config) => config.leaves,
            Grow::GreedyBaseline(config) => config.attempts + 1,
            Grow::Continuations(config) => config.attempts.saturating_add(config.leaves),
            Grow::FirstPit(config) => config.attempts.saturating_add(config.leaves),
            Grow::Mcts(config) => config.simulations,
            Grow::Beam(config) => beam::lines_max(config),
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            Grow::Independent(config) => config.problem(),
            Grow::Branch(config) => config.problem(),
            Grow::ForkAtEntropy(config) => config.problem(),
            Grow::GreedyBaseline(config) => config.problem(),
            Grow::Continuations(config) => config.problem(),
            Grow::FirstPit(config) => config.problem(),
            Grow::Mcts(config) => config.problem(),
            Grow::Beam(config) => config.problem(),
        }
    }

    /// Steps to open below the prompt; at least 1. A search is asked instead.
    pub fn opening(&self) -> u32 {
        match self {
            Grow::Independent(config) => independent::opening(config),
            Grow::Branch(config) => branch::opening(config),
            Grow::ForkAtEntropy(config) => fork_at_entropy::opening(config),
            Grow::GreedyBaseline(config) => greedy_baseline::opening(config),
            Grow::Continuations(_) | Grow::FirstPit(_) | Grow::Mcts(_) | Grow::Beam(_) => {
                panic!("a search is asked in rounds")
            }
        }
    }

    /// Steps to open below an observation; at least 1, which continues the line.
    pub fn after_observation(&self, view: &GrowView<'_>, key: Key) -> u32 {
        match self {
            Grow::Independent(_) | Grow::GreedyBaseline(_) => 1,
            Grow::Branch(config) => branch::after_observation(view, config, key),
            Grow::ForkAtEntropy(config) => fork_at_entropy::after_observation(view, config, key),
            Grow::Continuations(_) | Grow::FirstPit(_) | Grow::Mcts(_) | Grow::Beam(_) => {
                panic!("a search is asked in rounds")
            }
        }
    }

    /// True where the method is asked in rounds, about whole trees.
    pub fn is_search(&self) -> bool {
        matches!(self, Grow::Continuations(_) | Grow::FirstPit(_) | Grow::Mcts(_) | Grow::Beam(_))
    }

    /// What a search opens next; nothing ends the tree.
    pub fn search(&self, view: &SearchView<'_>, key: Key) -> Vec<Open> {
        match self {
            Grow::Continuations(config) => continuations::search(view, config, key),
            Grow::FirstPit(config) => first_pit::search(view, config, key),
            Grow::Mcts(config) => mcts::search(view, config, key),
            Grow::Beam(config) => beam::search(view, config, key),
            _ => panic!("`{}` is no search", self.name()),
        }
    }

    /// What a search wants valued.
    pub fn scores(&self) -> Scores {
        match self {
            Grow::Mcts(_) => Scores::Leaves,
            Grow::Beam(_) => Scores::Everywhere,
            _ => Scores::Nowhere,
        }
    }

    /// True for the child of the prompt that is sampled greedily, with all that follows it.
    pub fn is_greedy(&self, child_index: u32) -> bool {
        match self {
            Grow::GreedyBaseline(config) => greedy_baseline::is_greedy(config, child_index),
            _ => false,
        }
    }

    /// The credit that reads the method's companions; any other would take them for attempts.
    pub fn needs_credit(&self) -> Option<&'static str> {
        match self {
            Grow::GreedyBaseline(_) => Some("remax"),
            Grow::Continuations(_) | Grow::FirstPit(_) => Some("monte_carlo"),
            _ => None,
        }
    }

    /// `[N]` the column [`COMPANION`](crate::grow::COMPANION) of a tree that the method has grown;
    /// `None` where it grows no companions.
    pub fn companions(&self, tree: &StepTree) -> Option<Vec<f32>> {
        match self {
            Grow::GreedyBaseline(config) => Some(greedy_baseline::companions(tree, config)),
            Grow::Continuations(config) => Some(continuations::companions(tree, config)),
            Grow::FirstPit(config) => Some(first_pit::companions(tree, config)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::{group_mean, permuted, progress, reinforce_plus_plus};
    use serde::de::value::{Error, MapDeserializer};

    type Table<'a> = MapDeserializer<'a, std::array::IntoIter<(&'a str, f64), 1>, Error>;

    fn empty<'a>() -> MapDeserializer<'a, std::array::IntoIter<(&'a str, f64), 0>, Error> {
        MapDeserializer::new([].into_iter())
    }

    fn stray<'a>() -> Table<'a> {
        MapDeserializer::new([("no_such_key", 1.0)].into_iter())
    }

    #[test]
    fn every_name_is_read_by_its_name_and_its_defaults_are_fine() {
        for name in RewardConfig::NAMES {
            let method = RewardConfig::from_type(name, empty()).unwrap().unwrap();
            assert_eq!((method.name(), method.problem()), (*name, None));
        }
        for name in CreditConfig::NAMES {
            let method = CreditConfig::from_type(name, empty()).unwrap().unwrap();
            assert_eq!((method.name(), method.problem()), (*name, None));
        }
        for name in Objective::NAMES {
            let method = Objective::from_type(name, empty()).unwrap().unwrap();
            assert_eq!((method.name(), method.problem()), (*name, None));
        }
        for name in Grow::NAMES {
            let method = Grow::from_type(name, empty()).unwrap().unwrap();
            assert_eq!((method.name(), method.problem()), (*name, None));
        }
    }

    #[test]
    fn an_unknown_key_is_refused_and_an_unknown_name_is_the_callers() {
        for name in RewardConfig::NAMES {
            assert!(RewardConfig::from_type(name, stray()).is_err(), "{name}");
        }
        for name in CreditConfig::NAMES {
            assert!(CreditConfig::from_type(name, stray()).is_err(), "{name}");
        }
        for name in Objective::NAMES {
            assert!(Objective::from_type(name, stray()).is_err(), "{name}");
        }
        for name in Grow::NAMES {
            assert!(Grow::from_type(name, stray()).is_err(), "{name}");
        }
        assert_eq!(CreditConfig::from_type("group_maen", empty()).unwrap(), None);
    }

    #[test]
    fn a_key_of_a_table_reaches_its_field() {
        let table: Table<'_> = MapDeserializer::new([("clip_high", 0.28)].into_iter());
        let expected = clipped::Config { clip_high: 0.28, ..clipped::Config::default() };
        let got = Objective::from_type("clipped", table).unwrap();
        assert_eq!(got, Some(Objective::Clipped(expected)));
    }

    #[test]
    fn needs_follow_the_configuration() {
        let needs = |name| CreditConfig::from_type(name, empty()).unwrap().unwrap().needs();
        for name in CreditConfig::NAMES {
            let alone = [
                "reinforce",
                "reinforce_plus_plus",
                "gae",
                "n_step",
                "effective_reward",
                "reverse_kl",
                "uniform",
            ];
            let alone = alone.contains(name);
            assert_eq!(needs(name).attempts_min, if alone { 1 } else { 2 }, "{name}");
        }
        let baseline = reinforce_plus_plus::Baseline::GroupMean;
        let compared = reinforce_plus_plus::Config { baseline, ..Default::default() };
        assert_eq!(CreditConfig::ReinforcePlusPlus(compared).needs().attempts_min, 2);
        let single =
            group_mean::Config { single: group_mean::Single::Reward, ..Default::default() };
        assert_eq!(CreditConfig::GroupMean(single).needs().attempts_min, 1);
    }

    #[test]
    fn what_reads_chances_needs_rewards_from_0_to_1() {
        let progress = CreditConfig::Progress(progress::Config::default());
        let dealt = permuted::Config { of: Box::new(progress.clone()), seed: 1 };
        assert!(progress.reads_chances() && CreditConfig::Permuted(dealt).reads_chances());
        let sibling = CreditConfig::from_type("sibling", empty()).unwrap().unwrap();
        assert!(!sibling.reads_chances());
        for name in RewardConfig::NAMES {
            let reward = RewardConfig::from_type(name, empty()).unwrap().unwrap();
            assert_eq!(reward.is_chance(), *name == "outcome", "{name}");
        }
    }
}
