//! Schedules: what an update is made of.

use serde::{Deserialize, Deserializer, Serialize};
use stepwell_tree::Key;

use crate::schedule::{At, Plan, Seen, State, adaptive_kl, cosine, fixed, sasr, shuffled, staged};

/// Which loss terms, weights and coefficients an update has.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Schedule {
    /// A share that stays.
    Fixed(fixed::Config),
    /// A share along half a cosine.
    Cosine(cosine::Config),
    /// One loss, then the other.
    Staged(staged::Config),
    /// By the norm of the demonstrations' gradient.
    Sasr(sasr::Config),
    /// A number of supervised updates at random times.
    Shuffled(shuffled::Config),
    /// A KL coefficient that holds a distance.
    AdaptiveKl(adaptive_kl::Config),
}

impl Schedule {
    /// What `type` may say.
    pub const NAMES: &'static [&'static str] =
        &["fixed", "cosine", "staged", "sasr", "shuffled", "adaptive_kl"];

    /// The method called `name`, its table read with positions kept; `None` for an unknown name.
    pub fn from_type<'de, D: Deserializer<'de>>(
        name: &str,
        table: D,
    ) -> Result<Option<Self>, D::Error> {
        Ok(Some(match name {
            "fixed" => Schedule::Fixed(fixed::Config::deserialize(table)?),
            "cosine" => Schedule::Cosine(cosine::Config::deserialize(table)?),
            "staged" => Schedule::Staged(staged::Config::deserialize(table)?),
            "sasr" => Schedule::Sasr(sasr::Config::deserialize(table)?),
            "shuffled" => Schedule::Shuffled(shuffled::Config::deserialize(table)?),
            "adaptive_kl" => Schedule::AdaptiveKl(adaptive_kl::Config::deserialize(table)?),
            _ => return Ok(None),
        }))
    }

    /// The recipe's `type`.
    pub fn name(&self) -> &'static str {
        match self {
            Schedule::Fixed(_) => "fixed",
            Schedule::Cosine(_) => "cosine",
            Schedule::Staged(_) => "staged",
            Schedule::Sasr(_) => "sasr",
            Schedule::Shuffled(_) => "shuffled",
            Schedule::AdaptiveKl(_) => "adaptive_kl",
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        match self {
            Schedule::Fixed(config) => config.problem(),
            Schedule::Cosine(config) => config.problem(),
            Schedule::Staged(config) => config.problem(),
            Schedule::Sasr(config) => config.problem(),
            Schedule::Shuffled(_) => None,
            Schedule::AdaptiveKl(config) => config.problem(),
        }
    }

    /// True where some update may train on demonstrations.
    pub fn reads_demonstrations(&self) -> bool {
        match self {
            Schedule::Fixed(config) => config.share > 0.0,
            Schedule::Shuffled(config) => config.demonstrations > 0,
            Schedule::AdaptiveKl(_) => false,
            Schedule::Cosine(_) | Schedule::Staged(_) | Schedule::Sasr(_) => true,
        }
    }

    /// True where it moves the coefficient of the objective's KL.
    pub fn moves_kl(&self) -> bool {
        matches!(self, Schedule::AdaptiveKl(_))
    }

    /// True where every update is reinforcement alone, and nothing is to be said of it.
    pub fn is_plain(&self) -> bool {
        matches!(self, Schedule::Fixed(config) if config.share == 0.0)
    }

    /// What an update is made of; `key` names the update.
    pub fn plan(&self, at: &At, state: &State, key: Key) -> Plan {
        match self {
            Schedule::Fixed(config) => fixed::plan(config, key),
            Schedule::Cosine(config) => cosine::plan(at, config, key),
            Schedule::Staged(config) => staged::plan(at, config),
            Schedule::Sasr(config) => sasr::plan(at, state, config, key),
            Schedule::Shuffled(config) => shuffled::plan(at, state, config, key),
            Schedule::AdaptiveKl(_) => adaptive_kl::plan(state),
        }
    }

    /// Keeps what was measured in an update that followed `plan`.
    pub fn observe(&self, at: &At, plan: &Plan, state: &mut State, seen: &Seen) {
        match self {
            Schedule::Sasr(config) => sasr::observe(at, state, config, seen),
            Schedule::AdaptiveKl(config) => adaptive_kl::observe(state, config, seen),
            _ => {}
        }
        state.count(plan);
    }

    /// True where an update's demonstrations are measured again after its step.
    pub fn measures_after(&self, at: &At) -> bool {
        matches!(self, Schedule::Sasr(config) if config.measures_after(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::value::{Error, MapDeserializer};
    use stepwell_tree::Purpose;

    fn all() -> Vec<Schedule> {
        let empty = || MapDeserializer::<_, Error>::new(std::iter::empty::<(&str, f64)>());
        let of = |name: &&str| Schedule::from_type(name, empty()).unwrap().unwrap();
        Schedule::NAMES.iter().map(of).collect()
    }

    #[test]
    fn every_name_is_read_by_its_name_and_an_unknown_key_is_refused() {
        for (schedule, name) in all().iter().zip(Schedule::NAMES) {
            assert_eq!((schedule.name(), schedule.problem()), (*name, None));
            let stray = MapDeserializer::<_, Error>::new([("no_such_key", 1.0)].into_iter());
            assert!(Schedule::from_type(name, stray).is_err(), "{name}");
        }
        let stray = MapDeserializer::<_, Error>::new([("warmup", 1.0)].into_iter());
        assert_eq!(Schedule::from_type("sars", stray).unwrap(), None);
    }

    /// A plan is a function of place, state and key; its weights add up; what it reads it declares.
    #[test]
    fn plans_repeat_and_their_weights_add_up() {
        let key = Key::new(3, Purpose::TaskOrder);
        for schedule in all() {
            let mut state = State::default();
            for update in 0..60 {
                let at = At { update, updates: 60 };
                let plan = schedule.plan(&at, &state, key.with(update));
                assert_eq!(plan, schedule.plan(&at, &state, key.with(update)));
                assert_eq!(plan.demonstrations + plan.reinforcement, 1.0, "{schedule:?}");
                let supervised = plan.demonstrations > 0.0 || plan.probe;
                assert!(!supervised || schedule.reads_demonstrations(), "{schedule:?}");
                assert!(plan.kl.is_none() || schedule.moves_kl(), "{schedule:?}");
                let norm = supervised.then_some(1.0 + 1.0 / (1.0 + update as f64));
                let divergence = schedule.moves_kl().then_some(3.0);
                let seen = Seen { norm, divergence, attempts: 8, kl: 0.1, ..Seen::default() };
                schedule.observe(&at, &plan, &mut state, &seen);
            }
            assert_eq!(state.demonstrated > 0, schedule.reads_demonstrations(), "{schedule:?}");
        }
    }
}
