//! # Difference of Monte-Carlo values (VinePPO)
//!
//! Paper: VinePPO, arXiv 2410.01679, equations 6 and 7.
//! Idea: The value of a place is the mean reward of going on from there, so the credit of a step is
//! the value after it less the value before it, and no value model is trained.
//! Formula: V(s) = mean reward of the continuations from s; c(step s → s') = V(s') − V(s), V(end) =
//! the attempt's reward
//! Reads: rewards of leaves; the column `companion`, which `continuations` and `first_pit`
//! write.
//! Differs: steps are the environment's turns. V is the mean over continuations alone, as in the
//! paper: with the attempt's own reward in it V(s') − V(s) would be biased. `train_continuations`
//! is ours.
//! Degenerate: a boundary without a judged continuation has no value; the steps before and after
//! it then share V(next known) − V(last known). Without any known value before a step, and where
//! an unjudged attempt has none after it: `None`. Equal rewards exactly 0.
//! Control: `leave_one_out` on `independent` at the same sampled tokens.
//!
//! Continuations are sampled by the policy and thrown away: they train nothing. With
//! `train_continuations` each trains as an attempt from its boundary, with its reward less the mean
//! of the other continuations there, which does not depend on it. Unbiased by enumeration, with and
//! without (tests/monte_carlo.rs); variance V(1 − V)/K where rewards are 0 and 1.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepId, StepTree, children, recursive_mean};

use super::{Rewards, assert_fits};
use crate::grow::is_companion;

/// Differences of Monte-Carlo values.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Train continuations, too, each against the others of its boundary. Default false, the
    /// paper's.
    pub train_continuations: bool,
}

/// Value after a step, less the value before it.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        // Centred on one of the rewards, which changes no difference, so that equal rewards give
        // exactly 0.
        let origin = leaf.iter().flatten().next().copied().unwrap_or(0.0);
        let value = recursive_mean(tree, |s| leaf[s.index()].map(|r| r - origin));
        let lines = Lines::new(tree, &value);
        let mut credit = lines.attempts(tree, leaf, origin);
        if config.train_continuations {
            lines.continuations(tree, &value, &mut credit);
        }
        credit
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

/// Continuations of every place.
struct Lines {
    /// `[N]` their rewards, with the step each begins with; nothing where there are none.
    from: Vec<Vec<(StepId, f64)>>,
}

impl Lines {
    fn new(tree: &StepTree, value: &[Option<f64>]) -> Lines {
        let begins = |s: &StepId| is_companion(tree, *s);
        let lines = |(parent, below): (usize, Vec<StepId>)| -> Vec<(StepId, f64)> {
            if is_companion(tree, StepId(parent as u32)) {
                return Vec::new();
            }
            let judged = |s: StepId| value[s.index()].map(|v| (s, v));
            below.into_iter().filter(begins).filter_map(judged).collect()
        };
        Lines { from: children(tree).into_iter().enumerate().map(lines).collect() }
    }

    /// V, where there is one.
    fn value(&self, at: usize) -> Option<f64> {
        let lines = &self.from[at];
        let sum: f64 = lines.iter().map(|(_, reward)| reward).sum();
        (!lines.is_empty()).then(|| sum / lines.len() as f64)
    }

    /// Credit of the steps of attempts.
    fn attempts(&self, tree: &StepTree, leaf: &[Option<f64>], origin: f64) -> Credit {
        let own = |i: &usize| !is_companion(tree, StepId(*i as u32));
        // The last known value on the way down to each step, the step included.
        let mut before: Vec<Option<f64>> = vec![None; tree.len()];
        for i in (0..tree.len()).filter(own) {
            let above = if i == 0 { None } else { before[tree.parent[i].index()] };
            before[i] = self.value(i).or(above);
        }
        // The next known value on the way on from each step, its own included: a recursive mean
        // where an attempt forks.
        let mut sum = vec![0.0; tree.len()];
        let mut count = vec![0u32; tree.len()];
        let mut after: Vec<Option<f64>> = vec![None; tree.len()];
        for i in (0..tree.len()).rev().filter(own) {
            let below = (count[i] > 0).then(|| sum[i] / f64::from(count[i]));
            let reward = leaf[i].map(|r| r - origin);
            after[i] = self.value(i).or(reward).or(below);
            if let (Some(v), true) = (after[i], i > 0) {
                sum[tree.parent[i].index()] += v;
                count[tree.parent[i].index()] += 1;
            }
        }
        let mut credit = Credit::none(tree.len());
        for i in (1..tree.len()).filter(own).filter(|&i| tree.origin[i].is_policy()) {
            let known = before[tree.parent[i].index()];
            credit.step[i] = after[i].zip(known).map(|(after, before)| after - before);
        }
        credit
    }

    /// Credit of continuations: the whole line's reward, less the mean of the others from there.
    fn continuations(&self, tree: &StepTree, value: &[Option<f64>], credit: &mut Credit) {
        let mut line: Vec<Option<f64>> = vec![None; tree.len()];
        for lines in self.from.iter().filter(|lines| lines.len() > 1) {
            let sum: f64 = lines.iter().map(|(_, reward)| reward).sum();
            for (step, reward) in lines {
                let others = (sum - reward) / (lines.len() - 1) as f64;
                line[step.index()] = Some(reward - others);
            }
        }
        for i in 1..tree.len() {
            if !is_companion(tree, StepId(i as u32)) {
                continue;
            }
            line[i] = line[i].or(line[tree.parent[i].index()]);
            if tree.origin[i].is_policy() && value[i].is_some() {
                credit.step[i] = line[i];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::{COMPANION, continuations};
    use crate::laws::{self, Claims, Scale};

    fn marked(forest: &[StepTree], attempts: u32) -> Vec<StepTree> {
        let config = continuations::Config { attempts, ..continuations::Config::default() };
        let mark = |tree: &StepTree| {
            let mut tree = tree.clone();
            let column = continuations::companions(&tree, &config);
            tree.step_column.insert(COMPANION.to_owned(), column);
            tree
        };
        forest.iter().map(mark).collect()
    }

    const TREE: &str = "
        0  -  prompt q
        1  0  policy a                | 0.25
        2  1  environment o
        3  2  policy b        r=1     | 0.5
        4  2  policy c        r=1
        5  2  policy d        r=0
        6  0  policy e        r=0     | -0.25
        7  0  policy f        r=0
        8  0  policy g
        9  8  environment o
        10 9  policy h        r=0.5
        11 0  policy i        unscored=interrupted";

    #[test]
    fn a_worked_tree() {
        // Two attempts, a b and e. V(q) is the mean over the lines f 0 and g h 0.5, so 0.25; V(o)
        // that over c 1 and d 0.
        laws::table(TREE, |f, r| credit(&marked(f, 2), r, &Config::default()));
    }

    #[test]
    fn continuations_train_against_each_other_where_asked() {
        let trained = TREE
            .replace("policy c        r=1", "policy c        r=1 | 1")
            .replace("policy d        r=0", "policy d        r=0 | -1")
            .replace("policy f        r=0", "policy f        r=0 | -0.5")
            .replace("policy g", "policy g | 0.5")
            .replace("policy h        r=0.5", "policy h        r=0.5 | 0.5");
        let config = Config { train_continuations: true };
        laws::table(&trained, |f, r| credit(&marked(f, 2), r, &config));
    }

    #[test]
    fn steps_around_an_unknown_value_share_the_difference() {
        // No line from o: a and b share 1 − V(q), V(q) = 0.25 of f and g. The attempt x was not
        // judged, but what came of it before has a value: y follows nothing known.
        let tree = "
            0  -  prompt q
            1  0  policy a                | 0.75
            2  1  environment o
            3  2  policy b        r=1     | 0.75
            4  0  policy x                | 0.75
            5  4  environment p
            6  5  policy y        unscored=interrupted
            7  5  policy z        r=1
            8  0  policy f        r=0.5
            9  0  policy g        r=0";
        laws::table(tree, |f, r| credit(&marked(f, 2), r, &Config::default()));
        // Without any continuation there is no credit, though every leaf has a reward.
        let none = tree.replace("| 0.75", "");
        laws::table(&none, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            needs_two: true,
            scale: Scale::Linear,
            ..Claims::NONE
        };
        for train_continuations in [false, true] {
            let config = Config { train_continuations };
            laws::check(|f, r| credit(f, r, &config), claims);
        }
    }
}
