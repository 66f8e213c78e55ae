//! # A fixed mix
//!
//! Paper: the static hybrids that SASR, arXiv 2505.13026, compares itself with.
//! Idea: Demonstrations keep a policy near what is known to be good while rewards let it find more;
//! mix the two by a number that never changes.
//! Formula: p = share; `bernoulli`: L = L_demonstrations if u < p, else L_trees; `soft`:
//! L = p·L_demonstrations + (1−p)·L_trees
//! Reads: nothing.
//! Differs: nothing to differ from.
//! Degenerate: share 0 is reinforcement alone (the default of an `rl` stage) and reads no
//! demonstrations; share 1 is supervised training alone and grows no tree.
//! Control: `share = 0` and `share = 1` at an equal number of optimizer steps.

use serde::{Deserialize, Serialize};
use stepwell_tree::Key;

use super::{Mix, Plan};

/// A share of demonstrations that stays.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Share of demonstrations, from 0 to 1. Default 0: reinforcement alone.
    pub share: f64,
    /// How the share becomes weights. Default `bernoulli`, SASR's kind of switching.
    pub mix: Mix,
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=1.0).contains(&self.share);
        (!fine).then(|| format!("`fixed.share` must be from 0 to 1, got: {}", self.share))
    }
}

/// What the next update is made of.
pub fn plan(config: &Config, key: Key) -> Plan {
    config.mix.plan(config.share, key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    #[test]
    fn the_share_is_the_share() {
        let key = Key::new(1, Purpose::TaskOrder);
        let soft = plan(&Config { share: 0.25, mix: Mix::Soft }, key);
        assert_eq!((soft.demonstrations, soft.reinforcement, soft.share), (0.25, 0.75, 0.25));
        let alone = plan(&Config::default(), key);
        assert_eq!((alone.demonstrations, alone.reinforcement), (0.0, 1.0));
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { share: 1.5, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`fixed.share`")));
    }
}
