//! Filters of trees.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::StepTree;

use crate::filter::{Keep, difficulty, drop_uniform, length, success_rate};

/// Which trees, and which of their steps, may train.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Filter {
    /// Not those whose attempts are worth the same.
    DropUniform(drop_uniform::Config),
    /// Those solved within bounds.
    SuccessRate(success_rate::Config),
    /// Those of some buckets of difficulty.
    Difficulty(difficulty::Config),
    /// Not what is too long.
    Length(length::Config),
}

impl Filter {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] =
        &["drop_uniform", "success_rate", "difficulty", "length"];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "drop_uniform" => Filter::DropUniform(drop_uniform::Config::deserialize(table)?),
            "success_rate" => Filter::SuccessRate(success_rate::Config::deserialize(table)?),
            "difficulty" => Filter::Difficulty(difficulty::Config::deserialize(table)?),
            "length" => Filter::Length(length::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Filter::DropUniform(_) => "drop_uniform",
            Filter::SuccessRate(_) => "success_rate",
            Filter::Difficulty(_) => "difficulty",
            Filter::Length(_) => "length",
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            Filter::DropUniform(_) => None,
            Filter::SuccessRate(config) => config.problem(),
            Filter::Difficulty(config) => config.problem(),
            Filter::Length(config) => config.problem(),
        }
    }

    /// What may train of a tree; `reward` is `[N]`, of its scored leaves.
    pub fn keep(&self, tree: &StepTree, reward: &[Option<f64>]) -> Keep {
        match self {
            Filter::DropUniform(config) => drop_uniform::keep(tree, reward, config),
            Filter::SuccessRate(config) => success_rate::keep(tree, reward, config),
            Filter::Difficulty(config) => difficulty::keep(tree, reward, config),
            Filter::Length(config) => length::keep(tree, reward, config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{Error, MapDeserializer};

    #[test]
    fn every_name_is_read_by_its_name_and_an_unknown_key_is_refused() {
        let table = |key| MapDeserializer::<_, Error>::new([(key, 0.5)].into_iter());
        let empty = || MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, f64)>());
        for name in Filter::NAMES {
            let filter = Filter::from_type(name, empty()).unwrap().unwrap();
            assert_eq!(filter.name(), *name);
            // Bounds on the success rate have no default that would be right for all.
            assert_eq!(filter.problem().is_some(), *name == "success_rate", "{name}");
            assert!(Filter::from_type(name, table("no_such_key")).is_err(), "{name}");
        }
        assert_eq!(Filter::from_type("drop_unifrom", empty()).unwrap(), None);
        let given = Filter::from_type("difficulty", table("easy_from")).unwrap().unwrap();
        assert_eq!(given.problem(), None);
        assert_ne!(given, Filter::from_type("difficulty", empty()).unwrap().unwrap());
    }
}
