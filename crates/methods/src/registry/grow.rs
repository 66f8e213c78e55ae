//! Every way to grow a tree: one variant and a line in each match.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::{Key, StepTree};

use crate::GrowView;
use crate::grow::{
    Open, Scores, SearchView, beam, branch, continuations, first_pit, fork_at_entropy,
    greedy_baseline, independent, mcts,
};

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
