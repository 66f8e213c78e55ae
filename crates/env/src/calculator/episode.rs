//! One attempt: calls and results, then an answer. Its state is a value, so a fork is a clone
//! (DECISIONS 9).

use std::collections::BTreeMap;
use std::sync::Arc;

use stepwell_tree::{Episode, ForkError, Key, Stop, Turn, UnscoredReason, Verdict};

use super::Shared;
use super::answer;
use super::expression::evaluate;
use super::markup::{self, Action};
use super::number::Number;

/// Names of the parts, in the order reports show them.
pub const PARTS: [&str; 4] = ["format", "called", "steps", "grounded"];

/// The state of an attempt at one task.
#[derive(Clone)]
pub(super) struct Attempt {
    /// Settings and the values of the control, shared by all attempts.
    pub(super) shared: Arc<Shared>,
    pub(super) gold: Number,
    /// Values that should be computed on the way; at least one.
    pub(super) milestones: Arc<[Number]>,
    pub(super) key: Key,
    /// Calls so far, those that failed included.
    pub(super) asked: u32,
    /// Values that were calculated: not those of a call that repeats a number it was given.
    pub(super) values: Vec<Number>,
    pub(super) ended: bool,
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        if self.ended {
            let reason = "the attempt is over: start another one".to_owned();
            return Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(reason)));
        }
        let may_ask = self.asked < self.shared.config.max_interactions;
        match markup::parse(text) {
            // A policy that stopped by itself after a call has given up, and the call past the
            // limit is never calculated: both end without an answer.
            Ok(Action::Call(expression)) if stop == Stop::StopString && may_ask => {
                Turn::Observation(self.calculate(&expression))
            }
            Ok(Action::Answer(text)) => Turn::End(self.end(answer::read(&text).ok())),
            Ok(Action::Call(_)) | Err(_) => Turn::End(self.end(None)),
        }
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Attempt {
    /// The result of a call, or in the control arm a value of another task.
    fn calculate(&mut self, expression: &str) -> String {
        let result = match evaluate(expression) {
            Ok(found) => {
                if found.calculated {
                    self.values.push(found.value);
                }
                found.value.to_string()
            }
            Err(fault) => format!("error: {fault}"),
        };
        let shown =
            if self.shared.config.shuffled_results { self.stray().to_string() } else { result };
        self.asked += 1;
        markup::observation(&shown)
    }

    /// A value of another task, drawn by the attempt's key and the place in it.
    fn stray(&self) -> Number {
        let others = &self.shared.strays;
        let begin = self.key.with(u64::from(self.asked)).below(others.len());
        let own = |value: &Number| {
            value.agrees(self.gold) || self.milestones.iter().any(|own| value.agrees(*own))
        };
        (0..others.len())
            .map(|step| others[(begin + step) % others.len()])
            .find(|value| !own(value))
            .unwrap_or(others[begin])
    }

    /// The reward is the answer's; the parts tell how it was come by.
    fn end(&mut self, answer: Option<Number>) -> Verdict {
        self.ended = true;
        let truth = |holds: bool| f64::from(u8::from(holds));
        let computed = |wanted: &&Number| self.values.iter().any(|value| value.agrees(**wanted));
        let reached = self.milestones.iter().filter(computed).count();
        let parts = [
            truth(answer.is_some()),
            truth(!self.values.is_empty()),
            reached as f64 / self.milestones.len() as f64,
            truth(answer.as_ref().is_some_and(|answer| computed(&answer))),
        ];
        let parts: BTreeMap<String, f64> =
            PARTS.iter().map(|name| (*name).to_owned()).zip(parts).collect();
        let reward = truth(answer.is_some_and(|answer| answer.agrees(self.gold)));
        Verdict::Scored { reward, parts }
    }
}
