//! One attempt: queries and observations, then an answer. Its state is a value, so a fork is a
//! clone (DECISIONS 9).

use std::sync::Arc;

use stepwell_tree::{Episode, ForkError, Key, Stop, Turn, UnscoredReason, Verdict};

use super::Shared;
use super::answer::{Answer, Lost};
use super::judge::{self, Finished};
use super::markup::{self, Action, Malformed};
use super::observation;

/// The state of an attempt at one task.
#[derive(Clone)]
pub(super) struct Attempt {
    /// Databases and settings, shared by all attempts.
    pub(super) shared: Arc<Shared>,
    /// The database the task asks about.
    pub(super) database: String,
    pub(super) gold: String,
    pub(super) key: Key,
    pub(super) progress: Progress,
}

/// What has happened so far.
#[derive(Clone, Default)]
pub(super) struct Progress {
    /// Queries that were run, in order.
    queries: Vec<String>,
    thought: bool,
    /// The first fault of form.
    malformed: Option<Malformed>,
    ended: bool,
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        if self.progress.ended {
            let reason = "the attempt is over: start another one".to_owned();
            return Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(reason)));
        }
        let parsed = markup::parse(text);
        self.progress.thought |= parsed.thinks;
        if let Some(fault) = parsed.malformed {
            self.progress.malformed.get_or_insert(fault);
        }
        let may_ask = self.progress.queries.len() < self.shared.config.max_interactions as usize;
        match parsed.action {
            // A policy that stopped by itself after a query has given up, and the query past the
            // limit is never run: both end without an answer.
            Action::Query(sql) if stop == Stop::StopString && may_ask => match self.observe(&sql) {
                Ok(observation) => {
                    self.progress.queries.push(sql);
                    Turn::Observation(observation)
                }
                Err(lost) => {
                    self.progress.ended = true;
                    Turn::End(Verdict::Unscored(lost.into()))
                }
            },
            Action::Final(sql) => Turn::End(self.end(Some(&sql))),
            Action::Query(_) | Action::None => Turn::End(self.end(None)),
        }
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Attempt {
    /// The answer to a query, or in the control arm another task's result.
    fn observe(&self, sql: &str) -> Result<String, Lost> {
        let asked = self.shared.databases()[&self.database].original().query(sql)?;
        let shown = if self.shared.config.shuffled_results { self.stray()? } else { asked };
        Ok(observation::render(&shown, &self.shared.config))
    }

    /// The gold result of another task, drawn by the attempt's key and the place in it. Queries
    /// still run, so a control pays what the arm under test pays.
    fn stray(&self) -> Result<Arc<Answer>, Lost> {
        let place = self.key.with(self.progress.queries.len() as u64);
        let others = &self.shared.strays;
        let begin = place.below(others.len());
        let stray = (0..others.len())
            .map(|step| &others[(begin + step) % others.len()])
            .find(|stray| stray.gold != self.gold)
            .unwrap_or(&others[begin]);
        self.shared.databases()[&stray.database].original().query(&stray.gold)
    }

    fn end(&mut self, answer: Option<&str>) -> Verdict {
        let progress = &mut self.progress;
        progress.ended = true;
        if answer.is_none() {
            progress.malformed.get_or_insert(Malformed::NoFinal);
        }
        if !progress.thought {
            progress.malformed.get_or_insert(Malformed::NoThink);
        }
        let finished = Finished {
            answer,
            queries: &progress.queries,
            well_formed: progress.malformed.is_none(),
        };
        let database = &self.shared.databases()[&self.database];
        match judge::judge(&finished, &self.gold, database, &self.shared.config) {
            Ok((reward, parts)) => Verdict::Scored { reward, parts },
            Err(lost) => Verdict::Unscored(lost.into()),
        }
    }
}
