//! # Pairs of siblings (Step-DPO, SPORT)
//!
//! Paper: Step-DPO, arXiv 2406.18629; SPORT, arXiv 2504.21561.
//! Idea: Two steps after the same prefix, one of which led further: the prefix is shared, so the
//! loss speaks of the one decision in which they differ.
//! Formula: at a decision, chosen = argmax V, rejected = argmin V over the steps that differ; a
//! pair where V(chosen) − V(rejected) > 0 and at least `margin_min`, V(chosen) ≥ `chosen_min`,
//! V(rejected) ≤ `rejected_max`; V = recursive mean over children of rewards (DECISIONS 4)
//! Reads: rewards of leaves, the tokens of siblings.
//! Differs: values come from the tree's own continuations, where Step-DPO has a model mark the
//! first error and SPORT a verifier pick the best. Siblings of the same tokens are one step, its
//! value their mean.
//! Degenerate: equal values, equal tokens or one scored step: no pair.
//! Control: `decisions = "all"`; the same pairs with their sides swapped at random.

use serde::{Deserialize, Serialize};
use stepwell_tree::{StepId, StepTree, children, recursive_mean};

/// Which decisions of a path may give a pair.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decisions {
    /// The first on a path at which one can be made; nothing below it.
    #[default]
    First,
    /// Every one.
    All,
}

/// Which siblings are pairs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which decisions of a path may give a pair. Default `first`, Step-DPO's.
    pub decisions: Decisions,
    /// Least value of the chosen step, in units of reward. Default none.
    pub chosen_min: Option<f64>,
    /// Largest value of the rejected step, in units of reward. Default none.
    pub rejected_max: Option<f64>,
    /// Least difference of the two values, in units of reward, 0 to 1e6; 0 asks for any difference.
    /// Default 0, ours.
    pub margin_min: f64,
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let fine = (0.0..=1e6).contains(&self.margin_min);
        (!fine).then(|| {
            format!("`siblings.margin_min` must be from 0 to 1e6, got: {}", self.margin_min)
        })
    }
}

/// Two steps of one decision.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SiblingPair {
    /// The better step.
    pub chosen: StepId,
    /// The worse step.
    pub rejected: StepId,
    /// Difference of their values, above 0.
    pub margin: f64,
}

/// The pairs of a tree in order of their decisions; `reward` is `[N]`, of scored leaves.
pub fn pairs(tree: &StepTree, reward: &[Option<f64>], config: &Config) -> Vec<SiblingPair> {
    assert_eq!(tree.len(), reward.len(), "steps in the tree and in its rewards");
    let value = recursive_mean(tree, |s| reward[s.index()]);
    let below = children(tree);
    let mut closed = vec![false; tree.len()];
    let mut found = Vec::new();
    for i in 0..tree.len() {
        closed[i] |= i > 0 && closed[tree.parent[i].index()];
        if closed[i] && config.decisions == Decisions::First {
            continue;
        }
        if let Some(pair) = decide(tree, &below[i], &value, config) {
            found.push(pair);
            closed[i] = true;
        }
    }
    found
}

/// The pair of one decision.
fn decide(
    tree: &StepTree,
    siblings: &[StepId],
    value: &[Option<f64>],
    config: &Config,
) -> Option<SiblingPair> {
    // Steps of the same tokens are one: its first, the sum of its values, and how many they are.
    let mut distinct: Vec<(StepId, f64, f64)> = Vec::new();
    for &step in siblings.iter().filter(|s| tree.origin[s.index()].is_policy()) {
        let Some(own) = value[step.index()] else { continue };
        match distinct.iter_mut().find(|(first, ..)| tree.tokens(*first) == tree.tokens(step)) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + own, *count + 1.0),
            None => distinct.push((step, own, 1.0)),
        }
    }
    let mean = |(_, sum, count): &(StepId, f64, f64)| sum / count;
    let by_value = |a: &&(StepId, f64, f64), b: &&(StepId, f64, f64)| mean(a).total_cmp(&mean(b));
    // Of equal values the first counts, on both sides.
    let best = distinct.iter().rev().max_by(by_value)?;
    let worst = distinct.iter().min_by(by_value)?;
    let margin = mean(best) - mean(worst);
    let fine = margin > 0.0
        && margin >= config.margin_min
        && config.chosen_min.is_none_or(|least| mean(best) >= least)
        && config.rejected_max.is_none_or(|most| mean(worst) <= most);
    let tokens = |s: StepId| !tree.tokens(s).is_empty();
    (fine && tokens(best.0) && tokens(worst.0)).then_some(SiblingPair {
        chosen: best.0,
        rejected: worst.0,
        margin,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::parse;

    const TREE: &str = "
        0 -  prompt q
        1 0  policy a        r=0.5
        2 0  policy b
        3 2  environment o
        4 3  policy c        r=1
        5 3  policy d        r=0
        6 3  policy e        unscored=x
        7 0  policy f        r=0.25
        8 0  policy f        r=0.75
        9 0  policy g        r=0.25";

    fn of(config: Config) -> Vec<(u32, u32, f64)> {
        let tree = parse(TREE);
        let reward: Vec<Option<f64>> = tree.verdict.iter().map(|v| v.reward()).collect();
        pairs(&tree, &reward, &config)
            .into_iter()
            .map(|p| (p.chosen.0, p.rejected.0, p.margin))
            .collect()
    }

    #[test]
    fn a_worked_tree() {
        // At the prompt a, b and f (twice, mean 0.5) are worth 0.5, g 0.25; below b, c beats d.
        assert_eq!(of(Config::default()), [(1, 9, 0.25)]);
        let all = Config { decisions: Decisions::All, ..Config::default() };
        assert_eq!(of(all), [(1, 9, 0.25), (4, 5, 1.0)]);
        // Where the prompt gives none, the next decision is the first.
        let wide = Config { margin_min: 0.5, ..Config::default() };
        assert_eq!(of(wide), [(4, 5, 1.0)]);
        let low = Config { rejected_max: Some(0.0), ..Config::default() };
        assert_eq!(of(low), [(4, 5, 1.0)]);
        let high = Config { chosen_min: Some(0.6), ..Config::default() };
        assert_eq!(of(high), [(4, 5, 1.0)]);
    }

    #[test]
    fn nothing_to_tell_apart_is_no_pair() {
        for rows in [
            "1 0 policy a r=1\n2 0 policy b r=1",
            "1 0 policy a r=1\n2 0 policy a r=0",
            "1 0 policy a r=1\n2 0 policy b unscored=x",
            "1 0 policy a r=1",
        ] {
            let tree = parse(&format!("0 - prompt q\n{rows}"));
            let reward: Vec<Option<f64>> = tree.verdict.iter().map(|v| v.reward()).collect();
            assert_eq!(pairs(&tree, &reward, &Config::default()), [], "{rows}");
        }
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { margin_min: -0.1, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`siblings.margin_min`")));
    }
}
