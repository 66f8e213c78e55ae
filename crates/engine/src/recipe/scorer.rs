//! What values prefixes of trees, as a recipe names it: `scorer = { type = "continuations" }`.

use serde::{Deserialize, Serialize};
use stepwell_methods::estimator::Aggregator;
use toml::de::ValueDeserializer;

use super::part::Part;

/// What a prefix of a tree is worth.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScorerConfig {
    /// How often the policy's own continuations come out right. It reads verdicts: a label maker
    /// and an upper bound, no verifier that could be deployed.
    Continuations(Continuations),
    /// What an earlier `[stage.estimator]` says: a verifier.
    Estimator(Learned),
}

/// A learned verifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// The `[stage.estimator]`, by its index from 0.
    pub stage: usize,
    /// How the scores of a path's steps make that of the path. Default `last`. Contributions are
    /// added up, whatever is set.
    #[serde(default)]
    pub aggregator: Aggregator,
}

/// Monte-Carlo continuations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Continuations {
    /// Continuations of a prefix, 1 to 1024. Default 20, PAV's n_mc.
    pub rollouts: u32,
    /// K, 1 to 1024: the score is 1 − (1 − Q)ᴷ, the chance that one of K succeeds. Default 1: Q.
    pub best_of: u32,
}

impl Default for Continuations {
    fn default() -> Self {
        Continuations { rollouts: 20, best_of: 1 }
    }
}

impl Default for ScorerConfig {
    fn default() -> Self {
        ScorerConfig::Continuations(Continuations::default())
    }
}

impl Part for ScorerConfig {
    const KIND: &'static str = "scorer";
    const NAMES: &'static [&'static str] = &["continuations", "estimator"];

    fn deserialize(
        name: &str,
        config: ValueDeserializer<'_>,
    ) -> Result<Option<Self>, toml::de::Error> {
        Ok(match name {
            "continuations" => {
                Some(ScorerConfig::Continuations(Continuations::deserialize(config)?))
            }
            "estimator" => Some(ScorerConfig::Estimator(Learned::deserialize(config)?)),
            _ => None,
        })
    }

    fn name(&self) -> &'static str {
        match self {
            ScorerConfig::Continuations(_) => "continuations",
            ScorerConfig::Estimator(_) => "estimator",
        }
    }

    fn problem(&self) -> Option<String> {
        let ScorerConfig::Continuations(Continuations { rollouts, best_of }) = *self else {
            return None;
        };
        let counts = [("rollouts", rollouts), ("best_of", best_of)];
        let (name, count) = counts.into_iter().find(|(_, n)| !(1..=1024).contains(n))?;
        Some(format!("`continuations.{name}` must be from 1 to 1024, got: {count}"))
    }
}
