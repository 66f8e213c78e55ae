//! A program of the user's: started in a process group of its own, spoken to in lines, and ended
//! together with everything it started.
//!
//! Three threads stand beside it, so that no call here waits longer than it says: one writes what
//! the program may be slow to read, one cuts its output into lines of bounded length, one keeps
//! the end of what it prints on stderr. They end with their pipes and are never waited for: a
//! process that left the group may hold a pipe open for as long as it likes.
//!
//! A small shell stands watch, which reads a pipe that only this process holds: when this process
//! is gone, however it went, the pipe ends and the shell kills the group.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Lines that wait to be read; a program that says more than it was asked is held back.
pub const LINES_WAITING: usize = 4;
/// Bytes kept of what a program prints on stderr.
pub const STDERR_BYTES: usize = 4096;
/// How often a silent program is looked at.
const LOOK_MS: u64 = 20;
/// How long the last words of a program that has ended may stay in the pipe.
const LAST_WORDS_MS: u64 = 200;

/// How long a process that was killed may take to end.
const DEATH_MS: u64 = 2000;

/// What the watch does: `$1` is the group.
const WATCH: &str = "trap '' HUP INT QUIT TERM; read -r _; kill -KILL -\"$1\"";

/// One line of a program's output, without its end.
pub(super) enum Line {
    /// Text.
    Text(String),
    /// More bytes than a line may have; nothing is read after it.
    Long,
    /// This byte is not UTF-8.
    NotUtf8(u8),
    /// The output is closed.
    End,
}

/// Why no line came.
pub(super) enum Silence {
    /// Time is up.
    Late,
    /// The program is gone.
    Exited(Option<ExitStatus>),
}

/// A running program.
pub(super) struct Process {
    child: Child,
    group: Pid,
    watch: Child,
    /// True once the group was killed and its leader waited for.
    ended: bool,
    to: Option<Sender<Vec<u8>>>,
    from: Receiver<Line>,
    printed: Arc<Printed>,
}

/// The end of what a program printed on stderr.
#[derive(Default)]
struct Printed {
    bytes: Mutex<VecDeque<u8>>,
    /// True once nothing more can come.
    over: AtomicBool,
}

impl Process {
    /// Starts a command, whose first word is the program, with these variables and no others.
    /// Lines of its output may have `line_bytes_max` bytes.
    ///
    /// # Errors
    /// The system's words, where it cannot be started.
    pub(super) fn start(
        command: &[String],
        variables: &[(OsString, OsString)],
        line_bytes_max: usize,
    ) -> std::io::Result<Process> {
        let mut words = command.iter();
        let program = words.next().ok_or(std::io::ErrorKind::NotFound)?;
        let mut child = Command::new(program)
            .args(words)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let group = Pid::from_child(&child);
        let watch = match watch(group) {
            Ok(watch) => watch,
            Err(error) => {
                let _ = kill_process_group(group, Signal::KILL);
                let _ = child.kill();
                let _ = reap(&mut child);
                return Err(error);
            }
        };
        let pipes = "the three pipes were asked for";
        let (to, written) = channel();
        let (lines, from) = sync_channel(LINES_WAITING);
        let printed = Arc::<Printed>::default();
        let input = child.stdin.take().expect(pipes);
        let output = child.stdout.take().expect(pipes);
        let errors = child.stderr.take().expect(pipes);
        let kept = Arc::clone(&printed);
        thread::spawn(move || write(input, &written));
        thread::spawn(move || cut(output, line_bytes_max, &lines));
        thread::spawn(move || keep(errors, &kept));
        Ok(Process { child, group, watch, ended: false, to: Some(to), from, printed })
    }

    /// Hands a line over to be written; returns at once.
    pub(super) fn send(&self, mut line: String) {
        line.push('\n');
        // Where the writer is gone the program is, and the next receive tells.
        let _ = self.to.as_ref().map(|to| to.send(line.into_bytes()));
    }

    /// The next line, waiting until the deadline.
    pub(super) fn receive(&mut self, deadline: Instant) -> Result<Line, Silence> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Silence::Late);
            }
            match self.from.recv_timeout(left.min(Duration::from_millis(LOOK_MS))) {
                Ok(Line::End) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Silence::Exited(self.settle()));
                }
                Ok(line) => return Ok(line),
                Err(RecvTimeoutError::Timeout) if self.has_exited() => {
                    let words = self.from.recv_timeout(Duration::from_millis(LAST_WORDS_MS));
                    return match words {
                        Ok(Line::End) | Err(_) => Err(Silence::Exited(self.settle())),
                        Ok(line) => Ok(line),
                    };
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Ends the program and gives the end of what it printed on stderr: at most three lines.
    pub(super) fn last_words(mut self) -> String {
        if !self.ended {
            self.end();
        }
        let deadline = Instant::now() + Duration::from_millis(LAST_WORDS_MS);
        while !self.printed.over.load(Ordering::Acquire) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        let kept = self.printed.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        drop(kept);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(3)..].join(" | ");
        let skip = last.chars().count().saturating_sub(300);
        last.chars().skip(skip).flat_map(char::escape_debug).collect()
    }

    /// Closes the program's input, gives it a moment to end by itself, and ends what is left.
    pub(super) fn close(mut self, moment: Duration) {
        self.to = None;
        let deadline = Instant::now() + moment;
        while !self.has_exited() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// True where the program itself has ended; its number stays taken until it is waited for.
    fn has_exited(&self) -> bool {
        if self.ended {
            return true;
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.group), look), Ok(None))
    }

    /// How a program ended whose output did; `None` where it lives on in silence.
    fn settle(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + Duration::from_millis(LAST_WORDS_MS);
        while !self.has_exited() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        let exited = self.has_exited();
        let status = self.end();
        exited.then_some(status).flatten()
    }

    /// Kills the group before its leader is waited for: as long as it is not, no other process can
    /// have its number. A leader that has moved to another group is killed by itself. What does not
    /// end in time, as a process in the middle of a system call may not, is left behind.
    fn end(&mut self) -> Option<ExitStatus> {
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.kill();
        let status = reap(&mut self.child);
        let _ = self.watch.kill();
        let _ = reap(&mut self.watch);
        self.ended = true;
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            self.end();
        }
    }
}

/// How a process that was killed ended; `None` where it has not, in time.
fn reap(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + Duration::from_millis(DEATH_MS);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// How a program ended, in words.
pub(super) fn ending(status: Option<ExitStatus>) -> String {
    match status {
        None => "closed its output".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited (code {code})"),
            (None, Some(signal)) => format!("exited (signal {signal})"),
            (None, None) => "exited".to_owned(),
        },
    }
}

fn watch(group: Pid) -> std::io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", WATCH, "sh", &group.as_raw_nonzero().to_string()])
        .env_clear()
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

fn write(mut input: impl Write, lines: &Receiver<Vec<u8>>) {
    while let Ok(line) = lines.recv() {
        if input.write_all(&line).and_then(|()| input.flush()).is_err() {
            return;
        }
    }
}

fn cut(output: impl Read, bytes_max: usize, lines: &SyncSender<Line>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        let read = output.by_ref().take(bytes_max as u64 + 1).read_until(b'\n', &mut line);
        let whole = line.last() == Some(&b'\n');
        let line = match read {
            Ok(0) | Err(_) => Line::End,
            Ok(_) if !whole && line.len() > bytes_max => Line::Long,
            // Half a line before the end is told as it is: it will not be a reply.
            Ok(_) => {
                line.truncate(line.len() - usize::from(whole));
                match String::from_utf8(line) {
                    Ok(text) => Line::Text(text),
                    Err(error) => {
                        let at = error.utf8_error().valid_up_to();
                        Line::NotUtf8(error.as_bytes()[at])
                    }
                }
            }
        };
        let last = matches!(line, Line::End | Line::Long);
        if lines.send(line).is_err() || last {
            return;
        }
    }
}

fn keep(mut errors: impl Read, printed: &Printed) {
    let mut part = [0; 4096];
    while let Ok(count @ 1..) = errors.read(&mut part) {
        let mut kept = printed.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(&part[..count]);
        let over = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..over);
    }
    printed.over.store(true, Ordering::Release);
}
