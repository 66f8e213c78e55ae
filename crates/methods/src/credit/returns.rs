//! What comes back along a tree: rewards and values, handed from children to parents moment by
//! moment, for methods with a clock.
//!
//! A moment is a sampled token, or a turn of them. What follows a moment at a fork is the mean over
//! the children with a scored leaf below, as in the recursive mean (DECISIONS 4), so that a method
//! whose carry is linear in what follows is unbiased on a tree where it is on a line.

use std::ops::Range;

use stepwell_tree::{Credit, StepTree};

use super::gae::Mode;
use super::reinforce_plus_plus::moments;
use super::{Rewards, token_column};

/// Column over tokens: the value of the state in which each sampled token was chosen.
pub(super) const VALUE: &str = "value";
/// Column over tokens: log-probability under the frozen reference.
pub(super) const REFERENCE: &str = "reference_logprob";

/// One choice of the policy.
pub(super) struct Moment {
    /// Its tokens in the arena.
    pub(super) tokens: Range<usize>,
    /// What it earned, before the next one.
    pub(super) reward: f64,
    /// The value of the state in which it was made.
    pub(super) value: f64,
}

/// What the walk meets, from the last to the first.
pub(super) enum Event {
    /// A moment of the policy.
    Chosen(Moment),
    /// A token that nobody chose; met only where the clock runs on through observations.
    Observed,
}

/// One tree with what it earned.
pub(super) struct Walk<'a> {
    tree: &'a StepTree,
    leaf: &'a [Option<f64>],
    step: Option<&'a [f64]>,
    value: &'a [f32],
    reference: Option<&'a [f32]>,
    kl: f64,
    mode: Mode,
}

impl<'a> Walk<'a> {
    /// Tree `t` of a forest. With `kl` other than 0 every token pays kl·(log π_behaviour − log
    /// π_reference) at once.
    pub(super) fn new(
        (t, tree): (usize, &'a StepTree),
        rewards: &'a Rewards,
        mode: Mode,
        kl: f64,
    ) -> Walk<'a> {
        let value = token_column(tree, VALUE);
        let reference = (kl != 0.0).then(|| token_column(tree, REFERENCE));
        let (leaf, step) = (&rewards.leaf[t], rewards.at_steps(t));
        Walk { tree, leaf, step, value, reference, kl, mode }
    }

    /// Meets every event of every step with a scored leaf below, last first. `carry` holds `width`
    /// numbers: the mean of what the children left there, 0 where nothing follows. `[N]` which
    /// policy steps were met.
    pub(super) fn backward(
        &self,
        width: usize,
        mut meet: impl FnMut(Event, &mut [f64]),
    ) -> Vec<bool> {
        let tree = self.tree;
        // The last number of each is the reward that no moment has taken yet.
        let mut handed = vec![0.0; tree.len() * (width + 1)];
        let mut count = vec![0u32; tree.len()];
        let mut met = vec![false; tree.len()];
        for i in (1..tree.len()).rev() {
            let mut own = handed[i * (width + 1)..(i + 1) * (width + 1)].to_vec();
            match (self.leaf[i], count[i]) {
                (Some(reward), _) => own[width] = reward,
                (None, 0) => continue,
                (None, k) => own.iter_mut().for_each(|x| *x /= f64::from(k)),
            }
            let (carry, reward) = own.split_at_mut(width);
            met[i] = tree.origin[i].is_policy();
            self.through(i, carry, &mut reward[0], &mut meet);
            let parent = tree.parent[i].index();
            let above = &mut handed[parent * (width + 1)..(parent + 1) * (width + 1)];
            above.iter_mut().zip(&own).for_each(|(sum, x)| *sum += x);
            count[parent] += 1;
        }
        met
    }

    /// The events of one step.
    fn through(
        &self,
        i: usize,
        carry: &mut [f64],
        reward: &mut f64,
        meet: &mut impl FnMut(Event, &mut [f64]),
    ) {
        let span = self.tree.span[i].range();
        if !self.tree.origin[i].is_policy() {
            if self.mode == Mode::TokenTrl {
                span.for_each(|_| meet(Event::Observed, carry));
            }
            return;
        }
        *reward += self.step.map_or(0.0, |step| step[i]);
        if span.is_empty() {
            return;
        }
        if self.mode == Mode::Turn {
            let paid: f64 = span.clone().map(|t| self.penalty(t)).sum();
            let value = f64::from(self.value[span.start]);
            let reward = std::mem::take(reward) - paid;
            return meet(Event::Chosen(Moment { tokens: span, reward, value }), carry);
        }
        for t in span.rev() {
            let reward = std::mem::take(reward) - self.penalty(t);
            let value = f64::from(self.value[t]);
            meet(Event::Chosen(Moment { tokens: t..t + 1, reward, value }), carry);
        }
    }

    fn penalty(&self, t: usize) -> f64 {
        let apart = |reference: &[f32]| f64::from(self.tree.logprob[t]) - f64::from(reference[t]);
        self.reference.map_or(0.0, |reference| self.kl * apart(reference))
    }
}

/// Credit from numbers of tokens: a step has their mean, and 0 where it has no token.
pub(super) fn by_token(tree: &StepTree, met: &[bool], token: Vec<f64>, mode: Mode) -> Credit {
    let mean = |i: usize| {
        let own = &token[tree.span[i].range()];
        match own {
            [] => 0.0,
            // All tokens of a turn have the same number, which a mean would round.
            [first, ..] if mode == Mode::Turn => *first,
            own => own.iter().sum::<f64>() / own.len() as f64,
        }
    };
    let step = (0..tree.len()).map(|i| met[i].then(|| mean(i))).collect();
    Credit { step, token: (mode != Mode::Turn).then_some(token) }
}

/// Mean 0 and variance 1 over the trained tokens of all trees; numbers that are equal become 0.
pub(super) fn whiten(forest: &[StepTree], credits: &mut [Credit], epsilon: f64) {
    // A number of each trained token, or of each step with as many tokens as it has.
    let numbers = || {
        forest.iter().zip(&*credits).flat_map(|(tree, credit)| {
            let trained = (0..tree.len()).filter(|&i| credit.step[i].is_some());
            trained.flat_map(move |i| -> Box<dyn Iterator<Item = (f64, f64)>> {
                match &credit.token {
                    Some(token) => Box::new(token[tree.span[i].range()].iter().map(|x| (*x, 1.0))),
                    None => Box::new(
                        credit.step[i].into_iter().map(move |x| (x, tree.span[i].len() as f64)),
                    ),
                }
            })
        })
    };
    let ends = |(low, high): (f64, f64), x: f64| (low.min(x), high.max(x));
    let read = numbers().filter(|(_, n)| *n > 0.0).map(|(x, _)| x);
    let (low, high) = read.fold((f64::INFINITY, f64::NEG_INFINITY), ends);
    let equal = high - low <= 1e-12 * low.abs().max(high.abs());
    let (mean, variance) = moments(numbers);
    let scale = (variance + epsilon).sqrt();
    let white = |x: f64| if equal { 0.0 } else { (x - mean) / scale };
    for (tree, credit) in forest.iter().zip(credits) {
        let Credit { step, token } = credit;
        for (i, number) in step.iter_mut().enumerate() {
            let (Some(number), span) = (number, tree.span[i]) else { continue };
            if span.is_empty() {
                continue;
            }
            *number = white(*number);
            for x in token.iter_mut().flat_map(|token| &mut token[span.range()]) {
                *x = white(*x);
            }
        }
    }
}
