//! One child from start to end, seen from the parent.

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use stepwell_sandbox::pipe::{Pipe, Stuck};

use super::message::decode;
use crate::sql::answer::Lost;
use crate::sql::shelf::Which;

/// How long a child that closed its pipes may take to end before it is killed.
const FAREWELL: Duration = Duration::from_secs(1);
/// Most bytes of a child's last words.
const WORDS_BYTES_MAX: usize = 4096;
/// What Rust says where memory is refused, before it ends the process.
const NO_MEMORY: &str = "memory allocation of ";

/// A child that runs.
pub(super) struct Running {
    process: Process,
    to: Pipe,
    from: Pipe,
    words: Pipe,
    /// What it was asked to make ready, and did.
    pub(super) ready: BTreeSet<(u32, Which)>,
}

/// How a child came to its end within a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The kernel counted the processor's time.
    OutOfTime,
    /// The kernel refused memory.
    OutOfMemory,
    /// It has nothing to do with what was asked.
    Lost(Lost),
}

impl Running {
    /// Starts it apart from the terminal's signals: a stop that a person asks for is the parent's.
    pub(super) fn start(mut command: Command) -> Result<Running, Lost> {
        let failed = |error: std::io::Error| Lost(format!("cannot be started: {error}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.process_group(0).spawn().map_err(failed)?;
        let gone = || Lost("cannot be started: it has no pipes".to_owned());
        let to = process.stdin.take().ok_or_else(gone)?;
        let from = process.stdout.take().ok_or_else(gone)?;
        let words = process.stderr.take().ok_or_else(gone)?;
        Ok(Running {
            process,
            to: Pipe::new(to).map_err(failed)?,
            from: Pipe::new(from).map_err(failed)?,
            words: Pipe::new(words).map_err(failed)?,
            ready: BTreeSet::new(),
        })
    }

    /// Its number while it runs.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &[u8], deadline: Instant) -> Result<(), Stuck> {
        self.to.send(message, deadline)
    }

    /// Waits for a message of at most so many bytes; `Ok(None)` is one that cannot be read.
    pub(super) fn receive<M: DeserializeOwned>(
        &mut self,
        bytes_max: usize,
        deadline: Instant,
    ) -> Result<Option<M>, Stuck> {
        Ok(decode(&self.from.receive(bytes_max, deadline)?))
    }

    /// Ends it after a request that brought nothing, and says why. `spent` is how long the request
    /// took, `least` how long one takes at least that uses up its time.
    pub(super) fn end(mut self, why: Stuck, spent: Duration, least: Duration) -> Ended {
        let lost = |what: String| Ended::Lost(Lost(what));
        match why {
            Stuck::Late => {
                return lost(format!(
                    "said nothing for {:.1} s and was ended",
                    spent.as_secs_f64()
                ));
            }
            Stuck::Long(bytes) => return lost(format!("began a message of {bytes} bytes")),
            Stuck::Closed => {}
        }
        let Some(status) = self.wait(FAREWELL) else {
            return lost("closed its pipes and was ended".to_owned());
        };
        let words = self.last_words();
        if status.signal() == Some(SIGXCPU) && spent >= least {
            return Ended::OutOfTime;
        }
        if words.contains(NO_MEMORY) {
            return Ended::OutOfMemory;
        }
        lost(told(status, &words))
    }

    /// Waits for it to end by itself.
    fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                _ => return None,
            }
        }
    }

    /// What it wrote to its standard error, as far as that is there.
    fn last_words(&mut self) -> String {
        let mut bytes = vec![0; WORDS_BYTES_MAX];
        let read = self.words.read(&mut bytes, Instant::now()).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..read]).trim().to_owned()
    }
}

impl Drop for Running {
    /// Nothing of it is left: no process, no zombie.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The signal of a process whose time is spent.
const SIGXCPU: i32 = rustix::process::Signal::XCPU.as_raw();

fn told(status: ExitStatus, words: &str) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    };
    let line = words.lines().next().unwrap_or_default();
    if line.is_empty() { format!("ended ({how})") } else { format!("ended ({how}): {line}") }
}
