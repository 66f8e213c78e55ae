//! Values learned from logged samples, and losses of whole rows.

use serde::{Deserialize, Deserializer, Serialize};

use crate::offline::{double_q, ilql};
use crate::row::{cql, distill};
use crate::{Batch, Loss, Row, RowLoss};

/// The loss of heads that say what a token is worth.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OfflineValue {
    /// Q-learning, single and double.
    DoubleQ(double_q::Config),
    /// Expectiles of what was tried.
    Ilql(ilql::Config),
}

impl OfflineValue {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] = &["double_q", "ilql"];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "double_q" => OfflineValue::DoubleQ(double_q::Config::deserialize(table)?),
            "ilql" => OfflineValue::Ilql(ilql::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            OfflineValue::DoubleQ(_) => "double_q",
            OfflineValue::Ilql(_) => "ilql",
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            OfflineValue::DoubleQ(config) => config.problem(),
            OfflineValue::Ilql(config) => config.problem(),
        }
    }

    /// The streams that a batch must have.
    pub fn streams(&self) -> &'static [&'static str] {
        match self {
            OfflineValue::DoubleQ(_) => &["q"],
            OfflineValue::Ilql(_) => &["q1", "q2", "q1_target", "q2_target", "value"],
        }
    }

    /// The heads that say what each token is worth: the one that learns, and the frozen one that
    /// follows it.
    pub fn q_heads(&self) -> &'static [(&'static str, &'static str)] {
        match self {
            OfflineValue::DoubleQ(_) => &[("q", "q_target")],
            OfflineValue::Ilql(_) => &[("q1", "q1_target"), ("q2", "q2_target")],
        }
    }

    /// True where a head learns what a state is worth; elsewhere [`OfflineValue::state_value`] says
    /// it from Q.
    pub fn learns_value(&self) -> bool {
        matches!(self, OfflineValue::Ilql(_))
    }

    /// What a state is worth, from Q of all tokens there under the head that learns and under the
    /// frozen one, `[V]` each.
    ///
    /// # Panics
    /// Where a head learns it.
    pub fn state_value(&self, online: &[f32], frozen: &[f32]) -> f32 {
        match self {
            OfflineValue::DoubleQ(config) => double_q::state_value(online, frozen, config),
            OfflineValue::Ilql(_) => panic!("`ilql` has a head for the value of a state"),
        }
    }

    /// True where the loss trains the policy, by its log-probabilities.
    pub fn trains_policy(&self) -> bool {
        matches!(self, OfflineValue::Ilql(config) if config.awac > 0.0)
    }

    /// True where [`OfflineValue::row`] is not zero.
    pub fn is_conservative(&self) -> bool {
        match self {
            OfflineValue::DoubleQ(config) => config.conservatism > 0.0,
            OfflineValue::Ilql(config) => config.conservatism > 0.0,
        }
    }

    /// The conservative term of one head that learns, at one position.
    pub fn row(&self, row: &Row<'_>) -> RowLoss {
        match self {
            OfflineValue::DoubleQ(config) => double_q::row(row, config),
            OfflineValue::Ilql(config) => ilql::row(row, config),
        }
    }

    /// The loss of a batch and its gradient by the streams that are learned.
    pub fn objective(&self, batch: &Batch<'_>) -> Loss {
        match self {
            OfflineValue::DoubleQ(config) => double_q::objective(batch, config),
            OfflineValue::Ilql(config) => ilql::objective(batch, config),
        }
    }
}

/// The loss of one position's whole distribution.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RowObjective {
    /// The student's distribution to the teacher's.
    Distill(distill::Config),
    /// What was not taken must not look good.
    Cql(cql::Config),
}

impl RowObjective {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] = &["distill", "cql"];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "distill" => RowObjective::Distill(distill::Config::deserialize(table)?),
            "cql" => RowObjective::Cql(cql::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            RowObjective::Distill(_) => "distill",
            RowObjective::Cql(_) => "cql",
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            RowObjective::Distill(config) => config.problem(),
            RowObjective::Cql(config) => config.problem(),
        }
    }

    /// True where [`Row::target`] is read: the teacher's logits.
    pub fn reads_target(&self) -> bool {
        matches!(self, RowObjective::Distill(_))
    }

    /// The loss of one position and its gradient by the row.
    pub fn row(&self, row: &Row<'_>) -> RowLoss {
        match self {
            RowObjective::Distill(config) => distill::row(row, config),
            RowObjective::Cql(config) => cql::row(row, config),
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
        let stray = || MapDeserializer::<_, Error>::new([("no_such_key", 1.0)].into_iter());
        for name in OfflineValue::NAMES {
            let method = OfflineValue::from_type(name, empty()).unwrap().unwrap();
            assert_eq!((method.name(), method.problem()), (*name, None));
            let read = |name: &str| method.streams().contains(&name);
            assert!(method.q_heads().iter().all(|(q, _)| read(q)), "{name}");
            assert_eq!(method.learns_value(), read("value"), "{name}");
            assert!(method.is_conservative(), "{name}");
            assert!(OfflineValue::from_type(name, stray()).is_err(), "{name}");
        }
        for name in RowObjective::NAMES {
            let method = RowObjective::from_type(name, empty()).unwrap().unwrap();
            assert_eq!((method.name(), method.problem()), (*name, None));
            assert!(RowObjective::from_type(name, stray()).is_err(), "{name}");
        }
        assert_eq!(OfflineValue::from_type("cql", empty()).unwrap(), None);
        assert_eq!(RowObjective::from_type("ilql", empty()).unwrap(), None);
    }
}
