//! # Drop groups without a difference (DAPO's dynamic sampling, MIRAGE's online reward filtering)
//!
//! Paper: DAPO, arXiv 2503.14476, equation 11; online reward filtering: MIRAGE, arXiv 2505.24238.
//! Idea: Where all attempts at a task are worth the same, credit that compares them is 0: the tree
//! would only dilute the update. Drop it, and with `refill` draw another task in its place.
//! Formula: keep ⇔ max r > min r over the scored attempts
//! Reads: rewards of leaves that are no companions.
//! Differs: DAPO keeps drawing until the batch is full; here `refill` caps the further tasks of an
//! update, and an update that stays short trains on what it has. DAPO asks for 0 < right < G, which
//! is the same for rewards 0 and 1. MIRAGE's digest does not mention refilling: leave `refill` at
//! 0.
//! Degenerate: no or one scored attempt has no difference and is dropped; equal is exact equality,
//! not equality within rounding. All trees dropped: the update takes no optimizer step.
//! Control: no filter at an equal number of sampled tokens (`token_budget`).

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree};

use super::{Keep, assert_fits};
use crate::grow::is_companion;

/// Nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Drops a tree whose scored rewards are all equal; `reward` is `[N]`, of scored leaves.
pub fn keep(tree: &StepTree, reward: &[Option<f64>], _: &Config) -> Keep {
    assert_fits(tree, reward);
    let own = |i: &usize| !is_companion(tree, StepId(*i as u32));
    let mut scored = (0..reward.len()).filter(own).filter_map(|i| reward[i]);
    let first = scored.next();
    let differs = first.is_some_and(|first| scored.any(|r| r != first));
    if differs { Keep::All } else { Keep::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::Rewards;
    use crate::grow::COMPANION;
    use crate::{CreditConfig, RewardConfig, token_weights};
    use stepwell_tree::{Credit, parse};

    fn of(attempts: &[&str]) -> (StepTree, Vec<Option<f64>>) {
        let rows = attempts.iter().enumerate().map(|(i, v)| format!("{} 0 policy a {v}\n", i + 1));
        let tree = parse(&format!("0 - prompt q\n{}", rows.collect::<String>()));
        let reward = tree.verdict.iter().map(|v| v.reward()).collect();
        (tree, reward)
    }

    #[test]
    fn worked_trees() {
        for (attempts, expected) in [
            (&["r=1", "r=0"][..], Keep::All),
            (&["r=1", "r=1"], Keep::Nothing),
            (&["r=0", "r=0", "r=0"], Keep::Nothing),
            (&["r=0.25", "r=0.25", "r=0.5"], Keep::All),
            // A failure to judge is no difference.
            (&["r=1", "unscored=x"], Keep::Nothing),
            (&["unscored=x", "r=1", "r=0"], Keep::All),
            (&["unscored=x"], Keep::Nothing),
        ] {
            let (tree, reward) = of(attempts);
            assert_eq!(keep(&tree, &reward, &Config {}), expected, "{attempts:?}");
        }
    }

    #[test]
    fn a_companion_is_no_attempt() {
        let (mut tree, reward) = of(&["r=1", "r=1", "r=0"]);
        assert_eq!(keep(&tree, &reward, &Config {}), Keep::All);
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 0.0, 0.0, 1.0]);
        assert_eq!(keep(&tree, &reward, &Config {}), Keep::Nothing);
    }

    /// Σ weight · credit over the tokens: the gradient of a first update, up to its direction.
    fn pull(
        forest: &[StepTree],
        rewards: &Rewards,
        aggregation: crate::Aggregation,
    ) -> (Vec<f64>, f64) {
        let method = CreditConfig::from_type("group_mean", empty()).unwrap().unwrap();
        let credit: Vec<Credit> = method.credit(forest, rewards);
        let weight = token_weights(forest, &credit, aggregation, 4);
        let mut all = Vec::new();
        let mut tokens = 0.0;
        for ((tree, credit), weight) in forest.iter().zip(&credit).zip(&weight) {
            for i in 1..tree.len() {
                let own = credit.step[i].unwrap_or(0.0);
                tokens += if credit.step[i].is_some() { tree.span[i].len() as f64 } else { 0.0 };
                let at = tree.span[i].range();
                all.extend(at.map(|k| weight[k] * own).filter(|pull| *pull != 0.0));
            }
        }
        (all, tokens)
    }

    fn empty<'a>() -> serde::de::value::MapDeserializer<
        'a,
        std::iter::Empty<(&'a str, f64)>,
        serde::de::value::Error,
    > {
        serde::de::value::MapDeserializer::new(std::iter::empty())
    }

    /// MIRAGE, invariant 4: what is dropped had no advantage, so that without it every remaining
    /// pull is the same up to the divisor: larger by all / kept, of tokens or of trees.
    #[test]
    fn what_is_dropped_pulled_at_nothing() {
        let forest: Vec<StepTree> =
            [&["r=1", "r=0"][..], &["r=1", "r=1"], &["r=0", "r=0"]].map(|a| of(a).0).into();
        let outcome = RewardConfig::from_type("outcome", empty()).unwrap().unwrap();
        let rewards = outcome.reward(&forest);
        let own = |t: usize| keep(&forest[t], &rewards.leaf[t], &Config {}) == Keep::All;
        let kept: Vec<usize> = (0..forest.len()).filter(|t| own(*t)).collect();
        assert_eq!(kept, [0]);
        let fewer: Vec<StepTree> = kept.iter().map(|t| forest[*t].clone()).collect();
        let fewer_rewards = outcome.reward(&fewer);
        let sum = crate::Aggregation::SequenceMeanTokenSumNorm { length_constant: Some(4) };
        for (aggregation, is_mean) in [(crate::Aggregation::TokenMean, true), (sum, false)] {
            let (all, tokens) = pull(&forest, &rewards, aggregation);
            let (some, kept_tokens) = pull(&fewer, &fewer_rewards, aggregation);
            assert_eq!((all.len(), some.len()), (2, 2));
            // The constant divisor still counts the trees: per tree the pull is the same.
            let ratio = if is_mean { kept_tokens / tokens } else { 1.0 / 3.0 };
            for (a, b) in all.iter().zip(&some) {
                assert!((a - b * ratio).abs() < 1e-12, "{a} against {b} by {ratio}");
            }
        }
    }
}
