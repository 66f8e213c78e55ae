//! # Uniform credit (control)
//!
//! Paper: none; the control of every credit method.
//! Idea: Every scored step is worth the same, so training sees the same tokens and no judgement.
//! Formula: c(s) = value
//! Reads: which leaves are scored, not how.
//! Differs: nothing to differ from.
//! Degenerate: a step without a scored leaf below gets `None`; rewards, equal or not, change
//! nothing.
//! Control: it is one; a method that does not beat it has learned from exposure alone.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::{Rewards, assert_fits, from_leaves};

/// The same credit everywhere.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The credit of every scored step; finite. Default 1, ours: own samples are imitated.
    pub value: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { value: 1.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = self.value.is_finite();
        (!fine).then(|| format!("`uniform.value` must be finite, got: {}", self.value))
    }
}

/// The same number on every policy step with a scored leaf below it.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let each = forest.iter().zip(&rewards.leaf);
    let mut credits: Vec<Credit> =
        each.map(|(tree, leaf)| from_leaves(tree, |s| leaf[s.index()])).collect();
    // Set after the backup: a mean of equal numbers may differ from them by rounding.
    for credit in credits.iter_mut().flat_map(|c| &mut c.step).flatten() {
        *credit = config.value;
    }
    credits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims};

    #[test]
    fn a_worked_tree() {
        let tree = "
            0 -  prompt q
            1 0  policy a        r=0      | 1
            2 0  policy b                 | 1
            3 2  environment o
            4 3  policy c        r=1      | 1
            5 3  policy d        unscored=interrupted";
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn laws() {
        let claims = Claims { shift_invariant: true, ..Claims::NONE };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
    }
}
