//! # REINFORCE++
//!
//! Paper: REINFORCE++, arXiv 2501.03262.
//! Idea: Centre and scale over the whole update and not per task: a task's own mean and deviation
//! come from a handful of attempts and inflate tasks whose attempts hardly differ.
//! Formula: c(s) = (ĉ(s) − mean ĉ)/√(var ĉ + ε) over the update; ĉ(s) = recursive mean below s of
//! rᵢ, or of rᵢ − (mean r of the task) with `baseline = "group_mean"`
//! Reads: rewards of leaves of the whole update; with `group_mean` two scored attempts per tree.
//! Differs: the paper's penalty, KL per token in the reward, is the objective's here (`kl`). Mean
//! and variance are over trained tokens, as verl's, each token of a shared step once; or over
//! attempts. Variance divides by n − 1, as verl's.
//! Degenerate: equal rewards (less the baseline) give exactly 0. Fewer than two scored attempts in
//! the update: `None`; so is a tree with one under `group_mean`. Unscored leaves are in no mean.
//! Control: `reinforce` with `baseline = "mean"` (centred, not scaled); `permuted` of this one.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::{Rewards, assert_fits, from_leaves};

/// What is taken off a reward before the update is normalised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Nothing: REINFORCE++.
    #[default]
    None,
    /// The mean of the task's attempts: REINFORCE++-baseline.
    GroupMean,
}

/// What mean and variance are taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// Trained tokens: long attempts weigh more.
    #[default]
    Tokens,
    /// Scored attempts, all alike.
    Attempts,
}

/// REINFORCE++ and its variant with a baseline.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What is taken off first. Default `none`, the paper's plain form.
    pub baseline: Baseline,
    /// What the update's mean and variance are over. Default `tokens`, verl's.
    pub over: Over,
    /// Added to the variance; in units of squared reward, above 0, at most 1. Default 1e-8, verl's.
    pub epsilon: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { baseline: Baseline::default(), over: Over::default(), epsilon: 1e-8 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let epsilon = self.epsilon;
        let fine = epsilon > 0.0 && epsilon <= 1.0;
        (!fine).then(|| {
            format!("`reinforce_plus_plus.epsilon` must be above 0, at most 1, got: {epsilon}")
        })
    }
}

/// Each step's mean reward, normalised by the update.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let advantage: Vec<Vec<Option<f64>>> = rewards.leaf.iter().map(|l| centre(l, config)).collect();
    let attempts: Vec<f64> = advantage.iter().flatten().flatten().copied().collect();
    if attempts.len() < 2 {
        return forest.iter().map(|tree| Credit::none(tree.len())).collect();
    }
    let each = forest.iter().zip(&advantage);
    let mut credits: Vec<Credit> =
        each.map(|(tree, leaf)| from_leaves(tree, |s| leaf[s.index()])).collect();
    // A mean of equal numbers may differ from them by rounding, so it is not computed.
    let equal = attempts.iter().all(|a| *a == attempts[0]);
    let (mean, variance) = match config.over {
        _ if equal => (0.0, 1.0),
        Over::Attempts => moments(|| attempts.iter().map(|a| (*a, 1.0))),
        Over::Tokens => moments(|| {
            let steps =
                forest.iter().zip(&credits).flat_map(|(tree, c)| tree.span.iter().zip(&c.step));
            steps.filter_map(|(span, c)| c.map(|c| (c, span.len() as f64)))
        }),
    };
    for number in credits.iter_mut().flat_map(|c| &mut c.step).flatten() {
        *number = if equal { 0.0 } else { (*number - mean) / (variance + config.epsilon).sqrt() };
    }
    credits
}

/// Rewards of one tree less the baseline; all `None` where there is nothing to compare with.
fn centre(leaf: &[Option<f64>], config: &Config) -> Vec<Option<f64>> {
    let scored: Vec<f64> = leaf.iter().flatten().copied().collect();
    match (config.baseline, &scored[..]) {
        (Baseline::None, _) => leaf.to_vec(),
        (Baseline::GroupMean, [] | [_]) => vec![None; leaf.len()],
        (Baseline::GroupMean, [origin, ..]) => {
            // Centred on one of the rewards, so that equal rewards give exactly 0.
            let mean = scored.iter().map(|r| r - origin).sum::<f64>() / scored.len() as f64;
            leaf.iter().map(|r| r.map(|r| (r - origin) - mean)).collect()
        }
    }
}

/// Mean and variance, with divisor n − 1, of numbers that stand for as many as their second says.
pub(super) fn moments<I: Iterator<Item = (f64, f64)>>(numbers: impl Fn() -> I) -> (f64, f64) {
    let count: f64 = numbers().map(|(_, n)| n).sum();
    let mean = numbers().map(|(x, n)| n * x).sum::<f64>() / count.max(1.0);
    let squares: f64 = numbers().map(|(x, n)| n * (x - mean) * (x - mean)).sum();
    (mean, squares / (count - 1.0).max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};
    use stepwell_tree::parse;

    fn exact(baseline: Baseline, over: Over) -> Config {
        Config { baseline, over, epsilon: 1e-300 }
    }

    fn numbers(config: Config) -> Vec<Option<f64>> {
        let forest = [
            parse("0 - prompt q\n1 0 policy a a a r=1\n2 0 policy b r=0"),
            parse("0 - prompt q\n1 0 policy a a r=1\n2 0 policy b unscored=interrupted"),
        ];
        let rewards = crate::reward::outcome::reward(&forest);
        let credits = credit(&forest, &rewards, &config);
        credits.iter().flat_map(|c| c.step[1..].to_vec()).collect()
    }

    #[track_caller]
    fn close(got: &[Option<f64>], expected: &[Option<f64>]) {
        for (got, expected) in got.iter().zip(expected) {
            assert_eq!(got.is_some(), expected.is_some());
            assert!((got.unwrap_or(0.0) - expected.unwrap_or(0.0)).abs() < 1e-6, "{got:?}");
        }
    }

    #[test]
    fn a_worked_update() {
        // Over tokens: five of 1 and one of 0, mean 5/6, variance (5/36 + 25/36)/5 = 1/6.
        let high = (1.0 / 6.0) / (1.0f64 / 6.0).sqrt();
        let low = -(5.0 / 6.0) / (1.0f64 / 6.0).sqrt();
        let got = numbers(exact(Baseline::None, Over::Tokens));
        close(&got, &[Some(high), Some(low), Some(high), None]);
        // Over attempts 1, 0, 1: mean 2/3, variance (1/9 + 4/9 + 1/9)/2 = 1/3.
        let (high, low) = ((1.0f64 / 3.0).sqrt(), -2.0 * (1.0f64 / 3.0).sqrt());
        let got = numbers(exact(Baseline::None, Over::Attempts));
        close(&got, &[Some(high), Some(low), Some(high), None]);
        // With the group's mean the second tree has nobody to compare with. Attempts 0.5 and -0.5:
        // mean 0, variance 0.5.
        let got = numbers(exact(Baseline::GroupMean, Over::Attempts));
        close(&got, &[Some(0.5f64.sqrt()), Some(-(0.5f64.sqrt())), None, None]);
        // Over tokens 0.5, 0.5, 0.5, -0.5: mean 0.25, variance (3/16 + 9/16)/3 = 0.25.
        let got = numbers(exact(Baseline::GroupMean, Over::Tokens));
        close(&got, &[Some(0.5), Some(-1.5), None, None]);
    }

    #[test]
    fn a_worked_tree() {
        // Over tokens: a a 1, b 0.5, c 1, d 0: mean 0.7, variance (2·0.09 + 0.04 + 0.09 + 0.49)/4.
        let tree = "
            0 -  prompt q
            1 0  policy a a      r=1      | 0.670820
            2 0  policy b                 | -0.447214
            3 2  environment o
            4 3  policy c        r=1      | 0.670820
            5 3  policy d        r=0      | -1.565248
            6 3  policy e        unscored=interrupted";
        laws::table(tree, |f, r| credit(f, r, &exact(Baseline::None, Over::Tokens)));
    }

    #[test]
    fn an_update_with_one_attempt_has_nothing_to_compare() {
        for baseline in [Baseline::None, Baseline::GroupMean] {
            let tree = "0 - prompt q\n1 0 policy a r=1\n2 0 policy b unscored=interrupted";
            laws::table(tree, |f, r| credit(f, r, &exact(baseline, Over::Tokens)));
        }
    }

    #[test]
    fn trained_tokens_have_mean_0_and_variance_1() {
        let forest: Vec<StepTree> = (0..20).map(laws::random_tree).collect();
        let rewards = crate::reward::outcome::reward(&forest);
        for baseline in [Baseline::None, Baseline::GroupMean] {
            let credits = credit(&forest, &rewards, &exact(baseline, Over::Tokens));
            let steps =
                || forest.iter().zip(&credits).flat_map(|(t, c)| t.span.iter().zip(&c.step));
            let tokens: Vec<f64> = steps()
                .flat_map(|(span, c)| std::iter::repeat_n(*c, span.len()).flatten())
                .collect();
            let n = tokens.len() as f64;
            let mean = tokens.iter().sum::<f64>() / n;
            let variance = tokens.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12, "{mean}, {variance}");
        }
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            needs_two: true,
            ..Claims::NONE
        };
        for baseline in [Baseline::None, Baseline::GroupMean] {
            let config = Config { baseline, ..Config::default() };
            laws::check(|f, r| credit(f, r, &config), claims);
            let claims = Claims { scale: Scale::Invariant, ..claims };
            laws::check(|f, r| credit(f, r, &exact(baseline, Over::Tokens)), claims);
            let claims = Claims { flat_zero_sum: true, ..claims };
            laws::check(|f, r| credit(f, r, &exact(baseline, Over::Attempts)), claims);
        }
    }
}
