//! One command, from start to end.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};

use super::{Jail, JailError, Limits, Program, Workspace};
use crate::pipe::{Pipe, Stuck, poll_until};

/// What a command left.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, up to the bound.
    pub stdout: Vec<u8>,
    /// The same of stderr.
    pub stderr: Vec<u8>,
    /// True where it printed more than the bound; it was ended then.
    pub cut: bool,
    /// True where the deadline ended it.
    pub late: bool,
    /// The user that the host knew it as.
    pub user: u32,
    /// Its workspace.
    pub workspace: Workspace,
}

impl Jail {
    /// Runs a command to its end: gives it `input`, reads at most `output_max` bytes of each of
    /// stdout and stderr, and ends it at the deadline. Its exit status is no evidence of anything.
    ///
    /// # Errors
    /// The jail could not be made.
    pub fn run(
        program: &Program,
        limits: &Limits,
        input: &[u8],
        output_max: usize,
        deadline: Instant,
    ) -> Result<Finished, JailError> {
        let mut jail = Jail::start(program, limits)?;
        let user = jail.user;
        let mut talk = Talk { input, stdout: Vec::new(), stderr: Vec::new(), output_max };
        let end = talk.go_on(&mut jail, deadline);
        let (late, cut) = (end == Err(Stuck::Late), matches!(end, Err(Stuck::Long(_))));
        let Talk { stdout, stderr, .. } = talk;
        // Both outputs are closed: the program is over, or does nothing anyone could see.
        let ended = if late || cut { jail.kill() } else { jail.wait(deadline) };
        let late = late || !cut && ended.status.signal().is_some() && Instant::now() >= deadline;
        Ok(Finished {
            status: ended.status,
            stdout,
            stderr,
            cut,
            late,
            user,
            workspace: ended.workspace,
        })
    }
}

struct Talk<'a> {
    input: &'a [u8],
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    output_max: usize,
}

impl Talk<'_> {
    /// Writes and reads whatever is ready until both outputs are closed.
    fn go_on(&mut self, jail: &mut Jail, deadline: Instant) -> Result<(), Stuck> {
        let (mut out, mut err) = (true, true);
        while out || err {
            if self.input.is_empty() {
                jail.stdin = None;
            }
            let mut polled = Vec::with_capacity(3);
            if out {
                polled.push(PollFd::new(&jail.stdout, PollFlags::IN));
            }
            if err {
                polled.push(PollFd::new(&jail.stderr, PollFlags::IN));
            }
            if let Some(stdin) = &jail.stdin {
                polled.push(PollFd::new(stdin, PollFlags::OUT));
            }
            poll_until(&mut polled, deadline)?;
            drop(polled);
            if let Some(stdin) = &mut jail.stdin {
                match stdin.write_some(self.input) {
                    Ok(written) => self.input = &self.input[written..],
                    Err(_) => self.input = &[],
                }
            }
            out = out && take(&mut jail.stdout, &mut self.stdout, self.output_max)?;
            err = err && take(&mut jail.stderr, &mut self.stderr, self.output_max)?;
        }
        Ok(())
    }
}

/// Takes what is there; false where the pipe is closed.
fn take(pipe: &mut Pipe, kept: &mut Vec<u8>, output_max: usize) -> Result<bool, Stuck> {
    let mut bytes = [0; 16 * 1024];
    match pipe.read_some(&mut bytes) {
        Ok(0) => Ok(false),
        Ok(read) => {
            kept.extend_from_slice(&bytes[..read]);
            if kept.len() > output_max {
                kept.truncate(output_max);
                return Err(Stuck::Long(output_max));
            }
            Ok(true)
        }
        Err(Stuck::Late) => Ok(true),
        Err(_) => Ok(false),
    }
}
