//! The door: one program, requests and replies with numbers, and a new start where it fails.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::config::{Config, Limits};
use super::process::{Line, Process, Silence, ending};
use super::protocol::{Hello, PROTOCOL, hello};
use crate::tasks::line::shown;

/// Good replies after which earlier restarts are forgiven.
const FORGIVEN_AFTER: u32 = 1000;
/// How long a program may take to end by itself.
const CLOSE_MS: u64 = 500;
/// Numbers of requests are below: every program's reals hold them.
const IDS: u64 = 1 << 53;

/// Why a request has no answer that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The program said so, or answered something impossible; it may go on.
    Refused(String),
    /// It cannot be trusted any more: it is ended.
    Broken(String),
}

impl Fault {
    pub(super) fn text(self) -> String {
        match self {
            Fault::Refused(text) | Fault::Broken(text) => text,
        }
    }
}

/// The fields of a reply, without its number.
pub(super) type Reply = Map<String, Value>;

/// What is started, and what it sees.
struct Command {
    words: Vec<String>,
    variables: Vec<(OsString, OsString)>,
}

/// A program behind its door. Attempts share it and speak one after the other.
pub(super) struct Door {
    command: Command,
    limits: Limits,
    line: Mutex<Connection>,
}

/// What stands between the door and the program.
pub(super) struct Connection {
    process: Option<Process>,
    limits: Limits,
    /// How often the program was started: attempts of an earlier start are unknown to this one.
    pub(super) start: u64,
    restarts: u32,
    good: u32,
    ids: Ids,
    episode: u64,
    /// Replies that nobody waits for.
    unread: BTreeSet<u64>,
    /// Why the program was ended last.
    why: String,
    /// What it said of itself when it was first started.
    hello: Option<Hello>,
}

impl Door {
    /// Starts the program and hears what it is.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) fn open(config: &Config) -> Result<(Door, Hello), String> {
        let limits = &config.limits;
        let words = config.command.clone();
        let door = Door {
            command: Command { words, variables: config.environment() },
            limits: limits.clone(),
            line: Mutex::new(Connection {
                process: None,
                limits: limits.clone(),
                start: 0,
                restarts: 0,
                good: 0,
                ids: Ids::new(),
                episode: 0,
                unread: BTreeSet::new(),
                why: String::new(),
                hello: None,
            }),
        };
        let mut line = door.lock();
        line.launch(&door.command).map_err(Fault::text)?;
        let hello = line.hello.clone().expect("a program that was started said hello");
        drop(line);
        Ok((door, hello))
    }

    /// A connection to a program that runs, started again where the last one failed.
    ///
    /// # Errors
    /// Where it cannot be started, or was started too often.
    pub(super) fn connect(&self) -> Result<MutexGuard<'_, Connection>, Fault> {
        let mut line = self.lock();
        if line.process.is_none() {
            if line.restarts >= self.limits.restarts_max {
                let (most, why) = (self.limits.restarts_max, &line.why);
                let text = format!("environment was given up after {most} restarts; last: {why}");
                return Err(Fault::Broken(text));
            }
            line.restarts += 1;
            line.good = 0;
            line.launch(&self.command)?;
        }
        Ok(line)
    }

    /// The connection as it is.
    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        // What a thread left that panicked is a program that the next request finds out about.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = line.process.take() {
            process.send(json!({ "id": line.ids.next(), "method": "close" }).to_string());
            process.close(Duration::from_millis(CLOSE_MS));
        }
    }
}

impl Connection {
    fn launch(&mut self, command: &Command) -> Result<(), Fault> {
        let Command { words, variables } = command;
        let started = Process::start(words, variables, self.limits.line_bytes_max);
        let process = started.map_err(|error| {
            let program = words.first().map_or("", String::as_str);
            self.why = format!("`{program}` cannot be started: {error}");
            Fault::Broken(self.why.clone())
        })?;
        self.process = Some(process);
        self.start += 1;
        self.ids = Ids::new();
        self.unread.clear();
        let params = json!({ "protocol": PROTOCOL });
        let patience = self.limits.start_timeout;
        let reply = self.exchange("hello", params, patience)?;
        let found = hello(&reply).map_err(|why| self.broken(why))?;
        match &self.hello {
            Some(first) if *first != found => {
                let why = "environment says something else of itself after a restart";
                return Err(self.broken(why.to_owned()));
            }
            _ => self.hello = Some(found),
        }
        Ok(())
    }

    /// Asks and waits for the answer.
    pub(super) fn ask(&mut self, method: &str, params: Value) -> Result<Reply, Fault> {
        self.exchange(method, params, self.limits.timeout)
    }

    /// Sends a request whose answer nobody needs.
    pub(super) fn tell(&mut self, method: &str, params: Value) {
        let number = self.post(method, params);
        self.unread.insert(number);
    }

    /// A number for a new episode.
    pub(super) fn new_episode(&mut self) -> u64 {
        self.episode += 1;
        self.episode
    }

    fn post(&mut self, method: &str, params: Value) -> u64 {
        let number = self.ids.next();
        let mut request = json!({ "id": number, "method": method });
        if let (Value::Object(request), Value::Object(params)) = (&mut request, params) {
            request.extend(params);
        }
        if let Some(process) = &self.process {
            process.send(request.to_string());
        }
        number
    }

    fn exchange(
        &mut self,
        method: &str,
        params: Value,
        patience: Duration,
    ) -> Result<Reply, Fault> {
        let number = self.post(method, params);
        let deadline = Instant::now() + patience;
        loop {
            let text = self.read(method, deadline, patience)?;
            let mut reply = match serde_json::from_str(&text) {
                Ok(Value::Object(reply)) => reply,
                _ => {
                    let text = cut(&self.ids.without(&text));
                    let why = format!("environment sent bytes that are not a reply: {text}");
                    return Err(self.broken(why));
                }
            };
            let id = reply.remove("id");
            let got = id.as_ref().and_then(Value::as_u64);
            if got.is_some_and(|id| self.unread.remove(&id)) {
                continue;
            }
            if got != Some(number) {
                let what = match id {
                    None => "without an `id`".to_owned(),
                    Some(_) if got.is_some_and(|id| self.ids.was(id)) => "twice".to_owned(),
                    Some(id) => format!("`{}`, the `id` of no request", cut(&id.to_string())),
                };
                let why = format!(
                    "environment answered {what}; expected: one reply to each request, with its \
                     `id`"
                );
                return Err(self.broken(why));
            }
            self.good += 1;
            if self.good >= FORGIVEN_AFTER {
                self.restarts = 0;
            }
            return match reply.get("error") {
                None => Ok(reply),
                Some(Value::String(why)) => {
                    let why = cut(&self.ids.without(why));
                    Err(Fault::Refused(format!("environment refused `{method}`: {why}")))
                }
                Some(other) => {
                    let got = cut(&self.ids.without(&other.to_string()));
                    Err(Fault::Refused(format!("`error` must be text, got: {got}")))
                }
            };
        }
    }

    fn read(
        &mut self,
        method: &str,
        deadline: Instant,
        patience: Duration,
    ) -> Result<String, Fault> {
        let Some(process) = &mut self.process else {
            return Err(Fault::Broken(self.why.clone()));
        };
        let why = match process.receive(deadline) {
            Ok(Line::Text(text)) => return Ok(text),
            Ok(Line::Long) => {
                format!("reply over {} bytes", self.limits.line_bytes_max)
            }
            Ok(Line::NotUtf8(byte)) => {
                format!("environment sent bytes that are not a reply: {byte:#04x} is not UTF-8")
            }
            Ok(Line::End) => format!("environment closed its output during `{method}`"),
            Err(Silence::Late) => {
                format!("environment did not answer `{method}` in {} s", patience.as_secs_f64())
            }
            Err(Silence::Exited(status)) => {
                format!("environment {} during `{method}`", ending(status))
            }
        };
        Err(self.broken(why))
    }

    /// Ends the program, and says why with what it printed last.
    pub(super) fn broken(&mut self, why: String) -> Fault {
        let said = self.process.take().map(|process| process.last_words()).unwrap_or_default();
        let said = self.ids.without(&said);
        self.why = if said.is_empty() { why } else { format!("{why}; it printed: {said}") };
        Fault::Broken(self.why.clone())
    }
}

/// The numbers of a program's requests: a walk with a random start and step, so that no text of a
/// policy can hold the number of a request to come, and pass for a reply where a program prints it
/// raw. They follow from nothing and are told to nobody but the program: no message holds one.
struct Ids {
    step: u64,
    newest: u64,
    given: u64,
}

impl Ids {
    fn new() -> Ids {
        // The standard library's hashes are keyed by the system's entropy.
        let random = RandomState::new();
        let [newest, step] = [0_u8, 1].map(|at| random.hash_one(at) % IDS);
        // An odd step meets every number before one comes again.
        Ids { step: step | 1, newest, given: 0 }
    }

    fn next(&mut self) -> u64 {
        self.newest = (self.newest + self.step) % IDS;
        self.given += 1;
        self.newest
    }

    /// True for a number that was given out lately.
    fn was(&self, id: u64) -> bool {
        let back = |at: u64| at.wrapping_mul(self.step);
        (0..self.given.min(1024)).any(|at| self.newest.wrapping_sub(back(at)) % IDS == id)
    }

    /// A text of the program's without the newest number.
    fn without(&self, text: &str) -> String {
        text.replace(&self.newest.to_string(), "ID")
    }
}

/// Enough of a text to recognise it by, on one line.
fn cut(text: &str) -> String {
    const CHARACTERS: usize = 200;
    let escaped: String = text.chars().take(CHARACTERS).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARACTERS).is_some() { escaped + " ..." } else { escaped }
}

/// A value as messages show it.
pub(super) fn value(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| shown(&value.to_string()))
}
