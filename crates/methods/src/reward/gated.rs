//! # Gated accumulation (G-RA)
//!
//! Paper: G-RA, arXiv 2508.10548.
//! Idea: A reward of lower priority counts only where every reward of higher priority reached its
//! threshold: good manners pay for those who also do the task, and cannot be farmed instead of it.
//! Formula: R = Σᵢ mᵢ·wᵢ·rᵢ; mᵢ = Πⱼ [rⱼ ≥ δⱼ] over the terms j of higher priority than i
//! Reads: verdicts of leaves and their parts.
//! Differs: any number of levels and of terms per level; terms of one level do not gate each other.
//! What happened on the way is a part of the verdict, counted by the environment over the attempt.
//! Values and thresholds are ours: the paper's are not known.
//! Degenerate: a part the verdict does not name is 0, as in `composite`. Where gated terms are
//! negative, opening a gate can cost: `floor_at_zero` counts a gated sum below 0 as 0. A failure of
//! the policy (no answer, a budget used up) has the lowest outcome; a failure of the harness is
//! unscored and gets `None`.
//! Control: no thresholds, which is the plain sum (D-RA in the paper); the outcome's term alone.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepTree, Verdict};

use super::composite::OUTCOME;
use crate::Rewards;

/// One reward in the sum.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// A part of the verdict, or `outcome`.
    pub part: String,
    /// Its level; higher levels gate lower ones. 0 to 255. Default 0.
    #[serde(default)]
    pub priority: u8,
    /// Its factor; finite. Default 1; 0 makes a term that only gates.
    #[serde(default = "one")]
    pub weight: f64,
    /// What the part, without its factor, must reach for lower levels to count; finite, and best
    /// between two values the part can take. Default none: it gates nothing.
    #[serde(default)]
    pub threshold: Option<f64>,
}

fn one() -> f64 {
    1.0
}

/// The terms and how they add up.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is added up, in any order: tables of `part`, `priority`, `weight` and `threshold`.
    /// Default, ours: the outcome with priority 1 and threshold 0.5, and 0.1 times `format` below.
    pub terms: Vec<Term>,
    /// Whether the sum of gated terms is at least 0. Default false, as the paper.
    pub floor_at_zero: bool,
}

impl Default for Config {
    fn default() -> Self {
        let outcome =
            Term { part: OUTCOME.to_owned(), priority: 1, weight: 1.0, threshold: Some(0.5) };
        let format = Term { part: "format".to_owned(), priority: 0, weight: 0.1, threshold: None };
        Config { terms: vec![outcome, format], floor_at_zero: false }
    }
}

impl Config {
    /// Names of all parts this reward reads, `outcome` excluded; each once, in order of name.
    pub fn parts(&self) -> Vec<String> {
        let names = self.terms.iter().map(|term| term.part.clone()).filter(|name| name != OUTCOME);
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        if self.terms.is_empty() {
            let outcome = "`[{ part = \"outcome\" }]`";
            return Some(format!("`gated.terms` adds nothing up; write {outcome} at least"));
        }
        for Term { part, weight, threshold, .. } in &self.terms {
            if !weight.is_finite() || threshold.is_some_and(|delta| !delta.is_finite()) {
                return Some(format!("`gated.terms` of `{part}` must hold finite numbers"));
            }
        }
        None
    }
}

/// The gated sum at every scored leaf, `None` at every other step.
pub fn reward(forest: &[StepTree], config: &Config) -> Rewards {
    let of = |tree: &StepTree| tree.verdict.iter().map(|v| accumulate(v, config)).collect();
    Rewards::of_leaves(forest.iter().map(of).collect())
}

fn accumulate(verdict: &Verdict, config: &Config) -> Option<f64> {
    let outcome = verdict.reward()?;
    let number = |term: &Term| match term.part.as_str() {
        OUTCOME => outcome,
        part => verdict.part(part).unwrap_or(0.0),
    };
    let level = |priority: u8| config.terms.iter().filter(move |term| term.priority == priority);
    let mut priorities: Vec<u8> = config.terms.iter().map(|term| term.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    let (mut top, mut gated) = (None, 0.0);
    for priority in priorities.into_iter().rev() {
        let sum: f64 = level(priority).map(|term| term.weight * number(term)).sum();
        match top {
            None => top = Some(sum),
            Some(_) => gated += sum,
        }
        if level(priority).any(|term| term.threshold.is_some_and(|delta| number(term) < delta)) {
            break;
        }
    }
    let gated = if config.floor_at_zero { gated.max(0.0) } else { gated };
    Some(top.unwrap_or(0.0) + gated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use stepwell_tree::parse;

    fn term(part: &str, priority: u8, weight: f64, threshold: Option<f64>) -> Term {
        Term { part: part.to_owned(), priority, weight, threshold }
    }

    fn config(terms: &[Term]) -> Config {
        Config { terms: terms.to_vec(), floor_at_zero: false }
    }

    fn rewards(table: &str, config: &Config) -> Vec<Option<f64>> {
        reward(&[parse(table)], config).leaf[0][1..].to_vec()
    }

    #[track_caller]
    fn close(got: &[Option<f64>], expected: &[Option<f64>]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            let gap = got.unwrap_or(0.0) - expected.unwrap_or(0.0);
            assert!(got.is_some() == expected.is_some() && gap.abs() < 1e-12, "{got:?}");
        }
    }

    /// The four classes of a software task, with two critics counted over the attempt.
    const CLASSES: &str = "
        0 -  prompt q
        1 0  policy a   r=-1   part:call=8 part:tool=7
        2 0  policy b   r=-0.5 part:call=5 part:tool=5
        3 0  policy c   r=0.5  part:call=3 part:tool=2
        4 0  policy d   r=1    part:call=2
        5 0  policy e   unscored=interrupted";

    fn critics(threshold: Option<f64>) -> Config {
        config(&[
            term("call", 0, 0.1, None),
            term("outcome", 1, 1.0, threshold),
            term("tool", 0, 0.1, None),
        ])
    }

    #[test]
    fn farming_pays_without_the_gate_and_not_with_it() {
        // δ = 0 lies between "empty" and "fails".
        let gated = [Some(-1.0), Some(-0.5), Some(1.0), Some(1.2), None];
        close(&rewards(CLASSES, &critics(Some(0.0))), &gated);
        let plain = [Some(0.5), Some(0.5), Some(1.0), Some(1.2), None];
        close(&rewards(CLASSES, &critics(None)), &plain);
    }

    #[test]
    fn the_limits_are_the_plain_sum_and_the_outcome_alone() {
        let never_closed = critics(Some(f64::NEG_INFINITY));
        assert_eq!(rewards(CLASSES, &never_closed), rewards(CLASSES, &critics(None)));
        let never_open = critics(Some(f64::INFINITY));
        let alone = config(&[term("outcome", 1, 1.0, None)]);
        assert_eq!(rewards(CLASSES, &never_open), rewards(CLASSES, &alone));
        assert!(never_open.problem().is_some(), "a recipe leaves the term out instead");
    }

    #[test]
    fn levels_close_in_order_and_a_term_may_only_gate() {
        let levels = config(&[
            term("outcome", 9, 4.0, Some(1.0)),
            term("format", 5, 0.0, Some(1.0)),
            term("called", 5, 2.0, Some(0.5)),
            term("steps", 1, 1.0, None),
        ]);
        let table = "
            0 -  prompt q
            1 0  policy a   r=1 part:format=1 part:called=1 part:steps=0.5
            2 0  policy b   r=1 part:format=0 part:called=1 part:steps=0.5
            3 0  policy c   r=1 part:format=1 part:called=0 part:steps=0.5
            4 0  policy d   r=0 part:format=1 part:called=1 part:steps=0.5
            5 0  policy e   r=1 part:format=1 part:called=0.5";
        let expected = [Some(6.5), Some(6.0), Some(4.0), Some(0.0), Some(5.0)];
        close(&rewards(table, &levels), &expected);
        assert_eq!(levels.parts(), ["called", "format", "steps"]);
        assert_eq!(levels.problem(), None);
        assert!(config(&[]).problem().is_some());
    }

    #[test]
    fn opening_a_gate_can_cost_unless_the_gated_sum_has_a_floor() {
        let table = "
            0 -  prompt q
            1 0  policy a   r=0.4 part:manners=-3
            2 0  policy b   r=0.6 part:manners=-3
            3 0  policy c   r=0.6 part:manners=2";
        let plain = config(&[term("outcome", 1, 1.0, Some(0.5)), term("manners", 0, 1.0, None)]);
        close(&rewards(table, &plain), &[Some(0.4), Some(-2.4), Some(2.6)]);
        let floored = Config { floor_at_zero: true, ..plain };
        close(&rewards(table, &floored), &[Some(0.4), Some(0.6), Some(2.6)]);
    }

    #[test]
    fn laws() {
        let names = ["format", "call", "tool"];
        laws::check_reward(&names, |forest| reward(forest, &Config::default()));
        laws::check_reward(&names, |forest| reward(forest, &critics(Some(0.5))));
    }
}
