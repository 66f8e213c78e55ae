//! The door: one program, requests and replies with numbers, and a new start where it fails.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::config::Limits;
use super::process::{Line, Process, Silence, ending};
use super::protocol::{Hello, PROTOCOL, hello};
use crate::tasks::line::shown;

/// Good replies after which earlier restarts are forgiven.
const FORGIVEN_AFTER: u32 = 1000;
/// How long a program may take to end by itself.
const CLOSE_MS: u64 = 500;

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

/// A program behind its door. Attempts share it and speak one after the other.
pub(super) struct Door {
    command: Vec<String>,
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
    number: u64,
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
    pub(super) fn open(command: &[String], limits: &Limits) -> Result<(Door, Hello), String> {
        let door = Door {
            command: command.to_vec(),
            limits: limits.clone(),
            line: Mutex::new(Connection {
                process: None,
                limits: limits.clone(),
                start: 0,
                restarts: 0,
                good: 0,
                number: 0,
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
            line.number += 1;
            process.send(json!({ "id": line.number, "method": "close" }).to_string());
            process.close(Duration::from_millis(CLOSE_MS));
        }
    }
}

impl Connection {
    fn launch(&mut self, command: &[String]) -> Result<(), Fault> {
        let started = Process::start(command, self.limits.line_bytes_max);
        let process = started.map_err(|error| {
            let program = command.first().map_or("", String::as_str);
            self.why = format!("`{program}` cannot be started: {error}");
            Fault::Broken(self.why.clone())
        })?;
        self.process = Some(process);
        self.start += 1;
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
        self.number += 1;
        let mut request = json!({ "id": self.number, "method": method });
        if let (Value::Object(request), Value::Object(params)) = (&mut request, params) {
            request.extend(params);
        }
        if let Some(process) = &self.process {
            process.send(request.to_string());
        }
        self.number
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
                    let why =
                        format!("environment sent bytes that are not a reply: {}", cut(&text));
                    return Err(self.broken(why));
                }
            };
            let id = reply.remove("id");
            let got = id.as_ref().and_then(Value::as_u64);
            if got.is_some_and(|id| self.unread.remove(&id)) {
                continue;
            }
            if got != Some(number) {
                let got = id.map_or_else(|| "nothing".to_owned(), |id| cut(&id.to_string()));
                let why = format!(
                    "environment answered `{got}`, expected `{number}`: one reply to each request, \
                     with its `id`"
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
                    Err(Fault::Refused(format!("environment refused `{method}`: {}", cut(why))))
                }
                Some(other) => {
                    let got = cut(&other.to_string());
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
        self.why = if said.is_empty() { why } else { format!("{why}; it printed: {said}") };
        Fault::Broken(self.why.clone())
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
