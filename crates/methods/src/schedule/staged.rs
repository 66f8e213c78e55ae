//! # One loss, then the other
//!
//! Paper: the hard switch that SASR, arXiv 2505.13026, and RFT pipelines use; in turns: Tool-Star,
//! arXiv 2505.16410, stage 2.
//! Idea: Train some updates on one loss and the next on the other; once, or again and again.
//! Formula: c = t if `then_updates` is not set, else t mod (first_updates + then_updates); the
//! first loss ⇔ c < first_updates
//! Reads: the place of the update in its stage.
//! Differs: Tool-Star's other phase is a preference loss, for which a recipe lists stages in turn.
//! Degenerate: `first_updates` of a whole stage: the other loss never comes.
//! Control: `fixed` with the same share; `shuffled` with the same number of updates.

use serde::{Deserialize, Serialize};

use super::{At, Plan};

/// One of the two losses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Term {
    /// That of demonstrations.
    #[default]
    Demonstrations,
    /// That of trees.
    Reinforcement,
}

/// Which loss comes first, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The loss of the first updates. Default `demonstrations`.
    pub first: Term,
    /// Updates of the first loss, at least 1. Default 10, ours.
    pub first_updates: u64,
    /// Updates of the other before the first comes again, at least 1. Default none: it stays.
    pub then_updates: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config { first: Term::default(), first_updates: 10, then_updates: None }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { first_updates, then_updates, .. } = *self;
        let wrong = [("first_updates", first_updates), ("then_updates", then_updates.unwrap_or(1))];
        let most = 10_000_000;
        let wrong = wrong.into_iter().find(|(_, count)| !(1..=most).contains(count));
        wrong.map(|(key, count)| format!("`staged.{key}` must be from 1 to {most}, got: {count}"))
    }
}

/// What the next update is made of.
pub fn plan(at: &At, config: &Config) -> Plan {
    let place = match config.then_updates {
        Some(then) => at.update % (config.first_updates + then),
        None => at.update,
    };
    Plan::only((place < config.first_updates) == (config.first == Term::Demonstrations))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worked_turns() {
        let turns = |config: Config| -> String {
            let of = |update| plan(&At { update, updates: 8 }, &config).demonstrations > 0.0;
            (0..8).map(|update| if of(update) { 'd' } else { 'r' }).collect()
        };
        let once = Config { first_updates: 3, ..Config::default() };
        assert_eq!(turns(once), "dddrrrrr");
        assert_eq!(turns(Config { then_updates: Some(2), ..once }), "dddrrddd");
        let other = Config { first: Term::Reinforcement, ..once };
        assert_eq!(turns(other), "rrrddddd");
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { first_updates: 0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`staged.first_updates`")));
        let wrong = Config { then_updates: Some(0), ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`staged.then_updates`")));
    }
}
