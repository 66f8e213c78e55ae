//! One attempt: steps of reasoning, the last of which holds the answer. Its state is a value, so a
//! fork is a clone (DECISIONS 9).

use std::collections::BTreeMap;

use stepwell_tree::{Episode, ForkError, Stop, Turn, UnscoredReason, Verdict};

use super::config::Config;
use super::value::{Answer, read};

/// Names of the parts, in the order reports show them.
pub const PARTS: [&str; 1] = ["format"];

/// The state of an attempt at one task.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) config: Config,
    pub(super) gold: Answer,
    /// Steps so far.
    pub(super) steps: u32,
    pub(super) ended: bool,
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        if self.ended {
            let reason = "the attempt is over: start another one".to_owned();
            return Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(reason)));
        }
        self.steps += 1;
        let answered = self.config.form.find(text);
        if answered.is_none() && stop == Stop::StopString && self.steps < self.config.max_steps {
            return Turn::Observation(String::new());
        }
        self.ended = true;
        let answer = answered.and_then(|text| read(text).ok());
        let truth = |holds: bool| f64::from(u8::from(holds));
        let reward = truth(answer.as_ref().is_some_and(|answer| self.gold.accepts(answer)));
        let parts = BTreeMap::from([(PARTS[0].to_owned(), truth(answer.is_some()))]);
        Turn::End(Verdict::Scored { reward, parts })
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        Ok(Box::new(self.clone()))
    }
}
