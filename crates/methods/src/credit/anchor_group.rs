//! # Anchor groups (GiGPO)
//!
//! Paper: GiGPO, arXiv 2505.10978, equations 3 and 5 to 8.
//! Idea: Attempts at one task often come through the same state. What they did there, in whatever
//! attempt and at whatever turn, can be compared: groups of steps without extra rollouts.
//! Formula: A(s) = A_episode(s) + ω·A_step(s); A_episode = (r − mean r)/F over the tree's attempts,
//! recursive mean below s; A_step = (Q(s) − mean Q)/F over the steps with the observed state of s;
//! Q(s) = recursive mean over the leaves below s of γ^(policy steps after s)·r
//! Reads: rewards of leaves, tokens of observations; at least two scored attempts per tree.
//! Differs: the observed state is what the environment said last, token by token, and what the
//! policy wrote since where the tree forks inside a turn; nothing is hashed, so nothing collides.
//! What an environment does not show is not in it. A step shared by several attempts counts once.
//! The episode's mean is over attempts, verl-agent's over their steps.
//! Degenerate: a step whose state nobody else observed has A_step 0; with fewer than two scored
//! attempts everything is `None`. Equal rewards give exactly 0 if γ is 1; below 1 a shorter way to
//! the same reward is better, which is meant.
//! Control: `omega = 0`, which is `group_mean` with the same `std`; `permuted` of this one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, Origin, StepTree};

use super::group_mean::{self, Deviation, Standard};
use super::{Rewards, assert_fits};

/// GRPO over attempts and over the steps of equal states.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ω, the factor of the step's part; 0 to 100. Default 1, the paper's.
    pub omega: f64,
    /// γ per policy step, 0 to 1. Default 0.95, ours.
    pub gamma: f64,
    /// The divisor F of both parts. Default `none`, as verl-agent's function.
    pub std: Deviation,
    /// Added to the standard deviation; in units of reward, 0 to 1. Default 1e-6, as verl-agent.
    pub epsilon: f64,
}

impl Default for Config {
    fn default() -> Self {
        Config { omega: 1.0, gamma: 0.95, std: Deviation::None, epsilon: 1e-6 }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let ranges = [
            ("omega", self.omega, 100.0),
            ("gamma", self.gamma, 1.0),
            ("epsilon", self.epsilon, 1.0),
        ];
        let wrong = ranges.iter().find(|(_, number, most)| !(0.0..=*most).contains(number))?;
        let (name, number, most) = wrong;
        Some(format!("`anchor_group.{name}` must be from 0 to {most}, got: {number}"))
    }
}

/// Advantage of the attempt, and of the step among those that observed the same.
pub fn credit(forest: &[StepTree], rewards: &Rewards, config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let Config { std, epsilon, .. } = *config;
    let episode = group_mean::Config { std, epsilon, ..group_mean::Config::default() };
    let mut credits = group_mean::credit(forest, rewards, &episode);
    for ((tree, leaf), credit) in forest.iter().zip(&rewards.leaf).zip(&mut credits) {
        let to_go = returns(tree, leaf, config.gamma);
        let state = states(tree);
        let mut group: Vec<Vec<f64>> = vec![Vec::new(); tree.len()];
        let credited = |i: &usize| credit.step[*i].is_some();
        for i in (1..tree.len()).filter(credited) {
            group[state[tree.parent[i].index()]].extend(to_go[i]);
        }
        let of = |group: &Vec<f64>| (group.len() > 1).then(|| Standard::of(group, std, epsilon));
        let standard: Vec<Option<Standard>> = group.iter().map(of).collect();
        for i in 1..tree.len() {
            let standard = standard[state[tree.parent[i].index()]];
            if let (Some(number), Some(to_go), Some(standard)) =
                (&mut credit.step[i], to_go[i], standard)
            {
                *number += config.omega * standard.apply(to_go);
            }
        }
    }
    credits
}

/// `[N]` discounted reward to go, by recursive mean; a leaf's is its reward.
fn returns(tree: &StepTree, leaf: &[Option<f64>], gamma: f64) -> Vec<Option<f64>> {
    let mut to_go = leaf.to_vec();
    let (mut sum, mut count) = (vec![0.0; tree.len()], vec![0u32; tree.len()]);
    for i in (0..tree.len()).rev() {
        if count[i] > 0 {
            to_go[i] = Some(sum[i] / f64::from(count[i]));
        }
        if let Some(own) = to_go[i].filter(|_| i > 0) {
            let parent = tree.parent[i].index();
            sum[parent] += if tree.origin[i].is_policy() { gamma * own } else { own };
            count[parent] += 1;
        }
    }
    to_go
}

/// `[N]` the state that is observed after each step, as a number below N; equal states, equal
/// numbers. An observation is a state by itself; what is written after it makes another.
fn states(tree: &StepTree) -> Vec<usize> {
    let observed = |i: usize| matches!(tree.origin[i], Origin::Prompt | Origin::Environment);
    let mut seen: BTreeMap<(Option<usize>, &[u32]), usize> = BTreeMap::new();
    let mut state = vec![0; tree.len()];
    for i in 0..tree.len() {
        let parent = tree.parent[i].index();
        // An environment that speaks twice in a row has said both.
        let afresh = i == 0 || (observed(i) && !observed(parent));
        let before = (!afresh).then_some(state[parent]);
        let next = seen.len();
        let said = &tree.token[tree.span[i].range()];
        state[i] = *seen.entry((before, said)).or_insert(next);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{self, Claims, Scale};

    const TREE: &str = "
        0  -  prompt q
        1  0  policy a                 | A
        2  0  policy b                 | B
        3  1  environment o o
        4  3  policy c        r=1      | C
        5  2  environment o o
        6  5  policy d                 | D
        7  6  environment p
        8  7  policy e        r=0.5    | 0
        9  2  environment x
        10 9  policy f        r=0      | -0.5
        11 3  policy g        unscored=interrupted";

    /// The table with the credits of a, b, c and d.
    fn with(number: [&str; 4]) -> String {
        let each = ["| A", "| B", "| C", "| D"].into_iter().zip(number);
        each.fold(TREE.to_owned(), |text, (mark, n)| text.replace(mark, &format!("| {n}")))
    }

    #[test]
    fn a_worked_tree() {
        // Attempts 1, 0.5, 0, mean 0.5; b is worth (0.5 + 0)/2. γ = 1: both `o o` are one state,
        // where c has 1 and d has 0.5; a and b stand below the prompt with 1 and 0.25.
        let plain = Config { gamma: 1.0, ..Config::default() };
        let tree = with(["0.875", "-0.625", "0.75", "-0.25"]);
        laws::table(&tree, |f, r| credit(f, r, &plain));
    }

    #[test]
    fn a_discount_prefers_the_shorter_way() {
        // γ = 0.5. To go: c 1, d 0.25, e 0.5; a 0.5; b the mean of 0.125 and 0. Groups: (a, b) with
        // mean 0.28125, (c, d) with mean 0.625.
        let config = Config { gamma: 0.5, ..Config::default() };
        let tree = with(["0.71875", "-0.46875", "0.875", "-0.375"]);
        laws::table(&tree, |f, r| credit(f, r, &config));
    }

    #[test]
    fn only_steps_of_the_policy_are_compared_within_a_turn() {
        // a was written twice; what followed it was an observation here, a fork there. γ = 1: below
        // the prompt 1 and 0.25, mean 0.625; after the second a 0 and 0.5, mean 0.25.
        let tree = "
            0  -  prompt q
            1  0  policy a                 | 0.875
            2  1  environment o
            3  2  policy d        r=1      | 0.5
            4  0  policy a                 | -0.625
            5  4  policy b        r=0      | -0.75
            6  4  policy c        r=0.5    | 0.25";
        let plain = Config { gamma: 1.0, ..Config::default() };
        laws::table(tree, |f, r| credit(f, r, &plain));
    }

    #[test]
    fn states_are_what_was_said_last_and_what_was_written_since() {
        let tree = stepwell_tree::parse(
            "0  -  prompt q
             1  0  policy a
             2  1  environment o p
             3  0  policy b
             4  3  environment o
             5  3  environment o p
             6  5  policy c
             7  2  policy c
             8  2  policy d
             9  4  environment p
             10 3  environment p",
        );
        let state = states(&tree);
        assert_eq!(state[2], state[5], "the same was said after different steps");
        assert_eq!(state[6], state[7], "and the same was written since");
        assert_ne!(state[7], state[8]);
        assert_ne!(state[2], state[4]);
        assert_ne!(state[9], state[2], "two observations are not one");
        assert_ne!(state[9], state[10], "and the last of them is not all");
        assert_ne!(state[1], state[3]);
    }

    #[test]
    fn omega_zero_is_the_group_mean() {
        let forest: Vec<StepTree> = (0..50).map(laws::random_tree).collect();
        let rewards = crate::reward::outcome::reward(&forest);
        for std in [Deviation::None, Deviation::Unbiased] {
            let config = Config { omega: 0.0, std, ..Config::default() };
            let other = group_mean::Config { std, ..group_mean::Config::default() };
            let expected = group_mean::credit(&forest, &rewards, &other);
            assert_eq!(credit(&forest, &rewards, &config), expected);
        }
    }

    #[test]
    fn laws() {
        let claims = Claims { needs_two: true, scale: Scale::Linear, ..Claims::NONE };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
        let claims = Claims { shift_invariant: true, equal_rewards_zero: true, ..claims };
        let undiscounted = Config { gamma: 1.0, ..Config::default() };
        laws::check(|f, r| credit(f, r, &undiscounted), claims);
        let scaled = Config { std: Deviation::Unbiased, epsilon: 0.0, ..undiscounted };
        let scale = Scale::Invariant;
        laws::check(|f, r| credit(f, r, &scaled), Claims { scale, ..claims });
    }
}
