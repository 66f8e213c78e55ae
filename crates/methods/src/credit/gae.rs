//! # Generalised advantage estimation (GAE)
//!
//! Paper: Schulman et al., arXiv 1506.02438, equation 16; on tokens, as RLHF does it: InstructGPT,
//! arXiv 2203.02155; per turn: SPA-RL, arXiv 2505.20732.
//! Idea: A critic says what a state is worth; a choice is worth by how much what follows surprises
//! it. λ says how far the surprise of later choices is believed.
//! Formula: δₜ = rₜ + γ·V(sₜ₊₁) − V(sₜ); Aₜ = δₜ + γλ·Aₜ₊₁; at a fork V and A of what follows are
//! means over the scored children; rₜ = step's reward − β·(log π_behaviour − log π_ref), and the
//! leaf's reward at its last token
//! Reads: rewards of leaves and of steps; `value` over tokens; `reference_logprob` if β > 0.
//! Differs: one attempt is a line in the paper; the mean at a fork keeps the expectation. Which
//! tokens are moments is a choice (`mode`). The value of a turn is that of its first token.
//! Degenerate: λ = 1 gives return − V, λ = 0 gives δ. A step without a scored leaf below gets
//! `None`. Whitened, equal advantages are 0, one token is 0. A policy step without tokens gets 0.
//! Equal rewards are nothing special: the critic is the baseline, not the other attempts.
//! Control: `permuted` of this one; `reinforce`, which has no critic.
//!
//! With `token_trl` a reward reaches the turn before an observation of L tokens only with factor
//! (γλ)ᴸ, 0.29 at L = 20: it is here to repeat what TRL 0.10 does, and no baseline to beat.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepTree};

use super::returns::{Event, Walk, by_token, whiten};
use super::{Rewards, assert_fits};

/// What a moment is, and what the clock does between two of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A sampled token; the clock also runs through observations, whose value counts as 0, as in
    /// TRL 0.10.
    TokenTrl,
    /// A sampled token; observations take no time.
    #[default]
    TokenCompact,
    /// A policy step: γ and λ count turns, and all tokens of a turn share its advantage.
    Turn,
}

/// GAE's advantage.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What a moment is. Default `token_compact`, ours: the libraries' recursion over sampled
    /// tokens, without losing credit in observations.
    pub mode: Mode,
    /// γ per moment, 0 to 1. Default 1, TRL's and InstructGPT's.
    pub gamma: f64,
    /// λ, 0 to 1. Default 0.95, TRL's and InstructGPT's.
    pub lambda: f64,
    /// Whether advantages get mean 0 and variance 1 over the trained tokens of the update. Default
    /// true, TRL's and verl's.
    pub whiten: bool,
    /// β: what every token pays per nat of log π_behaviour − log π_ref, in units of reward; 0 to
    /// 100. Default 0, ours: no reference is needed. With it the best policy is π_ref·exp(r/β).
    pub kl: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { mode: Mode::default(), gamma: 1.0, lambda: 0.95, whiten: true, kl: 0.0 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let ranges =
            [("gamma", self.gamma, 1.0), ("lambda", self.lambda, 1.0), ("kl", self.kl, 100.0)];
        let (name, number, most) = ranges.iter().find(|(_, x, most)| !(0.0..=*most).contains(x))?;
        Some(format!("`gae.{name}` must be from 0 to {most}, got: {number}"))
    }
}

/// Surprise of the critic, from each moment on.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |pair: (usize, &StepTree)| {
        let (advantage, met, _) = advantages(pair, rewards, config);
        by_token(pair.1, &met, advantage, config.mode)
    };
    let mut credits: Vec<Credit> = forest.iter().enumerate().map(of).collect();
    if config.whiten {
        whiten(forest, &mut credits, 1e-8);
    }
    credits
}

/// `[tree][T]` what the critic should say: A + V before whitening, for every token of a policy step
/// with a scored leaf below, 0 on every other. All tokens of a turn have the turn's.
pub fn value_targets(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Vec<f64>> {
    assert_fits(forest, rewards);
    forest.iter().enumerate().map(|pair| advantages(pair, rewards, config).2).collect()
}

/// `[T]` advantages, `[N]` which policy steps have them, `[T]` targets of the critic.
fn advantages(
    (t, tree): (usize, &StepTree),
    rewards: &Rewards,
    config: &Config,
) -> (Vec<f64>, Vec<bool>, Vec<f64>) {
    let Config { mut gamma, mut lambda, .. } = *config;
    if stepwell_mutant::planted(28) {
        std::mem::swap(&mut gamma, &mut lambda);
    }
    let mut advantage = vec![0.0; tree.token.len()];
    let mut target = vec![0.0; tree.token.len()];
    // Carried: V and A of what follows.
    let met = Walk::new((t, tree), rewards, config.mode, config.kl).backward(2, |event, carry| {
        let (reward, value) = match &event {
            Event::Chosen(moment) => (moment.reward, moment.value),
            Event::Observed => (0.0, 0.0),
        };
        let own = reward + gamma * carry[0] - value + gamma * lambda * carry[1];
        if let Event::Chosen(moment) = event {
            advantage[moment.tokens.clone()].fill(own);
            target[moment.tokens].fill(own + value);
        }
        carry.copy_from_slice(&[value, own]);
    });
    (advantage, met, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};
    use crate::reward::outcome;
    use stepwell_tree::parse;

    const PLAIN: Config =
        Config { mode: Mode::TokenCompact, gamma: 1.0, lambda: 0.95, whiten: false, kl: 0.0 };

    /// Tokens q a a o b c d with value 0, 1/8 ... 6/8.
    fn fork() -> [StepTree; 1] {
        let mut tree = parse(
            "0 - prompt q
             1 0 policy a a
             2 1 environment o
             3 2 policy b      r=1
             4 2 policy c      r=0
             5 2 policy d      unscored=interrupted",
        );
        let value = (0..tree.token.len()).map(|t| 0.125 * t as f32).collect();
        tree.token_column.insert("value".to_owned(), value);
        let reference = vec![-1.5, -1.5, -1.25, 0.0, -1.0, -0.5, -1.0];
        tree.token_column.insert("reference_logprob".to_owned(), reference);
        [tree]
    }

    #[track_caller]
    fn tokens(config: &Config, expected: [f64; 7]) {
        let forest = fork();
        let rewards = outcome::reward(&forest);
        let credit = credit(&forest, &rewards, config).remove(0);
        assert_eq!((credit.step[0], credit.step[2], credit.step[5]), (None, None, None));
        let token = credit.token.unwrap_or_else(|| {
            let own = |i: usize| credit.step[i].unwrap_or(0.0);
            [0, 1, 1, 2, 3, 4, 5].map(own).to_vec()
        });
        for (got, expected) in token.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-6, "{token:?}, expected {expected}");
        }
        let targets = value_targets(&forest, &rewards, config).remove(0);
        if !config.whiten && config.mode != Mode::Turn {
            for (t, target) in [1, 2, 4, 5].map(|t| (t, targets[t])) {
                assert!((target - token[t] - 0.125 * t as f64).abs() < 1e-12, "{t}: {target}");
            }
        }
        assert_eq!([targets[0], targets[3], targets[6]], [0.0; 3]);
    }

    #[test]
    fn a_worked_tree() {
        // λ = 1: return less V; that of a is the mean of 1 and 0. λ = 0: δ; the second a sees the
        // mean of V(b) = 1/2 and V(c) = 5/8.
        tokens(&Config { lambda: 1.0, ..PLAIN }, [0.0, 0.375, 0.25, 0.0, 0.5, -0.625, 0.0]);
        tokens(&Config { lambda: 0.0, ..PLAIN }, [0.0, 0.125, 0.3125, 0.0, 0.5, -0.625, 0.0]);
        // γ = 1/2, λ = 1/2: A(b) = 1/2, A(c) = -5/8, mean -1/16, mean V 9/16. Second a: 9/32 - 1/4
        // - 1/64 = 1/64; first: 1/8 - 1/8 + 1/256.
        let halves = Config { gamma: 0.5, lambda: 0.5, ..PLAIN };
        tokens(&halves, [0.0, 0.00390625, 0.015625, 0.0, 0.5, -0.625, 0.0]);
        // By turns: a sees V(b), V(c) of mean 9/16 and A of mean -1/16: 9/32 - 1/8 - 1/64 = 9/64.
        let turn = Config { mode: Mode::Turn, ..halves };
        tokens(&turn, [0.0, 0.140625, 0.140625, 0.0, 0.5, -0.625, 0.0]);
        // TRL: the observation has V 0, δ = 9/32 and A = 9/32 - 1/64 = 17/64. Second a: -1/4 +
        // 17/256 = -47/256; first: 1/8 - 1/8 - 47/1024.
        let trl = Config { mode: Mode::TokenTrl, ..halves };
        tokens(&trl, [0.0, -0.0458984375, -0.18359375, 0.0, 0.5, -0.625, 0.0]);
    }

    #[test]
    fn every_token_pays_for_leaving_the_reference() {
        // log π is -1 everywhere: a a pay β·0.5 and β·0.25, b 0, c β·(-0.5). λ = 1, γ = 1, β = 0.2.
        let config = Config { lambda: 1.0, kl: 0.2, ..PLAIN };
        // c: 0 + 0.1 - 0.625; the second a: (1 + 0.1)/2 - 0.05 - 0.25; the first: 0.1 less, V 1/8.
        tokens(&config, [0.0, 0.275, 0.25, 0.0, 0.5, -0.525, 0.0]);
        // By turns a pays 0.15 at once.
        let turn = Config { mode: Mode::Turn, ..config };
        tokens(&turn, [0.0, 0.275, 0.275, 0.0, 0.5, -0.525, 0.0]);
    }

    #[test]
    fn whitened_over_the_update() {
        // λ = 1: a a .375 .25, b .5, c -.625; mean 1/8, squares 1/16 + 1/64 + 9/64 + 9/16 = 25/32,
        // by 3, deviation 0.510310.
        let white = Config { lambda: 1.0, whiten: true, ..PLAIN };
        tokens(&white, [0.0, 0.489898, 0.244949, 0.0, 0.734847, -1.469694, 0.0]);
        // By turns a has 3/8 for both tokens: mean .15625, squares 2·.0478516 + .1181641 +
        // .6103516, by 3.
        let turn = Config { mode: Mode::Turn, ..white };
        let s = (0.82421875f64 / 3.0).sqrt();
        let [a, b, c] = [0.21875 / s, 0.34375 / s, -0.78125 / s];
        tokens(&turn, [0.0, a, a, 0.0, b, c, 0.0]);
    }

    #[test]
    fn rewards_of_steps_come_at_their_last_token() {
        let forest = fork();
        let mut rewards = outcome::reward(&forest);
        rewards.step = Some(vec![vec![0.0, 0.25, 0.0, 0.5, 0.0, 0.0]]);
        let config = Config { lambda: 0.0, ..PLAIN };
        let token = credit(&forest, &rewards, &config).remove(0).token.unwrap();
        // Against the worked tree: 1/4 more for the second a, 1/2 more for b, the first a as was.
        assert_eq!(token[1..6], [0.125, 0.5625, 0.0, 1.0, -0.625]);
    }

    #[test]
    fn a_verdict_on_an_observation_is_earned_by_the_step_before_it() {
        let mut tree = parse("0 - prompt q\n1 0 policy a\n2 1 environment o o r=1");
        tree.token_column.insert("value".to_owned(), vec![0.0, 0.25, 0.0, 0.0]);
        let forest = [tree];
        for mode in [Mode::TokenCompact, Mode::TokenTrl, Mode::Turn] {
            let config = Config { mode, ..PLAIN };
            let credit = credit(&forest, &outcome::reward(&forest), &config).remove(0);
            assert_eq!(credit.step, [None, Some(0.75), None], "{mode:?}");
        }
    }

    #[test]
    fn laws() {
        let run = |config: Config| {
            move |f: &[StepTree], r: &Rewards| credit(&laws::with_columns(f), r, &config)
        };
        for mode in [Mode::TokenTrl, Mode::TokenCompact, Mode::Turn] {
            let config = Config { mode, gamma: 0.9, kl: 0.1, ..PLAIN };
            laws::check(run(config), Claims::NONE);
            laws::check(run(Config { whiten: true, ..config }), Claims::NONE);
            // Without a critic, rewards are all there is.
            let claims = Claims { scale: Scale::Linear, ..Claims::NONE };
            let blind = |f: &[StepTree], r: &Rewards| {
                let mut forest = laws::with_columns(f);
                for tree in &mut forest {
                    tree.token_column.get_mut("value").unwrap().fill(0.0);
                }
                credit(&forest, r, &Config { kl: 0.0, ..config })
            };
            laws::check(blind, claims);
        }
        assert!(
            Config { gamma: 1.5, ..PLAIN }.problem().is_some_and(|p| p.contains("`gae.gamma`"))
        );
    }
}
