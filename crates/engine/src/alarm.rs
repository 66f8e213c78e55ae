//! The alarm of a run whose shaped reward rises while the outcome falls.
//!
//! Two windows of updates are compared, the newer with the older: the difference of their means
//! over its standard error, which has no unit, so that rewards of any scale need one threshold. The
//! variance is that of successive differences (von Neumann, Kent, Bellinson and Hart 1941), so that
//! a trend within a window is a sign and not noise: a fast fall is heard like a slow one.

use serde::{Deserialize, Serialize};
use stepwell_methods::{Rewards, is_companion};
use stepwell_tree::{StepId, StepTree, leaves, path_to};

use crate::observe::Metrics;
use crate::recipe::Guards;

/// The metric: 1 while the alarm is on, 0 while it is not.
pub const ALARM: &str = "alarm/reward_without_outcome";

/// The metric of a stricter judge's verdict.
pub(crate) const STRICT_PART: &str = "part/strict";

/// An update as the watch sees it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Seen {
    /// What rises.
    pub(crate) reward: f64,
    /// What must not fall meanwhile.
    pub(crate) outcome: f64,
    /// True where the second is a stricter judge's verdict.
    pub(crate) strict: bool,
}

/// What a shaped reward pays and the outcome; where a stricter judge judged, its verdict in the
/// outcome's place, and then an outcome is watched too.
pub(crate) fn watched(metrics: &Metrics) -> Option<Seen> {
    let get = |name: &str| metrics.get(name).copied();
    let (shaped, outcome, verdict) = (get("training_reward"), get("reward"), get(STRICT_PART));
    let strict = verdict.is_some();
    match (shaped, verdict) {
        (Some(reward), _) => Some(Seen { reward, outcome: verdict.or(outcome)?, strict }),
        (None, Some(verdict)) => Some(Seen { reward: outcome?, outcome: verdict, strict }),
        (None, None) => None,
    }
}

/// What the last two windows of updates earned.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Watch {
    /// Mean training reward of each update.
    reward: Vec<f64>,
    /// Mean outcome of each update.
    outcome: Vec<f64>,
    /// True where that is a stricter judge's verdict.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
    /// True where the newest update raised the alarm.
    on: bool,
}

/// What an update says.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Heard {
    /// Standard errors by which the training reward has risen.
    pub(crate) reward: f64,
    /// Standard errors by which the outcome has risen.
    pub(crate) outcome: f64,
    /// True where both moved as far as the recipe says, the outcome down.
    pub(crate) alarm: bool,
    /// True where the update before raised none.
    pub(crate) new: bool,
}

impl Watch {
    pub(crate) fn is_empty(&self) -> bool {
        self.reward.is_empty()
    }

    /// Takes an update; what two full windows say, `None` before there are two. Once a stricter
    /// judge has judged, only what it judged is heard: two series in one window would tell of the
    /// tasks that were drawn.
    pub(crate) fn hear(&mut self, seen: Seen, guards: &Guards) -> Option<Heard> {
        if guards.window == 0 || (self.strict && !seen.strict) {
            return None;
        }
        if seen.strict && !self.strict {
            *self = Watch { strict: true, ..Watch::default() };
        }
        self.reward.push(seen.reward);
        self.outcome.push(seen.outcome);
        let over = self.reward.len().saturating_sub(2 * guards.window);
        self.reward.drain(..over);
        self.outcome.drain(..over);
        if self.reward.len() < 2 * guards.window {
            return None;
        }
        let (reward, outcome) = (risen(&self.reward), risen(&self.outcome));
        let alarm = reward > guards.sigma && outcome < -guards.sigma;
        let new = alarm && !self.on;
        self.on = alarm;
        Some(Heard { reward, outcome, alarm, new })
    }
}

/// Standard errors by which the second half's mean is above the first's; a difference of rounding
/// alone is none, and one between constants is infinite.
fn risen(all: &[f64]) -> f64 {
    let (old, new) = all.split_at(all.len() / 2);
    let mean = |half: &[f64]| half.iter().sum::<f64>() / half.len() as f64;
    let (before, now) = (mean(old), mean(new));
    let square = |half: &[f64]| {
        // From 0: an empty sum of floats is -0, which would turn an infinity over.
        let squares = half.windows(2).fold(0.0, |sum, pair| sum + (pair[1] - pair[0]).powi(2));
        squares / (2.0 * (half.len() as f64 - 1.0).max(1.0)) / half.len() as f64
    };
    let difference = now - before;
    if difference.abs() <= 1e-9 * (before.abs() + now.abs()) {
        return 0.0;
    }
    difference / (square(old) + square(new)).sqrt()
}

/// The mean training reward of judged attempts, what their steps earned on the way included;
/// `None` where none was judged.
pub(crate) fn training_reward<'t>(
    trees: impl IntoIterator<Item = &'t StepTree>,
    rewards: &Rewards,
) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0.0);
    for (t, tree) in trees.into_iter().enumerate() {
        let ends = leaves(tree).into_iter().filter(|leaf| !is_companion(tree, *leaf));
        for leaf in ends {
            let Some(own) = rewards.leaf[t][leaf.index()] else { continue };
            let at = |step: &StepId| rewards.at_steps(t).map_or(0.0, |all| all[step.index()]);
            sum += own + path_to(tree, leaf).iter().map(at).sum::<f64>();
            count += 1.0;
        }
    }
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{Key, Purpose, parse};

    /// How many of 60 updates raise the alarm, where reward and outcome move by so much an update.
    fn alarms(reward: f64, outcome: f64, guards: &Guards) -> (usize, usize) {
        let (mut watch, key) = (Watch::default(), Key::new(4, Purpose::Control));
        let heard = (0..60u64).filter_map(|i| {
            let noise = |which: u64| 0.1 * (key.with(i).with(which).uniform() - 0.5);
            let at = i as f64;
            let (reward, outcome) = (5.0 + reward * at + noise(0), 0.5 + outcome * at + noise(1));
            watch.hear(Seen { reward, outcome, strict: false }, guards)
        });
        let heard: Vec<Heard> = heard.collect();
        (heard.iter().filter(|h| h.alarm).count(), heard.iter().filter(|h| h.new).count())
    }

    #[test]
    fn it_rings_where_the_reward_rises_and_the_outcome_falls_and_nowhere_else() {
        let guards = Guards { window: 10, ..Guards::default() };
        assert_eq!(alarms(0.01, -0.01, &guards), (41, 1));
        for (reward, outcome) in
            [(0.01, 0.01), (-0.01, -0.01), (-0.01, 0.01), (0.0, -0.01), (0.01, 0.0), (0.0, 0.0)]
        {
            assert_eq!(alarms(reward, outcome, &guards), (0, 0), "{reward} {outcome}");
        }
        // The scale of a reward plays no part, and constants have no error.
        assert_eq!(alarms(10.0, -0.01, &guards), (41, 1));
        assert_eq!(alarms(0.01, -0.01, &Guards { window: 0, ..guards }), (0, 0));
        let mut watch = Watch::default();
        let guards = Guards { window: 1, sigma: 3.0 };
        let flat = |watch: &mut Watch, reward, outcome| {
            watch.hear(Seen { reward, outcome, strict: false }, &guards)
        };
        assert_eq!(flat(&mut watch, 1.0, 1.0), None);
        assert!(!flat(&mut watch, 1.0 + 1e-12, 1.0 - 1e-12).unwrap().alarm);
        assert!(flat(&mut watch, 2.0, 0.5).unwrap().alarm);
    }

    #[test]
    fn a_stricter_judge_is_heard_in_the_outcomes_place() {
        let seen = |given: &[(&str, f64)]| {
            let metrics = given.iter().map(|(name, value)| ((*name).to_owned(), *value));
            watched(&metrics.collect()).map(|seen| (seen.reward, seen.outcome, seen.strict))
        };
        assert_eq!(STRICT_PART, format!("part/{}", stepwell_tree::STRICT));
        let (reward, shaped, strict) =
            (("reward", 0.5), ("training_reward", 2.0), ("part/strict", 0.25));
        assert_eq!(seen(&[reward]), None);
        assert_eq!(seen(&[reward, shaped]), Some((2.0, 0.5, false)));
        assert_eq!(seen(&[reward, strict]), Some((0.5, 0.25, true)));
        assert_eq!(seen(&[reward, shaped, strict]), Some((2.0, 0.25, true)));
        assert_eq!(seen(&[shaped]), None);
        // The two series never stand in one window: what is not judged so is not heard any more.
        let (mut watch, guards) = (Watch::default(), Guards { window: 1, sigma: 3.0 });
        let mut hear =
            |reward, outcome, strict| watch.hear(Seen { reward, outcome, strict }, &guards);
        assert_eq!(hear(1.0, 1.0, false), None);
        assert_eq!(hear(2.0, 0.5, true), None, "an outcome and a verdict were compared");
        assert_eq!(hear(3.0, 0.1, false), None, "an outcome was heard beside verdicts");
        assert!(hear(3.0, 0.25, true).unwrap().alarm);
    }

    #[test]
    fn what_steps_earn_is_part_of_a_training_reward_and_companions_are_not() {
        let tree = parse(
            "0 -  prompt q
             1 0  policy a
             2 1  environment o
             3 2  policy b        r=1
             4 0  policy c        r=0
             5 0  policy d        unscored=x",
        );
        let leaf = vec![None, None, None, Some(2.0), Some(0.0), None];
        let step = Some(vec![vec![0.0, 0.5, 0.0, 0.5, 1.0, 9.0]]);
        let rewards = Rewards { leaf: vec![leaf], step };
        let trees = [tree];
        assert_eq!(training_reward(&trees, &rewards), Some(2.0));
        let nothing = Rewards::of_leaves(vec![vec![None; 6]]);
        assert_eq!(training_reward(&trees, &nothing), None);
    }
}
