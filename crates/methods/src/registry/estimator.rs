//! Every estimator: one variant and a line in each match.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::{StepId, StepTree};

use super::{Needs, ONE_ATTEMPT, TWO_ATTEMPTS};
use crate::estimator::{
    CONTRIBUTION, SCORE, TreeLoss, bradley_terry, outcome, plackett_luce, prefix_value, process,
    progress,
};
use crate::preference::sigmoid;

/// What a head learns to say at the ends of steps.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EstimatorConfig {
    /// Which of two attempts is better.
    BradleyTerry(bradley_terry::Config),
    /// Which of many attempts is best.
    PlackettLuce(plackett_luce::Config),
    /// ORM: whether a finished attempt is right.
    Outcome(outcome::Config),
    /// PRM: whether what follows a step can be right.
    Process(process::Config),
    /// SPA-RL: what each turn contributes to the outcome.
    Progress(progress::Config),
    /// PAV: with which chance an attempt that stands here ends right.
    PrefixValue(prefix_value::Config),
}

impl EstimatorConfig {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] =
        &["bradley_terry", "plackett_luce", "outcome", "process", "progress", "prefix_value"];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        use EstimatorConfig as E;
        Ok(Some(match name {
            "bradley_terry" => E::BradleyTerry(bradley_terry::Config::deserialize(table)?),
            "plackett_luce" => E::PlackettLuce(plackett_luce::Config::deserialize(table)?),
            "outcome" => E::Outcome(outcome::Config::deserialize(table)?),
            "process" => E::Process(process::Config::deserialize(table)?),
            "progress" => E::Progress(progress::Config::deserialize(table)?),
            "prefix_value" => E::PrefixValue(prefix_value::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            EstimatorConfig::BradleyTerry(_) => "bradley_terry",
            EstimatorConfig::PlackettLuce(_) => "plackett_luce",
            EstimatorConfig::Outcome(_) => "outcome",
            EstimatorConfig::Process(_) => "process",
            EstimatorConfig::Progress(_) => "progress",
            EstimatorConfig::PrefixValue(_) => "prefix_value",
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            EstimatorConfig::BradleyTerry(config) => config.problem(),
            EstimatorConfig::Outcome(config) => config.problem(),
            EstimatorConfig::Process(config) => config.problem(),
            EstimatorConfig::PlackettLuce(_)
            | EstimatorConfig::Progress(_)
            | EstimatorConfig::PrefixValue(_) => None,
        }
    }

    /// What the engine must provide: comparisons need two attempts.
    pub fn needs(&self) -> Needs {
        match self {
            EstimatorConfig::BradleyTerry(_) | EstimatorConfig::PlackettLuce(_) => TWO_ATTEMPTS,
            _ => ONE_ATTEMPT,
        }
    }

    /// True where rewards are read as chances of success, so that they must be from 0 to 1.
    pub fn reads_chances(&self) -> bool {
        match self {
            EstimatorConfig::Outcome(_)
            | EstimatorConfig::Process(_)
            | EstimatorConfig::PrefixValue(_) => true,
            EstimatorConfig::BradleyTerry(_)
            | EstimatorConfig::PlackettLuce(_)
            | EstimatorConfig::Progress(_) => false,
        }
    }

    /// The name of the column over steps that it fills for later stages.
    pub fn fills(&self) -> &'static str {
        match self {
            EstimatorConfig::Progress(_) => CONTRIBUTION,
            _ => SCORE,
        }
    }

    /// What the column holds for a score: a chance from 0 to 1 where chances are learned, the score
    /// itself elsewhere.
    pub fn column(&self, score: f32) -> f32 {
        if self.reads_chances() { sigmoid(f64::from(score)) as f32 } else { score }
    }

    /// The step ends at which the loss asks for a score, in order of step. `leaf` `[N]`: the
    /// rewards of one tree.
    pub fn reads(&self, tree: &StepTree, leaf: &[Option<f64>]) -> Vec<StepId> {
        match self {
            EstimatorConfig::BradleyTerry(_) => bradley_terry::reads(leaf),
            EstimatorConfig::PlackettLuce(_) => plackett_luce::reads(leaf),
            EstimatorConfig::Outcome(_) => outcome::reads(leaf),
            EstimatorConfig::Process(_) => process::reads(tree, leaf),
            EstimatorConfig::Progress(_) => progress::reads(tree, leaf),
            EstimatorConfig::PrefixValue(_) => prefix_value::reads(tree, leaf),
        }
    }

    /// How many terms the loss of the tree has; their sum over the update is its divisor.
    pub fn terms(&self, tree: &StepTree, leaf: &[Option<f64>]) -> usize {
        match self {
            EstimatorConfig::BradleyTerry(_) => bradley_terry::terms(leaf),
            EstimatorConfig::PlackettLuce(_) => plackett_luce::terms(leaf),
            EstimatorConfig::Outcome(_) => outcome::terms(leaf),
            EstimatorConfig::Process(_) => process::terms(tree, leaf),
            EstimatorConfig::Progress(_) => progress::terms(tree, leaf),
            EstimatorConfig::PrefixValue(_) => prefix_value::terms(tree, leaf),
        }
    }

    /// The loss of the tree. `score` `[N]`: what the head says at each step's end, read only where
    /// [`EstimatorConfig::reads`] says; `divisor` above 0.
    pub fn loss(
        &self,
        tree: &StepTree,
        leaf: &[Option<f64>],
        score: &[f32],
        divisor: f64,
    ) -> TreeLoss {
        use EstimatorConfig as E;
        match self {
            E::BradleyTerry(config) => bradley_terry::loss(tree, leaf, score, divisor, config),
            E::PlackettLuce(config) => plackett_luce::loss(tree, leaf, score, divisor, config),
            E::Outcome(config) => outcome::loss(tree, leaf, score, divisor, config),
            E::Process(config) => process::loss(tree, leaf, score, divisor, config),
            E::Progress(config) => progress::loss(tree, leaf, score, divisor, config),
            E::PrefixValue(config) => prefix_value::loss(tree, leaf, score, divisor, config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{Error, MapDeserializer};

    #[test]
    fn every_name_is_read_by_its_name_and_an_unknown_key_is_refused() {
        for name in EstimatorConfig::NAMES {
            let empty = MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, f64)>());
            let method = EstimatorConfig::from_type(name, empty).unwrap().unwrap();
            assert_eq!((method.name(), method.problem()), (*name, None));
            let stray = MapDeserializer::<_, Error>::new([("no_such_key", 1.0)].into_iter());
            assert!(EstimatorConfig::from_type(name, stray).is_err(), "{name}");
            let chance = method.column(0.0);
            assert_eq!(chance, if method.reads_chances() { 0.5 } else { 0.0 }, "{name}");
            assert!(method.column(-200.0).is_finite() && method.column(200.0).is_finite());
            assert_eq!(method.fills() == CONTRIBUTION, *name == "progress");
        }
        let empty = MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, f64)>());
        assert_eq!(EstimatorConfig::from_type("prm", empty).unwrap(), None);
    }
}
