//! # Effective reward with a learned value of prefixes (PAV)
//!
//! Paper: PAV, "Rewarding Progress", arXiv 2410.08146, section 3.
//! Idea: Beside what an attempt earned, reward a step at once for how much it raised the chance,
//! learned beforehand, that a prover finishes from there.
//! Formula: c(s) = V̂(s) + α·(B(s) − B(parent of s)) − b; V̂ = recursive mean of rewards below s;
//! B = 1 − (1 − Q)ᴷ, Q = `score`, and the reward itself at a scored leaf; b = 0 or the critic's V
//! Reads: rewards of leaves, from 0 to 1; `score` over steps; `value` over tokens if
//! `baseline = "value"`.
//! Differs: what a step changed is counted from the state in which it was made, after the
//! observation; the paper's steps have none, so that it counts from the end of the step before.
//! The critic's value is that of each token, and its target is the effective reward.
//! Degenerate: `alpha = 0` is `reinforce` bit for bit. A step without a scored leaf below gets
//! `None`; one attempt is enough. Scores beyond 0 and 1 count as these.
//! Control: `alpha = 0`; `credit = "return_to_go"`, whose progress adds up to the outcome less a
//! number of the state, so that it must learn as if α were 0.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::progress::best_of;
use super::reinforce::{self, to_go};
use super::returns::{VALUE, by_token};
use super::{Rewards, assert_fits, gae, step_column, token_column};
use crate::estimator::SCORE;

/// When a step is rewarded for progress.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At once, for its own.
    #[default]
    Immediate,
    /// For its own and that of all that follows: the control.
    ReturnToGo,
}

/// What α multiplies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The change that the step made.
    #[default]
    Advantage,
    /// The chance after it, which also rewards standing still where much is won.
    Value,
}

/// What is taken off the effective reward.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Nothing.
    #[default]
    None,
    /// What the critic expected of it.
    Value,
}

/// Outcome and learned progress.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// α, the factor of progress; 0 to 100. Default 3, the paper's for 9B; 0.5 to 6 helped there.
    pub alpha: f64,
    /// K of the best-of-K prover, 1 to 1024; 1 where the score is a prover's already. Default 4,
    /// the paper's in search.
    pub provers: u32,
    /// When a step is rewarded for progress. Default `immediate`, the paper's.
    pub credit: When,
    /// What α multiplies. Default `advantage`, the paper's.
    pub signal: Signal,
    /// What is taken off. Default `none`, ours: no critic is needed; the paper has `value`.
    pub baseline: Baseline,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            alpha: 3.0,
            provers: 4,
            credit: When::default(),
            signal: Signal::default(),
            baseline: Baseline::default(),
        }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { alpha, provers, .. } = *self;
        if !(0.0..=100.0).contains(&alpha) {
            return Some(format!("`effective_reward.alpha` must be from 0 to 100, got: {alpha}"));
        }
        let fine = (1..=1024).contains(&provers);
        (!fine)
            .then(|| format!("`effective_reward.provers` must be from 1 to 1024, got: {provers}"))
    }
}

/// Outcome and progress of each step, less what the critic expected.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    let mut credits = effective(forest, rewards, config);
    if config.baseline == Baseline::Value {
        for (tree, credit) in forest.iter().zip(&mut credits) {
            let value = token_column(tree, VALUE);
            let mut own = spread(tree, credit);
            let met: Vec<bool> = credit.step.iter().map(Option::is_some).collect();
            for (span, _) in tree.span.iter().zip(&met).filter(|(_, met)| **met) {
                span.range().for_each(|t| own[t] -= f64::from(value[t]));
            }
            *credit = by_token(tree, &met, own, gae::Mode::TokenCompact);
        }
    }
    credits
}

/// `[tree][T]` what the critic should say, with `baseline = "value"`: the effective reward on every
/// token of a step that has one, 0 elsewhere. `None` without a critic.
pub fn value_targets(
    forest: &[StepTree],
    rewards: &Rewards,
    config: &Config,
) -> Option<Vec<Vec<f64>>> {
    (config.baseline == Baseline::Value).then(|| {
        let credits = effective(forest, rewards, config);
        forest.iter().zip(&credits).map(|(tree, credit)| spread(tree, credit)).collect()
    })
}

/// `[T]` the credit of the step that owns each token; 0 where there is none.
fn spread(tree: &StepTree, credit: &Credit) -> Vec<f64> {
    let mut token = vec![0.0; tree.token.len()];
    for (span, number) in tree.span.iter().zip(&credit.step) {
        token[span.range()].fill(number.unwrap_or(0.0));
    }
    token
}

/// Outcome and progress.
fn effective(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let mut credits = reinforce::credit(forest, rewards, &reinforce::Config::default());
    if config.alpha == 0.0 {
        return credits;
    }
    for ((tree, leaf), credit) in forest.iter().zip(&rewards.leaf).zip(&mut credits) {
        for (own, progress) in credit.step.iter_mut().zip(progress(tree, leaf, config)) {
            if let Some(own) = own {
                *own += config.alpha * progress;
            }
        }
    }
    credits
}

/// `[N]` what each policy step is rewarded for beside the outcome; read where it has credit.
fn progress(tree: &StepTree, leaf: &[Option<f64>], config: &Config) -> Vec<f64> {
    let score = step_column(tree, SCORE);
    let chance: Vec<f64> = (0..tree.len())
        .map(|i| best_of(leaf[i].unwrap_or(f64::from(score[i])), config.provers))
        .collect();
    let own: Vec<f64> = (0..tree.len())
        .map(|i| match config.signal {
            _ if !tree.origin[i].is_policy() => 0.0,
            Signal::Advantage => chance[i] - chance[tree.parent[i].index()],
            Signal::Value => chance[i],
        })
        .collect();
    match config.credit {
        When::Immediate => own,
        When::ReturnToGo => {
            let nothing: Vec<Option<f64>> = leaf.iter().map(|r| r.map(|_| 0.0)).collect();
            let all = to_go(tree, &nothing, &own);
            all.into_iter().map(|sum| sum.unwrap_or(0.0)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims};
    use crate::reward::outcome;

    const TREE: &str = "
        0  -  prompt q
        1  0  policy a        r=0      | A
        2  0  policy b b               | B
        3  2  environment o
        4  3  policy c        r=1      | C
        5  3  policy d        r=0      | D
        6  3  policy e        unscored=interrupted";

    /// The table under scores of 1/4 for the prompt, 1/2 after b, 3/4 after its observation.
    fn table(config: &Config, numbers: [&str; 4]) {
        let marks = ["| A", "| B", "| C", "| D"].into_iter().zip(numbers);
        let text = marks.fold(TREE.to_owned(), |t, (mark, n)| t.replace(mark, &format!("| {n}")));
        laws::table(&text, |f, r| {
            let mut tree = f[0].clone();
            let score = vec![0.25, 9.0, 0.5, 0.75, 9.0, 9.0, 9.0];
            tree.step_column.insert("score".to_owned(), score);
            let value = vec![9.0, 0.5, 0.25, 0.5, 9.0, 0.75, 0.125, 9.0];
            tree.token_column.insert("value".to_owned(), value);
            credit(&[tree], r, config)
        });
    }

    #[test]
    fn a_worked_tree() {
        // K = 1, α = 2. a: 0 + 2·(0 - 1/4); b: 1/2 + 2·(1/2 - 1/4); c: 1 + 2·(1 - 3/4); d: 0 +
        // 2·(0 - 3/4).
        let one = Config { alpha: 2.0, provers: 1, ..Config::default() };
        table(&one, ["-0.5", "1", "1.5", "-1.5"]);
        // K = 2: chances 7/16, 3/4, 15/16.
        table(&Config { provers: 2, ..one }, ["-0.875", "1.125", "1.125", "-1.875"]);
        // To go b also has the mean of 1/4 and -3/4.
        let control = Config { credit: When::ReturnToGo, ..one };
        table(&control, ["-0.5", "0.5", "1.5", "-1.5"]);
        table(&Config { signal: Signal::Value, ..one }, ["0", "1.5", "3", "0"]);
        // The critic's 1/2; 1/4 and 1/2 over the tokens of b; 3/4; 1/8.
        table(&Config { baseline: Baseline::Value, ..one }, ["-1", "0.625", "0.75", "-1.625"]);
    }

    #[test]
    fn progress_adds_up_to_the_outcome_less_the_prompts_value() {
        // pav.md, section 10, 1: with an observation that tells the estimator nothing new.
        let mut tree = stepwell_tree::parse(
            "0 - prompt q
             1 0 policy a
             2 1 environment o
             3 2 policy b
             4 3 environment o
             5 4 policy c r=1",
        );
        let score = vec![0.25, 0.5, 0.5, 0.125, 0.125, 9.0];
        tree.step_column.insert("score".to_owned(), score);
        let leaf: Vec<Option<f64>> = tree.verdict.iter().map(|v| v.reward()).collect();
        for provers in [1, 4] {
            let config = Config { provers, ..Config::default() };
            let own = progress(&tree, &leaf, &config);
            let sum: f64 = own.iter().sum();
            assert!((sum - (1.0 - best_of(0.25, provers))).abs() < 1e-12, "{sum}");
            // And so what is to go is the outcome less a number of the state, at every step.
            let to_go = progress(&tree, &leaf, &Config { credit: When::ReturnToGo, ..config });
            for (i, before) in [(1, 0.25), (3, 0.5), (5, 0.125)] {
                let expected = 1.0 - best_of(f64::from(before as f32), provers);
                assert!((to_go[i] - expected).abs() < 1e-12, "{i}: {to_go:?}");
            }
        }
    }

    #[test]
    fn without_progress_it_is_reinforce_to_the_bit() {
        let forest: Vec<StepTree> = (0..50).map(laws::random_tree).collect();
        let rewards = outcome::reward(&forest);
        let none = Config { alpha: 0.0, ..Config::default() };
        let plain = reinforce::credit(&forest, &rewards, &reinforce::Config::default());
        assert_eq!(credit(&forest, &rewards, &none), plain);
    }

    #[test]
    fn laws() {
        for baseline in [Baseline::None, Baseline::Value] {
            for when in [When::Immediate, When::ReturnToGo] {
                let config = Config { baseline, credit: when, ..Config::default() };
                laws::check(|f, r| credit(&laws::with_columns(f), r, &config), Claims::NONE);
            }
        }
        let wrong = Config { provers: 0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`effective_reward.provers`")));
    }
}
