//! # Progress under a prover (PAV)
//!
//! Paper: PAV, "Rewarding Progress", arXiv 2410.08146; its prover for free, best of K of the
//! policy.
//! Idea: Beside what an attempt earned, reward a step at once for how much it raised the chance
//! that somebody else, the prover, would finish: steps that make a problem solvable are reinforced
//! before the policy can solve it.
//! Formula: Q(s) = recursive mean of rewards below s; B(s) = 1 − (1 − Q(s))ᴷ; E(s) = Q(s) + α·(B(s)
//! − B(parent of s)); c(s) = E(s) − mean E(s') over the other scored siblings of s
//! Reads: rewards of leaves, from 0 to 1, which are read as chances; two scored alternatives.
//! Differs: the paper learns Q from rollouts of a frozen prover; here both values are those of the
//! tree's own continuations (its Monte-Carlo form with a best-of-K prover). B of an estimate is too
//! low on average, the more so the fewer continuations there are. The state baseline is the other
//! siblings' mean.
//! Degenerate: an only child changes no value, so it has no progress; it inherits the part of Q
//! alone, as `sibling` does (DECISIONS 5). `alpha = 0` is `sibling` bit for bit; `provers = 1`
//! multiplies by 1 + α what a decision gives. Equal rewards give exactly 0. Values beyond 0 and 1
//! count as these.
//! Control: `alpha = 0`, the same trees without progress; `permuted` of this one.
//!
//! The difference of B is an immediate reward and is never summed to go: its sum along the rest of
//! a path is the outcome less a baseline of the state, so the method would silently be `sibling`.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree, recursive_mean};

use super::sibling::{self, OnlyChild, against_siblings};
use super::{Rewards, assert_fits};

/// Outcome and progress.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// α, the factor of progress; 0 to 100. Default 3, the paper's for 9B; 0.5 to 6 helped there.
    pub alpha: f64,
    /// K of the best-of-K prover, 1 to 1024. Default 4, the paper's in search.
    pub provers: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { alpha: 3.0, provers: 4 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let Config { alpha, provers } = *self;
        if !(0.0..=100.0).contains(&alpha) {
            return Some(format!("`progress.alpha` must be from 0 to 100, got: {alpha}"));
        }
        let fine = (1..=1024).contains(&provers);
        (!fine).then(|| format!("`progress.provers` must be from 1 to 1024, got: {provers}"))
    }
}

/// The sibling advantage of outcome and progress.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let mut credits = sibling::credit(forest, rewards, &sibling::Config::default());
    if config.alpha == 0.0 {
        return credits;
    }
    for ((tree, leaf), credit) in forest.iter().zip(&rewards.leaf).zip(&mut credits) {
        // Siblings have the same parent: B of it is in every E of a decision and cancels.
        let progress = against_siblings(tree, &prover(tree, leaf, config), OnlyChild::None);
        for (own, progress) in credit.step.iter_mut().zip(progress.step) {
            if let (Some(own), Some(progress)) = (own, progress) {
                *own += config.alpha * progress;
            }
        }
    }
    credits
}

/// `[N]` the chance that one of K attempts from after a step succeeds.
fn prover(tree: &StepTree, leaf: &[Option<f64>], config: &Config) -> Vec<Option<f64>> {
    // Centred while it is averaged, so that equal rewards stay equal.
    let origin = leaf.iter().flatten().next().copied().unwrap_or(0.0);
    let value = recursive_mean(tree, |s| leaf[s.index()].map(|r| r - origin));
    value.iter().map(|v| v.map(|v| best_of(v + origin, config.provers))).collect()
}

/// 1 − (1 − q)ᴷ, without cancellation where q is small.
pub(super) fn best_of(q: f64, k: u32) -> f64 {
    -(f64::from(k) * (-q.clamp(0.0, 1.0)).ln_1p()).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims};

    #[test]
    fn a_worked_tree() {
        // K = 2, α = 2. Q: a 0, b (1 + 0)/2 = 0.5, c 1, d 0; B = 0, 0.75, 1, 0. Q + 2B: a 0, b 2,
        // c 3, d 0. f is an only child: Q's part of c alone.
        let config = Config { alpha: 2.0, provers: 2 };
        let tree = "
            0  -  prompt q
            1  0  policy a        r=0      | -2
            2  0  policy b                 | 2
            3  2  environment o
            4  3  policy c                 | 3
            5  3  policy d        r=0      | -3
            6  3  policy e        unscored=interrupted
            7  4  environment o
            8  7  policy f        r=1      | 1";
        laws::table(tree, |f, r| credit(f, r, &config));
    }

    #[test]
    fn best_of_one_is_the_policy_and_more_is_monotone() {
        for q in [0.0, 1e-12, 0.1, 0.5, 0.9, 1.0] {
            assert!((best_of(q, 1) - q).abs() <= 1e-15, "{q}");
            let naive = 1.0 - (1.0f64 - q).powi(4);
            assert!((best_of(q, 4) - naive).abs() < 1e-12, "{q}");
            for k in 1..6 {
                assert!(best_of(q, k + 1) >= best_of(q, k) && best_of(q, k) <= 1.0);
                assert!(best_of(q + 0.01, k) >= best_of(q, k));
            }
        }
        // The naive form has lost every digit here.
        assert_eq!(best_of(1e-18, 4), 4e-18);
    }

    #[test]
    fn progress_adds_up_to_the_outcome_less_the_prompts_value() {
        // Rewards 0 and 1, so that B of a leaf is its reward.
        let tree = stepwell_tree::parse(
            "0  -  prompt q
             1  0  policy a
             2  1  environment o
             3  2  policy b        r=1
             4  2  policy c        r=0
             5  0  policy d        r=0",
        );
        let leaf: Vec<Option<f64>> = tree.verdict.iter().map(|v| v.reward()).collect();
        let b = prover(&tree, &leaf, &Config::default());
        let at = |i: usize| b[i].unwrap();
        let progress = (at(1) - at(0)) + (at(3) - at(2));
        assert!((progress - (1.0 - at(0))).abs() < 1e-12, "{progress}");
        assert!((at(0) - (1.0 - 0.75f64.powi(4))).abs() < 1e-12);
    }

    #[test]
    fn without_progress_it_is_sibling_to_the_bit() {
        let forest: Vec<StepTree> = (0..50).map(laws::random_tree).collect();
        let rewards = crate::reward::outcome::reward(&forest);
        let plain = sibling::credit(&forest, &rewards, &sibling::Config::default());
        let none = Config { alpha: 0.0, ..Config::default() };
        assert_eq!(credit(&forest, &rewards, &none), plain);
        // One prover is the policy itself: progress points where the outcome points.
        let own = credit(&forest, &rewards, &Config { alpha: 2.0, provers: 1 });
        for (tree, (own, plain)) in forest.iter().zip(own.iter().zip(&plain)) {
            for i in 1..tree.len() {
                let (Some(own), Some(plain)) = (own.step[i], plain.step[i]) else { continue };
                let once = (own - plain).abs() < 1e-12;
                let thrice = (own - 3.0 * plain).abs() < 1e-12;
                assert!(once || thrice, "{own}, {plain}");
            }
        }
    }

    #[test]
    fn laws() {
        let claims = Claims {
            equal_rewards_zero: true,
            needs_two: true,
            flat_zero_sum: true,
            sibling_zero_sum: true,
            ..Claims::NONE
        };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
    }
}
