//! # Attribution of the outcome to turns (SPA-RL)
//!
//! Paper: SPA-RL, arXiv 2505.20732 (formulas secondary, and its code).
//! Idea: In place of one reward at the end, every turn is paid at once for what an estimator says
//! it contributed, and a little for an action that could be carried out.
//! Formula: rₜ = α·cₜ + β·gₜ at the last token of turn t, nothing at the end; Σ cₜ ≈ R
//! Reads: what the other reward reads; `contribution` over steps; `grounded` over steps, or a part
//! of the verdict, if β > 0.
//! Differs: β is 0 by default (ours: no environment calls an action grounded in the same way; the
//! paper's code has 0.5). `residual` gives steps or the end what Σ cₜ misses of R; the paper gives
//! nothing. Its code multiplies by the turns that remain, which deletes the last one: `multiplier`.
//! Degenerate: rₜ is no shaping by a potential: with a poor estimator another policy is best, and
//! β > 0 pays for every turn. An attempt without a policy step earns nothing but its residual. On a
//! shared step a residual or a part is the recursive mean over the attempts through it.
//! Control: `contributions = "permuted"` and `"uniform"`: equal rewards on the wrong turns.
//!
//! Permuted contributions change places within a stretch that nothing forks off, so that each
//! attempt's sum stays; with forks at every turn nothing can move, and `independent` attempts are
//! the trees to compare on.

use serde::{Deserialize, Serialize};
use stepwell_tree::StepTree;

use super::turns::{grounding, remaining, shares};
use crate::estimator::CONTRIBUTION;
use crate::{RewardConfig, Rewards};

/// Column over steps: 1 where the environment could carry out a policy step, 0 where it answered
/// with an error.
pub const GROUNDED: &str = "grounded";

/// Where contributions come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contributions {
    /// The estimator's.
    #[default]
    Learned,
    /// Control: the outcome in equal parts.
    Uniform,
    /// Control: the estimator's, on other turns of the same attempt.
    Permuted,
}

/// What becomes of the difference between the outcome and the sum of contributions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Residual {
    /// Nothing.
    #[default]
    None,
    /// Every turn gets an equal part.
    Uniform,
    /// The end of the attempt gets it.
    Last,
}

/// What says that an action could be carried out.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grounding {
    /// The observation it caused is no error.
    #[default]
    Observation,
    /// This part of the verdict, for every turn of the attempt.
    Part(String),
}

/// By what a turn's reward is multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Multiplier {
    /// By nothing.
    #[default]
    None,
    /// By the number of turns after it, as the paper's code: 0 for the last.
    Remaining,
}

/// Contributions and grounding.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The outcome that is attributed. Default `outcome`.
    pub of: Box<RewardConfig>,
    /// α, the factor of contributions; 0 to 100. Default 1, that of the paper's code.
    pub alpha: f64,
    /// β, what a turn earns that could be carried out; in units of reward, 0 to 100. Default 0.
    pub beta: f64,
    /// Read if β > 0: `"observation"` (default, the paper's) or `{ part = "..." }`.
    pub grounding: Grounding,
    /// What becomes of what contributions miss. Default `none`, the paper's.
    pub residual: Residual,
    /// Where contributions come from. Default `learned`.
    pub contributions: Contributions,
    /// By what a turn's reward is multiplied. Default `none`, the paper's.
    pub multiplier: Multiplier,
    /// Picks the places of `permuted`, together with the task and the policy's version; any whole
    /// number.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            of: Box::new(RewardConfig::Outcome),
            alpha: 1.0,
            beta: 0.0,
            grounding: Grounding::default(),
            residual: Residual::default(),
            contributions: Contributions::default(),
            multiplier: Multiplier::default(),
            seed: 0,
        }
    }
}

impl Config {
    /// Names of the verdict's parts it reads.
    pub fn parts(&self) -> Vec<String> {
        let mut names = self.of.parts();
        match &self.grounding {
            Grounding::Part(name) if self.beta > 0.0 => names.push(name.clone()),
            _ => {}
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Columns over steps it reads.
    pub(crate) fn columns(&self) -> &'static [&'static str] {
        let learned = self.contributions != Contributions::Uniform;
        let observed = self.beta > 0.0 && self.grounding == Grounding::Observation;
        match (learned, observed) {
            (true, true) => &[CONTRIBUTION, GROUNDED],
            (true, false) => &[CONTRIBUTION],
            (false, true) => &[GROUNDED],
            (false, false) => &[],
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let wrong = [("alpha", self.alpha), ("beta", self.beta)];
        let wrong = wrong.iter().find(|(_, x)| !(0.0..=100.0).contains(x));
        let wrong =
            wrong.map(|(name, x)| format!("`attribution.{name}` must be from 0 to 100, got: {x}"));
        let twice = || {
            let message = "`attribution.of` pays steps itself; name the outcome that is attributed";
            self.of.pays_steps().then(|| message.to_owned())
        };
        wrong.or_else(twice).or_else(|| self.of.problem())
    }
}

/// What every policy step with a scored leaf below earns at once; leaves keep their residual.
pub fn reward(forest: &[StepTree], config: &Config) -> Rewards {
    let outcome = config.of.reward(forest);
    let mut rewards = Rewards::of_leaves(Vec::new());
    let mut steps = Vec::new();
    for (tree, leaf) in forest.iter().zip(&outcome.leaf) {
        let (mut step, mut end) = shares(tree, leaf, config);
        step.iter_mut().for_each(|c| *c *= config.alpha);
        end.iter_mut().flatten().for_each(|rest| *rest *= config.alpha);
        if config.beta > 0.0 {
            let ground = grounding(tree, leaf, config);
            step.iter_mut().zip(ground).for_each(|(r, g)| *r += config.beta * g);
        }
        if config.multiplier == Multiplier::Remaining {
            step.iter_mut().zip(remaining(tree, leaf)).for_each(|(r, m)| *r *= m);
        }
        rewards.leaf.push(end);
        steps.push(step);
    }
    rewards.step = Some(steps);
    rewards
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use stepwell_tree::parse;

    /// a b c is one attempt, d with e or f two; d stands in both.
    fn example() -> StepTree {
        let mut tree = parse(
            "0 -  prompt q
             1 0  policy a
             2 1  environment o
             3 2  policy b
             4 3  environment o
             5 4  policy c        r=1 part:explore=1
             6 0  policy d
             7 6  environment o
             8 7  policy e        r=1
             9 7  policy f        r=0 part:explore=0.5
             10 7 policy g        unscored=interrupted",
        );
        let of = |numbers: [f32; 11]| numbers.to_vec();
        let c = of([9.0, 0.5, 9.0, -0.25, 9.0, 0.125, 0.25, 9.0, 0.5, 0.125, 9.0]);
        tree.step_column.insert("contribution".to_owned(), c);
        let g = of([9.0, 1.0, 9.0, 0.0, 9.0, 1.0, 1.0, 9.0, 0.0, 1.0, 9.0]);
        tree.step_column.insert("grounded".to_owned(), g);
        tree
    }

    /// Rewards of the policy steps a, b, c, d, e, f, and what c, e and f keep at the end.
    fn of(config: &Config) -> ([f64; 6], [f64; 3]) {
        let tree = example();
        let rewards = reward(std::slice::from_ref(&tree), config);
        let step = rewards.at_steps(0).unwrap().to_vec();
        for i in [0, 2, 4, 7, 10] {
            assert_eq!(step[i], 0.0, "{i} earned nothing");
        }
        let leaf = &rewards.leaf[0];
        assert_eq!(leaf.iter().flatten().count(), 3);
        ([1, 3, 5, 6, 8, 9].map(|i| step[i]), [5, 8, 9].map(|i| leaf[i].unwrap()))
    }

    #[test]
    fn a_worked_tree() {
        let plain = Config { alpha: 2.0, ..Config::default() };
        assert_eq!(of(&plain), ([1.0, -0.5, 0.25, 0.5, 1.0, 0.25], [0.0; 3]));
        // R − R̂: c 1 - 3/8, e 1 - 3/4, f 0 - 3/8.
        let last = Config { residual: Residual::Last, ..Config::default() };
        assert_eq!(of(&last).1, [0.625, 0.25, -0.375]);
        // d: the mean of 1/4 and -3/8 by two turns each, -1/32; e and f the rest of their own.
        let uniform = Config { residual: Residual::Uniform, ..Config::default() };
        let (step, leaf) = of(&uniform);
        let third = 0.625 / 3.0;
        let d = -0.03125;
        let expected =
            [0.5 + third, third - 0.25, 0.125 + third, 0.25 + d, 0.5 + 0.25 - d, 0.125 - 0.375 - d];
        for (got, expected) in step.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{step:?} {expected}");
        }
        assert_eq!(leaf, [0.0; 3]);
    }

    #[test]
    fn a_turn_that_could_be_carried_out_earns_a_little() {
        let grounded = Config { alpha: 0.0, beta: 0.5, ..Config::default() };
        assert_eq!(of(&grounded).0, [0.5, 0.0, 0.5, 0.5, 0.0, 0.5]);
        let part = Config { grounding: Grounding::Part("explore".to_owned()), ..grounded };
        // d has the mean of its attempts, 0 and 1/2.
        assert_eq!(of(&part).0, [0.5, 0.5, 0.5, 0.125, 0.0, 0.25]);
        assert_eq!(
            (part.parts(), part.columns()),
            (vec!["explore".to_owned()], &[CONTRIBUTION][..])
        );
    }

    #[test]
    fn controls_keep_an_attempts_sum_and_move_its_parts() {
        let uniform = Config { contributions: Contributions::Uniform, ..Config::default() };
        let (step, _) = of(&uniform);
        // a b c: a third each. d: the mean of 1/2 and 0; e and f what is left.
        let expected = [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 0.25, 0.75, -0.25];
        for (got, expected) in step.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-12, "{step:?}");
        }
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..32 {
            let contributions = Contributions::Permuted;
            let (step, _) = of(&Config { contributions, seed, ..Config::default() });
            let mut sorted = step[..3].to_vec();
            seen.insert(format!("{sorted:?}"));
            sorted.sort_by(f64::total_cmp);
            assert_eq!(sorted, [-0.25, 0.125, 0.5]);
            assert_eq!(step[3..], [0.25, 0.5, 0.125], "forks stand still");
        }
        assert_eq!(seen.len(), 6, "32 seeds reach all six orders");
    }

    #[test]
    fn laws() {
        for contributions in
            [Contributions::Learned, Contributions::Uniform, Contributions::Permuted]
        {
            let config = Config { contributions, beta: 0.5, ..Config::default() };
            laws::check_reward(&[], |f| reward(&laws::with_columns(f), &config));
        }
        let residual = Residual::Uniform;
        let config =
            Config { residual, grounding: Grounding::Part("x".to_owned()), ..Config::default() };
        laws::check_reward(&["x"], |f| reward(&laws::with_columns(f), &config));
        let wrong = Config { beta: -1.0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`attribution.beta`")));
        let of = Box::new(RewardConfig::Attribution(Config::default()));
        let twice = Config { of, ..Config::default() };
        assert!(twice.problem().is_some_and(|p| p.starts_with("`attribution.of`")));
    }
}
