//! # Permuted credit (control)
//!
//! Paper: none; the matched-exposure control of every credit method.
//! Idea: The numbers another method gives, dealt out to the wrong steps: equal tokens, equal
//! magnitudes, and no knowledge of which step earned what.
//! Formula: c(sᵢ) = c'(s_π(i)), π a random permutation of the steps of one tree that c' credits
//! Reads: what the other method reads.
//! Differs: nothing to differ from.
//! Degenerate: with fewer than two credited steps, or equal credits, it equals the other method.
//! Control: it is one; a credit method that does not beat it gives no credit where it is due.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, Key, Purpose, StepTree};

use super::Rewards;
use crate::CreditConfig;

/// Another method's credit, dealt out at random within each tree.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The method under test. Default `sibling`, ours.
    pub of: Box<CreditConfig>,
    /// Picks the permutations, together with the task and the policy's version; any whole number.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        let sibling = CreditConfig::Sibling(super::sibling::Config::default());
        Config { of: Box::new(sibling), seed: 0 }
    }
}

/// The credits of `config.of`, permuted among the credited steps of each tree.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    let mut credits = config.of.credit(forest, rewards);
    for (tree, credit) in forest.iter().zip(&mut credits) {
        // A refinement per token would tell what its step was worth.
        credit.token = None;
        let mut order = tree.depth_first();
        order.retain(|s| credit.step[s.index()].is_some());
        let key = Key::new(config.seed, Purpose::Control)
            .with_task(&tree.task)
            .with(tree.policy_version().map_or(0, |version| version.0));
        let from = credit.step.clone();
        for (to, k) in order.iter().zip(key.permutation(order.len())) {
            credit.step[to.index()] = from[order[k].index()];
        }
    }
    credits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims};

    const TREE: &str = "
        0 -  prompt q
        1 0  policy a        r=0
        2 0  policy b        r=1
        3 0  policy c        r=3
        4 0  policy d        unscored=interrupted";

    #[test]
    fn a_worked_tree() {
        // Sibling credit is [-2, -0.5, 2.5]; the same numbers come back on other steps.
        let forest = [stepwell_tree::parse(TREE)];
        let rewards = crate::reward::outcome::reward(&forest);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..32 {
            let config = Config { seed, ..Config::default() };
            let step = credit(&forest, &rewards, &config).remove(0).step;
            assert_eq!([step[0], step[4]], [None, None]);
            let mut sorted: Vec<f64> = step.iter().flatten().copied().collect();
            seen.insert(format!("{sorted:?}"));
            sorted.sort_by(f64::total_cmp);
            assert_eq!(sorted, [-2.0, -0.5, 2.5]);
        }
        assert_eq!(seen.len(), 6, "32 seeds reach all six orders");
    }

    #[test]
    fn laws() {
        let claims = Claims { equal_rewards_zero: true, needs_two: true, ..Claims::NONE };
        laws::check_fixed_order(|f, r| credit(f, r, &Config::default()), claims);
    }
}
