//! Curricula: which tasks come when.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::{Key, StepTree, TaskHash};

use crate::curriculum::{Estimates, Now, Order, easy_to_hard, epochs, weighted};

/// Which tasks an update is made of.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Curriculum {
    /// Each task once before any comes twice, whatever the policy can do.
    Epochs(epochs::Config),
    /// What is solved sometimes, then what is mostly not.
    EasyToHard(easy_to_hard::Config),
    /// By what tasks can teach.
    Weighted(weighted::Config),
}

impl Curriculum {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] = &["epochs", "easy_to_hard", "weighted"];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "epochs" => Curriculum::Epochs(epochs::Config::deserialize(table)?),
            "easy_to_hard" => Curriculum::EasyToHard(easy_to_hard::Config::deserialize(table)?),
            "weighted" => Curriculum::Weighted(weighted::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Curriculum::Epochs(_) => "epochs",
            Curriculum::EasyToHard(_) => "easy_to_hard",
            Curriculum::Weighted(_) => "weighted",
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            Curriculum::Epochs(_) => None,
            Curriculum::EasyToHard(config) => config.problem(),
            Curriculum::Weighted(config) => config.problem(),
        }
    }

    /// All tasks in the order in which an update takes them; `key` names the update. `None`: in
    /// epochs, which need no estimate.
    pub fn order(
        &self,
        tasks: &[TaskHash],
        estimates: &Estimates,
        now: &Now,
        key: Key,
    ) -> Option<Order> {
        match self {
            Curriculum::Epochs(_) => None,
            Curriculum::EasyToHard(config) => {
                Some(easy_to_hard::order(tasks, estimates, now, config, key))
            }
            Curriculum::Weighted(config) => {
                Some(weighted::order(tasks, estimates, now, config, key))
            }
        }
    }

    /// Keeps what an update's trees show, where somebody will ask.
    pub fn observe(&self, forest: &[StepTree], estimates: &mut Estimates) {
        let solved_at = match self {
            Curriculum::Epochs(_) => return,
            Curriculum::EasyToHard(config) => config.solved_at,
            Curriculum::Weighted(config) => config.solved_at,
        };
        for tree in forest {
            if let Some(version) = tree.policy_version() {
                estimates.observe(tree, version.0, solved_at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{Error, MapDeserializer};

    #[test]
    fn every_name_is_read_by_its_name_and_an_unknown_key_is_refused() {
        let empty = || MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, f64)>());
        for name in Curriculum::NAMES {
            let curriculum = Curriculum::from_type(name, empty()).unwrap().unwrap();
            assert_eq!((curriculum.name(), curriculum.problem()), (*name, None));
            let stray = MapDeserializer::<_, Error>::new([("no_such_key", 1.0)].into_iter());
            assert!(Curriculum::from_type(name, stray).is_err(), "{name}");
        }
        assert_eq!(Curriculum::from_type("epoch", empty()).unwrap(), None);
    }
}
