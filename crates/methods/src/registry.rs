//! The list of everything: one enum and one match per kind. A new method is a file and a line in
//! each match; the compiler names the lines that are missing.

use serde::Deserialize;

mod credit;
mod critic;
mod curriculum;
mod estimator;
mod filter;
mod grow;
mod objective;
mod offline;
mod preference;
mod reward;
mod schedule;

pub use credit::CreditConfig;
pub use curriculum::Curriculum;
pub use estimator::EstimatorConfig;
pub use filter::Filter;
pub use grow::Grow;
pub use objective::Objective;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::{group_mean, permuted, progress, reinforce_plus_plus};
    use crate::objective::clipped;
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
