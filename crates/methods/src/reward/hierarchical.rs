//! # Hierarchical reward (Tool-Star)
//!
//! Paper: Tool-Star, arXiv 2505.16410, section 3.
//! Idea: Form first, then the answer, then a small bonus for right answers that used several tools.
//! Formula: R = −1 if the form is broken; 0 if it is kept and the outcome is 0; else outcome +
//! bonus·[every tool was used]
//! Reads: verdicts of leaves: the outcome, the part of the form, the parts of the tools.
//! Differs: the paper's tools are search and python, found by their tags; here a tool was used
//! where its part is above 0, so its environment says what counts as use. Its max(outcome + bonus,
//! outcome) is the sum, the bonus being at least 0.
//! Degenerate: a part the verdict does not name counts as 0: no form kept, no tool used. Without
//! tools there is no bonus. Unscored leaves get `None`.
//! Control: `bonus = 0`; `outcome`, the answer alone.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepTree, Verdict};

use crate::Rewards;

/// What is form and what is a tool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The part that is above 0 where the form is kept. Default `format`.
    pub format: String,
    /// Parts that must all be above 0 for the bonus, such as `called`. Default none: no bonus, for
    /// no environment here has the paper's two tools.
    pub tools: Vec<String>,
    /// What using all tools adds to a right answer; 0 to 100. Default 0.1, the paper's.
    pub bonus: f64,
    /// The reward where the form is broken; −100 to 0. Default −1, the paper's.
    pub broken: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { format: "format".to_owned(), tools: Vec::new(), bonus: 0.1, broken: -1.0 }
    }
}

impl Config {
    /// Names of all parts this reward reads; each once, in order of name.
    pub fn parts(&self) -> Vec<String> {
        let mut names: Vec<String> = self.tools.clone();
        names.push(self.format.clone());
        names.sort_unstable();
        names.dedup();
        names
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { bonus, broken, .. } = *self;
        if !(0.0..=100.0).contains(&bonus) {
            return Some(format!("`hierarchical.bonus` must be from 0 to 100, got: {bonus}"));
        }
        let fine = (-100.0..=0.0).contains(&broken);
        (!fine).then(|| format!("`hierarchical.broken` must be from -100 to 0, got: {broken}"))
    }
}

/// The reward of every scored leaf, `None` at every other step.
pub fn reward(forest: &[StepTree], config: &Config) -> Rewards {
    let of = |tree: &StepTree| tree.verdict.iter().map(|v| judge(v, config)).collect();
    Rewards::of_leaves(forest.iter().map(of).collect())
}

fn judge(verdict: &Verdict, config: &Config) -> Option<f64> {
    let outcome = verdict.reward()?;
    let above = |name: &String| verdict.part(name).is_some_and(|part| part > 0.0);
    if !above(&config.format) {
        return Some(config.broken);
    }
    let all = !config.tools.is_empty() && config.tools.iter().all(above);
    Some(if outcome > 0.0 && all { outcome + config.bonus } else { outcome })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use stepwell_tree::parse;

    fn tools() -> Config {
        let tools = ["search", "python"].map(str::to_owned).into();
        Config { tools, ..Config::default() }
    }

    #[test]
    fn a_worked_tree() {
        let table = "
            0 -  prompt q
            1 0  policy a   r=1   part:format=1 part:search=1 part:python=1
            2 0  policy b   r=1   part:format=1 part:search=1
            3 0  policy c   r=0   part:format=1 part:search=1 part:python=1
            4 0  policy d   r=1   part:search=1 part:python=1
            5 0  policy e   r=0.5 part:format=1 part:search=2 part:python=1
            6 0  policy f   r=0   part:format=0
            7 0  policy g   unscored=interrupted";
        let forest = [parse(table)];
        let expected = [1.1, 1.0, 0.0, -1.0, 0.6, -1.0].map(Some);
        assert_eq!(reward(&forest, &tools()).leaf[0][1..7], expected);
        assert_eq!(reward(&forest, &tools()).leaf[0][7], None);
        let without = reward(&forest, &Config::default());
        assert_eq!(without.leaf[0][1..7], [1.0, 1.0, 0.0, -1.0, 0.5, -1.0].map(Some));
        assert_eq!(tools().parts(), ["format", "python", "search"]);
    }

    #[test]
    fn the_bonus_never_changes_who_is_right() {
        let config = tools();
        let mut seen = Vec::new();
        for outcome in ["0", "0.3", "1"] {
            for format in ["0", "1"] {
                for python in ["0", "1"] {
                    let tree = parse(&format!(
                        "0 - prompt q\n1 0 policy a r={outcome} part:format={format} \
                         part:search=1 part:python={python}"
                    ));
                    let reward = reward(&[tree], &config).leaf[0][1].unwrap();
                    let right = outcome != "0" && format == "1";
                    assert_eq!(reward > 0.0, right);
                    assert!(reward == -1.0 || reward == 0.0 || (0.0..=1.1).contains(&reward));
                    seen.push(reward);
                }
            }
        }
        assert!(seen.contains(&1.1) && seen.contains(&-1.0));
        assert!(Config { bonus: -0.1, ..config.clone() }.problem().is_some());
        assert!(Config { broken: 1.0, ..config }.problem().is_some());
    }

    #[test]
    fn laws() {
        let names = ["format", "search", "python"];
        laws::check_reward(&names, |forest| reward(forest, &tools()));
    }
}
