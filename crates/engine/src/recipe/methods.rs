//! The registry's enums as parts of a recipe, and which method a stage has when it names none.

use stepwell_methods::{
    CreditConfig, Curriculum, EstimatorConfig, Filter, Grow, Objective, OfflineValue,
    PreferenceLoss, RewardConfig, Schedule,
};
use stepwell_methods::{credit, curriculum, grow, objective, schedule};
use toml::de::ValueDeserializer;

use super::macros::{Entry, Settings};
use super::part::{self, Part};
use super::preference::Pairs;
use super::scorer::ScorerConfig;
use super::section::Section;

macro_rules! part {
    ($kind:ident, $key:literal) => {
        part_of_the_registry!($kind, $key);
        settings_of_a_part!($kind);
    };
}

macro_rules! part_of_the_registry {
    ($kind:ident, $key:literal) => {
        impl Part for $kind {
            const KIND: &'static str = $key;
            const NAMES: &'static [&'static str] = $kind::NAMES;

            fn deserialize(
                name: &str,
                config: ValueDeserializer<'_>,
            ) -> Result<Option<Self>, toml::de::Error> {
                $kind::from_type(name, config)
            }

            fn name(&self) -> &'static str {
                $kind::name(self)
            }

            fn problem(&self) -> Option<String> {
                $kind::problem(self)
            }
        }
    };
}

macro_rules! settings_of_a_part {
    ($kind:ident) => {
        impl Settings for $kind {
            fn read(section: &Section<'_>, default: Self) -> Self {
                part::read(section, default)
            }

            fn write(&self, section: &str, out: &mut Vec<Entry>) {
                part::write(self, section, out);
            }
        }
    };
}

part!(Grow, "grow");
part!(RewardConfig, "reward");
part!(CreditConfig, "credit");
part!(Objective, "objective");
part!(PreferenceLoss, "loss");
part!(EstimatorConfig, "estimator");
part!(OfflineValue, "method");
part_of_the_registry!(Filter, "filter");
part!(Schedule, "plan");
part!(Curriculum, "curriculum");
settings_of_a_part!(Pairs);

impl Settings for Vec<Filter> {
    fn read(section: &Section<'_>, _: Self) -> Self {
        part::read_list(section, "drop_uniform")
    }

    fn write(&self, section: &str, out: &mut Vec<Entry>) {
        let about = "Which trees, and which attempts of a tree, may train, each in turn.";
        part::write_list(self, section, about, out);
    }
}

/// A part that a stage reads at times; nothing is written of it where it is not set.
macro_rules! optional_part {
    ($kind:ident, $default:expr) => {
        impl Settings for Option<$kind> {
            fn read(section: &Section<'_>, default: Self) -> Self {
                section.take($kind::KIND)?;
                Some(part::read(section, default.unwrap_or_else(|| $default)))
            }

            fn write(&self, section: &str, out: &mut Vec<Entry>) {
                if let Some(part) = self {
                    part::write(part, section, out);
                }
            }
        }
    };
}

optional_part!(Grow, default_grow());
optional_part!(ScorerConfig, ScorerConfig::default());

/// Trees that branch, and credit that compares what branched: what this engine is for.
pub(super) fn default_grow() -> Grow {
    Grow::Branch(grow::branch::Config::default())
}

pub(super) fn default_credit() -> CreditConfig {
    CreditConfig::Sibling(credit::sibling::Config::default())
}

/// Every task once before any comes twice.
pub(super) fn default_curriculum() -> Curriculum {
    Curriculum::Epochs(curriculum::epochs::Config {})
}

/// Reinforcement alone.
pub(super) fn default_plan() -> Schedule {
    Schedule::Fixed(schedule::fixed::Config::default())
}

pub(super) fn default_objective() -> Objective {
    Objective::Clipped(objective::clipped::Config::default())
}
