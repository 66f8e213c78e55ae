//! # A KL coefficient that holds a distance
//!
//! Paper: Ziegler et al., arXiv 1909.08593, section 2.2.
//! Idea: What a coefficient of the KL does depends on the task; say instead how far from the
//! reference the policy may be, and let the coefficient follow.
//! Formula: e = clip(KL/KL* − 1, −step_max, step_max); β ← β·(1 + e·n/horizon), n attempts
//! Reads: the trees' log-probabilities at sampling and under the reference, before the update.
//! Differs: the KL of a branched tree is the recursive mean over children of Σ log π − log π_ref,
//! the expectation over paths; n is the number of attempts. The first β is the objective's
//! `kl.coefficient`. The paper has a constant in place of n/horizon, which is that of its released
//! code. β stays from 1e-6 to 100.
//! Degenerate: an update without trees changes nothing; a KL estimate below 0 counts as far too
//! small and lowers β.
//! Control: the objective's constant coefficient at the mean of this one's.

use serde::{Deserialize, Serialize};
use stepwell_tree::StepTree;

use super::{Plan, Seen, State};

/// The distance, and how fast the coefficient follows.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// KL*: nats of an attempt, above 0, at most 1e6. Default 6, ours, as in
    /// common libraries.
    pub target: f64,
    /// Attempts over which β may change by the factor e, above 0, at most 1e12. Default 10,000, the
    /// released code's.
    pub horizon: f64,
    /// Largest error that counts, above 0, at most 1. Default 0.2, the paper's.
    pub step_max: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { target: 6.0, horizon: 10_000.0, step_max: 0.2 }
    }
}

/// Ends of the range in which β stays.
const BETA: (f64, f64) = (1e-6, 100.0);

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let ranges = [
            ("target", self.target, 1e6),
            ("horizon", self.horizon, 1e12),
            ("step_max", self.step_max, 1.0),
        ];
        let wrong = ranges.into_iter().find(|(_, x, most)| !(*x > 0.0 && x <= most));
        wrong.map(|(key, x, most)| {
            format!("`adaptive_kl.{key}` must be above 0 and at most {most}, got: {x}")
        })
    }
}

/// Reinforcement alone, under the coefficient so far.
pub fn plan(state: &State) -> Plan {
    Plan { kl: state.kl, ..Plan::only(false) }
}

/// Moves the coefficient by what the update saw.
pub fn observe(state: &mut State, config: &Config, seen: &Seen) {
    let Some(divergence) = seen.divergence else { return };
    let error = (divergence / config.target - 1.0).clamp(-config.step_max, config.step_max);
    let factor = 1.0 + error * seen.attempts as f64 / config.horizon;
    state.kl = Some((seen.kl * factor).clamp(BETA.0, BETA.1));
}

/// Nats by which an attempt is likelier than under the reference: mean over trees of the recursive
/// mean over paths. `reference` names the column over tokens. `None` without a tree.
pub fn divergence(forest: &[StepTree], reference: &str) -> Option<f64> {
    let trees: Vec<f64> = forest.iter().map(|tree| of_tree(tree, reference)).collect();
    (!trees.is_empty()).then(|| trees.iter().sum::<f64>() / trees.len() as f64)
}

fn of_tree(tree: &StepTree, reference: &str) -> f64 {
    let column = &tree.token_column[reference];
    let (mut below, mut children) = (vec![0.0; tree.len()], vec![0.0_f64; tree.len()]);
    for i in (0..tree.len()).rev() {
        let own = tree.span[i].range();
        let step: f64 = match tree.origin[i].is_policy() {
            true => own.map(|t| f64::from(tree.logprob[t]) - f64::from(column[t])).sum(),
            false => 0.0,
        };
        let value = step + below[i] / children[i].max(1.0);
        if i == 0 {
            return value;
        }
        below[tree.parent[i].index()] += value;
        children[tree.parent[i].index()] += 1.0;
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{StepId, parse};

    #[test]
    fn worked_steps_of_the_controller() {
        let after = |divergence, attempts| {
            let mut state = State::default();
            let seen = Seen { divergence, attempts, kl: 0.1, ..Seen::default() };
            observe(&mut state, &Config::default(), &seen);
            plan(&state).kl
        };
        // Twice the target: clipped to 0.2. Just above it: 0.1. Far below: −0.2.
        let close = |got: Option<f64>, expected: f64| (got.unwrap() - expected).abs() < 1e-15;
        assert!(close(after(Some(12.0), 64), 0.1 * (1.0 + 0.2 * 64.0 / 1e4)));
        assert!(close(after(Some(6.6), 500), 0.1 * (1.0 + 0.1 * 500.0 / 1e4)));
        assert!(close(after(Some(-1.0), 1000), 0.1 * (1.0 - 0.2 * 1000.0 / 1e4)));
        assert!(close(after(Some(6.0), 1000), 0.1));
        // However many attempts: never to 0 or beyond.
        assert_eq!(after(Some(0.0), 10_000_000), Some(1e-6));
        assert_eq!(after(Some(1e9), 100_000_000), Some(100.0));
        assert_eq!(after(None, 0), None);
        let plan = plan(&State::default());
        assert_eq!((plan.reinforcement, plan.kl), (1.0, None));
    }

    #[test]
    fn a_worked_tree() {
        let mut tree = parse(
            "0 -  prompt q
             1 0  policy a a     r=1
             2 0  policy b
             3 2  environment o
             4 3  policy c       r=0
             5 3  policy d d     r=1",
        );
        // Every sampled token is 0.5 nats likelier than under the reference, d's 1.5 and 2.5.
        let mut column = vec![0.0; tree.token.len()];
        for i in 0..tree.len() {
            for t in tree.span[i].range().filter(|_| tree.origin[i].is_policy()) {
                tree.logprob[t] = -1.0;
                column[t] = -1.5;
            }
        }
        let d = tree.span[StepId(5).index()].range();
        (column[d.start], column[d.start + 1]) = (-2.5, -3.5);
        tree.token_column.insert("reference".to_owned(), column);
        // Below b: c 0.5, d 1.5 + 2.5; so b is 0.5 + 2.25, a is 1, and the tree their mean.
        let got = divergence(&[tree], "reference").unwrap();
        assert!((got - (1.0 + 2.75) / 2.0).abs() < 1e-12, "{got}");
        assert_eq!(divergence(&[], "reference"), None);
    }

    #[test]
    fn what_a_recipe_must_not_hold() {
        assert_eq!(Config::default().problem(), None);
        let wrong = Config { target: 0.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`adaptive_kl.target`")));
    }
}
