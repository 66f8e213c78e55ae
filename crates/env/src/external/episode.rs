//! Attempts behind the door: an episode that the program plays, or steps that it grades.
//!
//! A verdict counts once the program has answered the `end` that follows it. Replies come in
//! order, so a second reply to the same request, one that a policy's text forged on the program's
//! output for one, stands before that answer and is found out.

use std::sync::Arc;

use serde_json::json;
use stepwell_tree::{Episode, ForkError, Key, Opening, Stop, Task, Turn, UnscoredReason, Verdict};

use super::config::Config;
use super::door::{Connection, Door, Fault};
use super::protocol::{self, Hello, Offer, Said};

/// Ends an observation that was cut.
const MARK: &str = " [cut]";

/// What all attempts share.
pub(super) struct Shared {
    pub(super) door: Door,
    pub(super) config: Config,
    pub(super) hello: Hello,
}

/// A step that was answered.
#[derive(Clone)]
struct Played {
    text: String,
    stop: Stop,
    observation: String,
}

/// An episode that the program plays.
pub(super) struct Attempt {
    shared: Arc<Shared>,
    task: Task,
    seed: u64,
    /// Which start of the program knows the episode; 0: none.
    start: u64,
    episode: u64,
    played: Vec<Played>,
    ended: bool,
}

fn failed(fault: Fault) -> UnscoredReason {
    UnscoredReason::EnvironmentFailed(fault.text())
}

/// A seed that every language can hold: below 2^53.
fn seed(key: Key) -> u64 {
    key.bits() >> 11
}

impl Attempt {
    pub(super) fn begin(
        shared: &Arc<Shared>,
        task: &Task,
        key: Key,
    ) -> Result<Attempt, UnscoredReason> {
        let (shared, task, seed) = (Arc::clone(shared), task.clone(), seed(key));
        let door = Arc::clone(&shared);
        let mut attempt =
            Attempt { shared, task, seed, start: 0, episode: 0, played: Vec::new(), ended: false };
        let mut line = door.door.connect().map_err(failed)?;
        attempt.revive(&mut line)?;
        drop(line);
        Ok(attempt)
    }

    /// Starts the episode where this start of the program does not know it, and plays again what
    /// was played; the observations must be the same bytes.
    fn revive(&mut self, line: &mut Connection) -> Result<(), UnscoredReason> {
        if self.start == line.start {
            return Ok(());
        }
        let (start, episode) = (line.start, line.new_episode());
        let task = protocol::task(&self.task);
        let params = json!({ "episode": episode, "task": task, "seed": self.seed });
        line.ask("start", params).map_err(failed)?;
        (self.start, self.episode) = (start, episode);
        for (turn, played) in self.played.iter().enumerate() {
            let said = self.ask(line, &played.text, played.stop, false)?;
            let got = match said {
                Said::Observation(got) if got == played.observation => continue,
                Said::Observation(got) => format!("{got:?}"),
                Said::Verdict(_) => "the end".to_owned(),
            };
            let (got, expected) = (short(&got), short(&format!("{:?}", played.observation)));
            return Err(UnscoredReason::ReplayDiverged(format!(
                "turn {turn}, played again after a restart, gave {got}, expected: {expected}"
            )));
        }
        Ok(())
    }

    /// One step of the episode, as the program answers it.
    fn ask(
        &self,
        line: &mut Connection,
        text: &str,
        stop: Stop,
        last: bool,
    ) -> Result<Said, UnscoredReason> {
        let Config { reward, parts, limits, .. } = &self.shared.config;
        let stop = protocol::stop(stop);
        let params = json!({ "episode": self.episode, "text": text, "stop": stop, "last": last });
        let reply = line.ask("step", params).map_err(failed)?;
        let said = protocol::said(&reply, *reward, parts);
        match said.map_err(UnscoredReason::EnvironmentFailed)? {
            Said::Observation(text) => {
                Ok(Said::Observation(bounded(text, limits.observation_bytes_max)))
            }
            verdict => Ok(verdict),
        }
    }

    fn advance(&mut self, text: &str, stop: Stop) -> Result<Turn, UnscoredReason> {
        let shared = Arc::clone(&self.shared);
        let mut line = shared.door.connect().map_err(failed)?;
        self.revive(&mut line)?;
        let last = stop == Stop::Context || self.played.len() + 1 >= self.max_steps();
        match self.ask(&mut line, text, stop, last)? {
            Said::Observation(_) if last => {
                let why = "the last step was answered without a verdict".to_owned();
                Err(UnscoredReason::EnvironmentFailed(why))
            }
            Said::Observation(observation) => {
                let (text, answer) = (text.to_owned(), observation.clone());
                self.played.push(Played { text, stop, observation });
                Ok(Turn::Observation(answer))
            }
            Said::Verdict(verdict) => {
                self.ended = true;
                close(&mut line, self.episode)?;
                judged(verdict).map(Turn::End)
            }
        }
    }

    fn max_steps(&self) -> usize {
        self.shared.config.max_steps as usize
    }
}

/// Ends an episode and waits for the answer, which must be the next thing that the program says.
fn close(line: &mut Connection, episode: u64) -> Result<(), UnscoredReason> {
    match line.ask("end", json!({ "episode": episode })) {
        Ok(_) | Err(Fault::Refused(_)) => Ok(()),
        Err(fault) => Err(failed(fault)),
    }
}

fn judged(verdict: Result<Verdict, String>) -> Result<Verdict, UnscoredReason> {
    let told = |why: String| format!("the program could not judge: {}", why.escape_debug());
    verdict.map_err(|why| UnscoredReason::EnvironmentFailed(told(why)))
}

fn over() -> Turn {
    let why = "protocol: step after end".to_owned();
    Turn::End(Verdict::Unscored(UnscoredReason::EnvironmentFailed(why)))
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        if self.ended {
            return over();
        }
        match self.advance(text, stop) {
            Ok(turn) => turn,
            Err(reason) => {
                self.release();
                Turn::End(Verdict::Unscored(reason))
            }
        }
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        if !self.shared.hello.offers.contains(&Offer::Fork) {
            return Err(ForkError::Unsupported);
        }
        let mut copy = Attempt {
            shared: Arc::clone(&self.shared),
            task: self.task.clone(),
            seed: self.seed,
            start: 0,
            episode: 0,
            played: self.played.clone(),
            ended: self.ended,
        };
        let mut line = self.shared.door.connect().map_err(|f| ForkError::Failed(failed(f)))?;
        if self.start == line.start {
            let into = line.new_episode();
            let params = json!({ "episode": self.episode, "into": into });
            line.ask("fork", params).map_err(|fault| ForkError::Failed(failed(fault)))?;
            (copy.start, copy.episode) = (self.start, into);
        } else {
            copy.revive(&mut line).map_err(ForkError::Failed)?;
        }
        drop(line);
        Ok(Box::new(copy))
    }
}

impl Attempt {
    /// Tells the program to forget the episode, where it knows it.
    fn release(&mut self) {
        if !self.ended && self.start > 0 {
            let mut line = self.shared.door.lock();
            if line.start == self.start {
                line.tell("end", json!({ "episode": self.episode }));
            }
        }
        self.ended = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.release();
    }
}

/// Steps that the program will grade. Its state is a value, so a fork is a clone.
#[derive(Clone)]
pub(super) struct Graded {
    pub(super) shared: Arc<Shared>,
    pub(super) task: Task,
    pub(super) opening: Opening,
    pub(super) key: Key,
    pub(super) steps: Vec<String>,
    pub(super) ended: bool,
}

impl Graded {
    fn grade(&self, stop: Stop) -> Result<Verdict, UnscoredReason> {
        let mut line = self.shared.door.connect().map_err(failed)?;
        let episode = line.new_episode();
        let params = json!({
            "episode": episode,
            "task": protocol::task(&self.task),
            "seed": seed(self.key),
            "prompt": { "system": self.opening.system, "user": self.opening.user },
            "steps": self.steps,
            "stop": protocol::stop(stop),
        });
        let reply = line.ask("grade", params).map_err(failed)?;
        let Config { reward, parts, .. } = &self.shared.config;
        let verdict = match reply.get("verdict") {
            Some(found) => protocol::verdict(found, *reward, parts),
            None => Err("a reply to `grade` holds a `verdict`".to_owned()),
        };
        close(&mut line, episode)?;
        judged(verdict.map_err(UnscoredReason::EnvironmentFailed)?)
    }

    /// True where the step is one of several: it ended where steps do, and not where attempts do.
    fn goes_on(&self, text: &str, stop: Stop) -> bool {
        let ends = self.shared.hello.stop.iter().any(|end| text.ends_with(end.as_str()));
        let room = self.steps.len() < self.shared.config.max_steps as usize;
        stop == Stop::StopString && !ends && room
    }
}

impl Episode for Graded {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        if self.ended {
            return over();
        }
        self.steps.push(text.to_owned());
        if self.goes_on(text, stop) {
            return Turn::Observation(String::new());
        }
        self.ended = true;
        Turn::End(self.grade(stop).unwrap_or_else(Verdict::Unscored))
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        Ok(Box::new(self.clone()))
    }
}

/// A text of bearable length, with a mark where something is missing.
fn bounded(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = text.floor_char_boundary(bytes_max.saturating_sub(MARK.len()));
        text.truncate(end);
        text.push_str(MARK);
    }
    text
}

/// Enough of a text to recognise it by.
fn short(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{} ...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn a_long_observation_is_cut_between_letters_and_marked() {
        assert_eq!(bounded("abc".to_owned(), 3), "abc");
        let cut = bounded("é".repeat(100), 65);
        assert_eq!(cut, "é".repeat(29) + " [cut]");
        assert!(cut.len() <= 65);
    }
}
