//! Queries run in a child of this very program that the kernel confines (DECISIONS 10, 22): before
//! it reads the first byte of a database or a query it has given away files, network, processes
//! and privileges, and can only compute and answer through its pipes.
//!
//! Bounds, each enforced from outside SQLite: the processor's time of one query, by the kernel;
//! its memory beside what is open, by the kernel; the bytes of its reply and the time on the wall,
//! by the parent. A query that uses up its time or memory is judged. A child that ends otherwise
//! is nobody's fault: the query is tried once more in a fresh one, and then has no verdict.
//!
//! One child serves all databases of an environment, one query at a time. It ends when its pipe is
//! closed, so also when the parent is killed. Beside pipes and database files it holds one
//! descriptor, its own `statm`, from which it reads how much memory is in use.

pub(super) mod message;
mod process;
mod serve;
#[cfg(test)]
mod tests;

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use stepwell_sandbox::Role;
use stepwell_sandbox::pipe::Stuck;

use self::message::{
    Confined, DESCRIPTION_BYTES_MAX, Reply, Request, Start, encode, reply_bytes_max,
};
use self::process::{Ended, Running};
use super::answer::{Answer, Lost, QueryError};
use super::config::{Limits, Sandbox};
use super::file::Fault;
use super::guarded::open;
use super::shelf::{Description, Which};
use super::source::Source;

/// The child's name and life, for the first line of a program's `main`.
pub const CHILD: Role = Role { name: "sql", run: serve::serve };

/// How long a child may take to start, or to read, check or build one database.
const PATIENCE: Duration = Duration::from_secs(600);
/// Time on the wall over the processor's time that a query may use.
const WALL_FACTOR: u32 = 10;
/// How often a query is tried.
const TRIES: usize = 2;

/// The child of an environment; started again where it ends.
pub(super) struct Child {
    command: Box<dyn Fn() -> Option<Command> + Send + Sync>,
    sources: Vec<Source>,
    limits: Limits,
    sandbox: Sandbox,
    /// Time on the wall for one query.
    wall: Duration,
    running: Mutex<Option<Running>>,
    /// The number of the process that was started last.
    id: AtomicU32,
}

/// What came of opening an environment's databases.
pub(super) struct Opened {
    /// `[D]` in the order of the sources.
    pub(super) databases: Vec<Result<Description, Fault>>,
    /// Layers that the machine lacks, where that is allowed.
    pub(super) missing: Vec<String>,
}

/// Why a child did not begin to serve.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotBegun {
    /// A layer of its confinement is missing.
    Unconfined(String),
    /// It could not be started or ended at once.
    Lost(Lost),
}

impl Child {
    /// A child for these databases; `command` starts this program in the role [`CHILD`].
    pub(super) fn new(
        command: impl Fn() -> Option<Command> + Send + Sync + 'static,
        sources: Vec<Source>,
        limits: &Limits,
        sandbox: Sandbox,
    ) -> Child {
        let wall = Duration::from_secs(limits.seconds_max) * WALL_FACTOR;
        let (limits, running, id) = (limits.clone(), Mutex::new(None), AtomicU32::new(0));
        Child { command: Box::new(command), sources, limits, sandbox, wall, running, id }
    }

    /// Starts it and hears of every database.
    pub(super) fn open(&self) -> Result<Opened, NotBegun> {
        let (running, opened) = self.begin(true)?;
        *open(&self.running) = Some(running);
        Ok(opened)
    }

    /// Makes a database or a twin ready; false where there is none.
    pub(super) fn prepare(&self, database: u32, which: Which) -> Result<bool, Lost> {
        let mut slot = open(&self.running);
        let mut lost = Lost(String::new());
        for _ in 0..TRIES {
            match self.made_ready(&mut slot, database, which) {
                Ok(found) => return Ok(found),
                Err(why) => lost = why,
            }
        }
        Err(lost)
    }

    /// Answers a query.
    pub(super) fn query(&self, database: u32, which: Which, sql: &str) -> Result<Answer, Lost> {
        let mut slot = open(&self.running);
        let mut lost = Lost(String::new());
        for _ in 0..TRIES {
            let ended = match self.made_ready(&mut slot, database, which) {
                Ok(true) => self.ask(&mut slot, &Request::Query(database, which, sql), self.wall),
                Ok(false) => {
                    *slot = None;
                    Err(Ended::Lost(Lost("no longer has the database".to_owned())))
                }
                Err(lost) => Err(Ended::Lost(lost)),
            };
            match ended {
                Ok(Reply::Answered(answer)) if answer.is_whole() => return Ok(answer),
                Ok(_) => {
                    *slot = None;
                    lost = Lost("answered something else".to_owned());
                }
                Err(Ended::OutOfTime) => {
                    return Ok(Answer::refused(QueryError::TooSlow(self.limits.seconds_max)));
                }
                Err(Ended::OutOfMemory) => {
                    let error = QueryError::TooMuchMemory(self.limits.memory_mib_max);
                    return Ok(Answer::refused(error));
                }
                Err(Ended::Lost(why)) => lost = why,
            }
        }
        Err(lost)
    }

    /// `[D]` databases by number.
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The number of the process that was started last; 0 before the first.
    pub(super) fn id(&self) -> u32 {
        self.id.load(Ordering::Relaxed)
    }

    /// Asks for a database once per process, under our own patience and not a query's.
    fn made_ready(
        &self,
        slot: &mut Option<Running>,
        database: u32,
        which: Which,
    ) -> Result<bool, Lost> {
        if slot.is_none() {
            *slot = Some(self.begin(false).map_err(NotBegun::lost)?.0);
        }
        if slot.as_ref().is_some_and(|running| running.ready.contains(&(database, which))) {
            return Ok(true);
        }
        match self.ask(slot, &Request::Prepare(database, which), PATIENCE) {
            Ok(Reply::Prepared(Ok(found))) => {
                if let (Some(running), true) = (slot.as_mut(), found) {
                    running.ready.insert((database, which));
                }
                Ok(found)
            }
            Ok(Reply::Prepared(Err(fault))) => {
                // It would remember the fault: the next try asks a fresh child.
                *slot = None;
                Err(self.lost_file(database, fault))
            }
            Ok(Reply::Answered(_)) => {
                *slot = None;
                Err(Lost("answered something else".to_owned()))
            }
            Err(Ended::Lost(lost)) => Err(lost),
            Err(Ended::OutOfTime | Ended::OutOfMemory) => {
                Err(Lost("ran out of memory over a database".to_owned()))
            }
        }
    }

    fn lost_file(&self, database: u32, fault: Fault) -> Lost {
        let source = self.sources.get(database as usize);
        let error = source.map(|source| fault.at(source.name(), source.path()));
        Lost(error.map_or_else(String::new, |error| error.to_string()))
    }

    /// One request and its reply; after a failure the slot is empty.
    fn ask(
        &self,
        slot: &mut Option<Running>,
        request: &Request<'_>,
        patience: Duration,
    ) -> Result<Reply, Ended> {
        let lost = |what: &str| Ended::Lost(Lost(what.to_owned()));
        let mut running = slot.take().ok_or_else(|| lost("is not there"))?;
        let message = encode(request).map_err(|_| lost("cannot be asked that"))?;
        let begin = Instant::now();
        let deadline = begin + patience;
        let reply = running
            .send(&message, deadline)
            .and_then(|()| running.receive(reply_bytes_max(&self.limits), deadline));
        match reply {
            Ok(Some(reply)) => {
                *slot = Some(running);
                Ok(reply)
            }
            Ok(None) => Err(lost("answered what is no answer")),
            Err(why) => {
                let least = Duration::from_secs(self.limits.seconds_max);
                Err(running.end(why, begin.elapsed(), least))
            }
        }
    }

    /// A fresh child that has confined itself and, where asked to, told of its databases.
    fn begin(&self, describe: bool) -> Result<(Running, Opened), NotBegun> {
        let absent = || Lost("cannot be started: this program has no such role".to_owned());
        let command = (self.command)().ok_or_else(absent).map_err(NotBegun::Lost)?;
        let (limits, sandbox) = (self.limits.clone(), self.sandbox);
        let start = Start { limits, sandbox, describe, sources: self.sources.as_slice() };
        let message = encode(&start).map_err(|error| {
            NotBegun::Lost(Lost(format!("cannot be told of the databases: {error}")))
        })?;
        let mut running = Running::start(command).map_err(NotBegun::Lost)?;
        self.id.store(running.id(), Ordering::Relaxed);
        let end = |running: Running, why: Stuck| match running.end(why, PATIENCE, PATIENCE) {
            Ended::Lost(lost) => NotBegun::Lost(lost),
            _ => NotBegun::Lost(Lost("ran out of memory over the databases".to_owned())),
        };
        let garbage = || NotBegun::Lost(Lost("began with what is no answer".to_owned()));
        let deadline = || Instant::now() + PATIENCE;
        if let Err(why) = running.send(&message, deadline()) {
            return Err(end(running, why));
        }
        let missing = match running.receive(DESCRIPTION_BYTES_MAX, deadline()) {
            Ok(Some(Confined::Yes(missing))) => missing,
            Ok(Some(Confined::No(layer))) => return Err(NotBegun::Unconfined(layer)),
            Ok(None) => return Err(garbage()),
            Err(why) => return Err(end(running, why)),
        };
        let mut databases = Vec::new();
        while describe && databases.len() < self.sources.len() {
            match running.receive(DESCRIPTION_BYTES_MAX, deadline()) {
                Ok(Some(description)) => databases.push(description),
                Ok(None) => return Err(garbage()),
                Err(why) => return Err(end(running, why)),
            }
        }
        Ok((running, Opened { databases, missing }))
    }
}

impl NotBegun {
    fn lost(self) -> Lost {
        match self {
            NotBegun::Unconfined(layer) => Lost(format!("is not confined: {layer}")),
            NotBegun::Lost(lost) => lost,
        }
    }
}
