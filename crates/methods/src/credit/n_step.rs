//! # Returns of n moments (A2C)
//!
//! Paper: A3C, Mnih et al., arXiv 1602.01783, section 4 (its synchronous form is A2C).
//! Idea: Count what is really earned for n choices, then believe the critic: less noise than the
//! whole return, less of the critic's error than one choice.
//! Formula: Aₜ = Rₜ⁽ⁿ⁾ − V(sₜ); Rₜ⁽ⁿ⁾ = Σ_{i<n} γⁱ·rₜ₊ᵢ + γⁿ·V(sₜ₊ₙ), 0 beyond the end; at a fork
//! the mean over the scored children
//! Reads: rewards of leaves and of steps; `value` over tokens; `reference_logprob` if β > 0.
//! Differs: A3C's window ends where a batch of n choices does, so that its last choice looks one
//! ahead; here all look n ahead. Nothing is whitened.
//! Degenerate: n beyond the end of every path gives return − V; n = 1 is `gae` with λ = 0. A step
//! without a scored leaf below gets `None`; equal rewards are nothing special.
//! Control: `gae` with the same critic; `permuted` of this one.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::gae::Mode;
use super::returns::{Event, Walk, by_token};
use super::{Rewards, assert_fits};

/// What n counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Sampled tokens; observations take no time.
    #[default]
    Token,
    /// Policy steps.
    Turn,
}

/// The n-step advantage.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// n, 1 to 1024. Default 5, A3C's.
    pub n: u32,
    /// What n and γ count. Default `token`, ours.
    pub per: Per,
    /// γ per moment, 0 to 1. Default 0.99, A3C's.
    pub gamma: f64,
    /// β: what every token pays per nat of log π_behaviour − log π_ref, in units of reward; 0 to
    /// 100. Default 0, ours: no reference is needed.
    pub kl: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { n: 5, per: Per::default(), gamma: 0.99, kl: 0.0 }
    }
}

impl Config {
    fn mode(&self) -> Mode {
        match self.per {
            Per::Token => Mode::TokenCompact,
            Per::Turn => Mode::Turn,
        }
    }

    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        if !(1..=1024).contains(&self.n) {
            return Some(format!("`n_step.n` must be from 1 to 1024, got: {}", self.n));
        }
        let ranges = [("gamma", self.gamma, 1.0), ("kl", self.kl, 100.0)];
        let (name, number, most) = ranges.iter().find(|(_, x, most)| !(0.0..=*most).contains(x))?;
        Some(format!("`n_step.{name}` must be from 0 to {most}, got: {number}"))
    }
}

/// The n-step return from each moment, less the critic's value there.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |pair: (usize, &StepTree)| {
        let (advantage, met, _) = returns(pair, rewards, config);
        by_token(pair.1, &met, advantage, config.mode())
    };
    forest.iter().enumerate().map(of).collect()
}

/// `[tree][T]` what the critic should say: R⁽ⁿ⁾, for every token of a policy step with a scored
/// leaf below, 0 on every other.
pub fn value_targets(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Vec<f64>> {
    assert_fits(forest, rewards);
    forest.iter().enumerate().map(|pair| returns(pair, rewards, config).2).collect()
}

/// `[T]` advantages, `[N]` which policy steps have them, `[T]` n-step returns.
fn returns(
    (t, tree): (usize, &StepTree),
    rewards: &Rewards,
    config: &Config,
) -> (Vec<f64>, Vec<bool>, Vec<f64>) {
    let n = config.n as usize;
    let mut advantage = vec![0.0; tree.token.len()];
    let mut target = vec![0.0; tree.token.len()];
    // Carried: returns of 0, 1 ... n − 1 moments from what follows.
    let walk = Walk::new((t, tree), rewards, config.mode(), config.kl);
    let met = walk.backward(n, |event, carry| {
        let Event::Chosen(moment) = event else { return };
        let next = |carry: f64| moment.reward + config.gamma * carry;
        let own = next(carry[n - 1]);
        advantage[moment.tokens.clone()].fill(own - moment.value);
        target[moment.tokens].fill(own);
        for k in (1..n).rev() {
            carry[k] = next(carry[k - 1]);
        }
        carry[0] = moment.value;
    });
    (advantage, met, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credit::gae;
    use crate::laws::{self, Claims};
    use crate::reward::outcome;
    use stepwell_tree::parse;

    /// Tokens q a b o c d e, value 0, 1/8 ... 6/8; c earns 1 and ends, d goes on to e, which earns
    /// 0.5 at a step of its own.
    fn example() -> [StepTree; 1] {
        let mut tree = parse(
            "0 - prompt q
             1 0 policy a b
             2 1 environment o
             3 2 policy c      r=1
             4 2 policy d
             5 4 policy e      r=0.5",
        );
        let value = (0..tree.token.len()).map(|t| 0.125 * t as f32).collect();
        tree.token_column.insert("value".to_owned(), value);
        [tree]
    }

    #[track_caller]
    fn targets(config: &Config, expected: [f64; 7]) {
        let forest = example();
        let rewards = outcome::reward(&forest);
        let got = value_targets(&forest, &rewards, config).remove(0);
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-9, "{got} {expected}");
        }
        let credit = credit(&forest, &rewards, config).remove(0);
        if let Some(token) = credit.token {
            for t in [1, 2, 4, 5, 6] {
                assert!((token[t] - (got[t] - 0.125 * t as f64)).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_worked_tree() {
        // γ = 1/2, n = 2. e: 1/2. d: 1/4. c: 1. b: the mean of (1 over c) 1/2 and (V(e) = 3/4 over
        // d, e) 3/16: 11/32. a: γ² times the mean of V(c) = 1/2 and V(d) = 5/8: 9/64.
        let config = Config { n: 2, gamma: 0.5, ..Config::default() };
        targets(&config, [0.0, 9.0 / 64.0, 11.0 / 32.0, 0.0, 1.0, 0.25, 0.5]);
        // Beyond every end: the return. b: (1/2 + 1/8)/2; a: half of it.
        targets(&Config { n: 9, ..config }, [0.0, 0.15625, 0.3125, 0.0, 1.0, 0.25, 0.5]);
        // Turns: `a b` is one moment, one γ before c and d, with the targets of both tokens equal.
        let turn = Config { per: Per::Turn, n: 9, ..config };
        targets(&turn, [0.0, 0.3125, 0.3125, 0.0, 1.0, 0.25, 0.5]);
    }

    #[test]
    fn its_ends_are_those_of_gae() {
        let forest: Vec<StepTree> = (0..40).map(laws::random_tree).collect();
        let (forest, rewards) = (laws::with_columns(&forest), outcome::reward(&forest));
        for (n, lambda) in [(1, 0.0), (64, 1.0)] {
            let own = Config { n, gamma: 0.9, kl: 0.2, ..Config::default() };
            let other =
                gae::Config { lambda, gamma: 0.9, kl: 0.2, whiten: false, ..Default::default() };
            let (own, other) =
                (credit(&forest, &rewards, &own), gae::credit(&forest, &rewards, &other));
            for (own, other) in own.iter().zip(&other) {
                let pairs = own.token.iter().flatten().zip(other.token.iter().flatten());
                for (a, b) in pairs {
                    assert!((a - b).abs() < 1e-12, "{n}: {a} {b}");
                }
            }
        }
    }

    #[test]
    fn laws() {
        for per in [Per::Token, Per::Turn] {
            let config = Config { per, n: 2, kl: 0.1, ..Config::default() };
            laws::check(|f, r| credit(&laws::with_columns(f), r, &config), Claims::NONE);
        }
        let wrong = Config { n: 0, ..Config::default() };
        assert!(wrong.problem().is_some_and(|p| p.starts_with("`n_step.n`")));
    }
}
