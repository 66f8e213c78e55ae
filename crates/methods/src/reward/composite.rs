//! # Composite reward
//!
//! Paper: ReEx-SQL, arXiv 2505.12768 (weights, secondary x2); the gate is that of G-RA.
//! Idea: A weighted sum of the outcome and of the verdict's named parts. With a gate, some parts
//! count only where the gate is open, so that no amount of good looks outweighs a wrong answer.
//! Formula: R = wₒ·outcome + Σₚ wₚ·part(p)·[p ∉ gated ∨ gate > 0]
//! Reads: verdicts of leaves and their parts.
//! Differs: the gate is an option; ReEx-SQL adds the parts up whatever the outcome. Ungated, an
//! execution-correct answer in other words (2 + 3 = 5) ties with a wrong one that looks perfect
//! (2 + 1 + 2 = 5).
//! Degenerate: a part the verdict does not name counts 0 (a malformed answer has no entities); the
//! engine compares `parts()` with what the environment declares, so a misspelt name is refused
//! before it can count 0 for ever. Unscored leaves get `None`.
//! Control: `outcome`, and this one with the gate closed or open.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepTree, Verdict};

use crate::Rewards;

/// The name under which `gate_on` means the verdict's outcome and not one of its parts.
pub const OUTCOME: &str = "outcome";

/// How the parts of a verdict make one number.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Factor of the outcome; finite. Default 3, ReEx-SQL's weight of execution.
    pub outcome: f64,
    /// Factor of each part by its name; finite. Default ReEx-SQL's: format 2, exact 1, entity 1,
    /// explore 2.
    pub weights: BTreeMap<String, f64>,
    /// The part, or `outcome`, that must be above 0 for the gated parts to count. Default none:
    /// the sum as the paper reports it. `outcome` is ReEx-SQL's `gate_aux_on_exec`.
    pub gate_on: Option<String>,
    /// Parts that count only where the gate is open; read only with `gate_on`. Default exact,
    /// entity and explore, not format (DECISIONS 12).
    pub gated: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let weight = |(name, weight): (&str, f64)| (name.to_owned(), weight);
        let weights = [("format", 2.0), ("exact", 1.0), ("entity", 1.0), ("explore", 2.0)];
        let gated = ["exact", "entity", "explore"];
        Config {
            outcome: 3.0,
            weights: weights.map(weight).into(),
            gate_on: None,
            gated: gated.map(str::to_owned).into(),
        }
    }
}

impl Config {
    /// Names of all parts this reward reads, `outcome` excluded; each once, in order of name.
    pub fn parts(&self) -> Vec<String> {
        let gate = self.gate_on.iter().filter(|name| *name != OUTCOME);
        let mut names: Vec<String> = self.weights.keys().chain(gate).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        if !self.outcome.is_finite() || self.weights.values().any(|w| !w.is_finite()) {
            return Some("`composite` weights must be finite".to_owned());
        }
        let open = self.gate_on.is_some();
        let stray = self.gated.iter().find(|name| open && !self.weights.contains_key(*name))?;
        Some(format!("`composite.gated` names a part without a weight: `{stray}`"))
    }
}

/// The weighted sum at every scored leaf, `None` at every other step.
pub fn reward(forest: &[StepTree], config: &Config) -> Rewards {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let of = |tree: &StepTree| tree.verdict.iter().map(|v| weigh(v, config)).collect();
    Rewards::of_leaves(forest.iter().map(of).collect())
}

fn weigh(verdict: &Verdict, config: &Config) -> Option<f64> {
    let outcome = verdict.reward()?;
    let part = |name: &str| verdict.part(name).unwrap_or(0.0);
    let gate = match config.gate_on.as_deref() {
        None => 1.0,
        Some(OUTCOME) => outcome,
        Some(name) => part(name),
    };
    let mut sum = config.outcome * outcome;
    for (name, weight) in &config.weights {
        if gate > 0.0 || !config.gated.contains(name) {
            sum += weight * part(name);
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use stepwell_tree::parse;

    const TREE: &str = "
        0 -  prompt q
        1 0  policy a   r=1 part:format=1 part:exact=1 part:entity=1 part:explore=1
        2 0  policy b   r=1 part:format=1 part:exact=0 part:entity=0 part:explore=0
        3 0  policy c   r=0 part:format=1 part:exact=0 part:entity=1 part:explore=1
        4 0  policy d   r=0
        5 0  policy e   unscored=interrupted";

    #[test]
    fn the_numbers_of_reex_sql() {
        // The maximum is 9; "correct in other words" ties with "wrong but looks perfect" at 5.
        let rewards = reward(&[parse(TREE)], &Config::default());
        assert_eq!(rewards.leaf[0][1..], [Some(9.0), Some(5.0), Some(5.0), Some(0.0), None]);
    }

    #[test]
    fn gated_any_correct_answer_beats_any_wrong_one() {
        let config = Config { gate_on: Some(OUTCOME.to_owned()), ..Config::default() };
        assert_eq!(config.parts(), ["entity", "exact", "explore", "format"]);
        let rewards = reward(&[parse(TREE)], &config);
        // The wrong answer keeps its format reward of 2 and nothing else.
        assert_eq!(rewards.leaf[0][1..], [Some(9.0), Some(5.0), Some(2.0), Some(0.0), None]);
    }

    #[test]
    fn a_gate_may_be_a_part_and_must_gate_what_has_a_weight() {
        let gate_on = Some("format".to_owned());
        let config = Config { gate_on, gated: vec!["exact".to_owned()], ..Config::default() };
        let table = "0 - prompt q\n1 0 policy a r=1 part:exact=1";
        assert_eq!(reward(&[parse(table)], &config).leaf[0][1], Some(3.0));
        let stray = Config { gated: vec!["exakt".to_owned()], ..config };
        assert!(stray.problem().is_some_and(|p| p.contains("exakt")));
    }

    #[test]
    fn laws() {
        let names = ["format", "exact", "entity", "explore"];
        laws::check_reward(&names, |forest| reward(forest, &Config::default()));
        let config = Config { gate_on: Some(OUTCOME.to_owned()), ..Config::default() };
        laws::check_reward(&names, |forest| reward(forest, &config));
    }
}
