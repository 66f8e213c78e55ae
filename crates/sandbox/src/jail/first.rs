//! The first process of a jail. The kernel ends every other process of its namespace before it is
//! gone itself, so its end is theirs.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::DEATH;
use super::usage::Usage;
use crate::pipe::poll_until;

/// The first process of a jail's namespace, held by a descriptor: it stays the same process's when
/// its number becomes another's.
#[derive(Debug)]
pub(super) struct First {
    process: OwnedFd,
    /// The host's number, which may be another's once it is dead and reaped.
    number: u32,
}

impl First {
    /// Takes hold of it by the host's number.
    pub(super) fn of(process: u32) -> std::io::Result<First> {
        let number = i32::try_from(process).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| std::io::Error::other("no such process"))?;
        Ok(First { process: pidfd_open(number, PidfdFlags::empty())?, number: process })
    }

    /// What it and all below it did with their time so far.
    ///
    /// # Errors
    /// It is dead: what was read may be of a stranger that has its number now.
    pub(super) fn usage(&self) -> std::io::Result<Usage> {
        let usage = Usage::of(self.number)?;
        if self.is_dead() {
            return Err(std::io::Error::other("it is over"));
        }
        Ok(usage)
    }

    fn is_dead(&self) -> bool {
        let mut polled = [PollFd::new(&self.process, PollFlags::IN)];
        !matches!(poll(&mut polled, Some(&Timespec::default())), Ok(0))
    }

    /// Kills it and waits until it and all others are dead.
    pub(super) fn end(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let mut polled = [PollFd::new(&self.process, PollFlags::IN)];
        let _ = poll_until(&mut polled, Instant::now() + DEATH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_used_cannot_be_told() {
        use std::process::{Command, Stdio};
        let mut child = Command::new("/bin/cat").stdin(Stdio::piped()).spawn().unwrap();
        let first = First::of(child.id()).unwrap();
        first.usage().unwrap();
        first.end();
        // It is not reaped, so its number is still read, as another's would be.
        Usage::of(child.id()).unwrap();
        assert_eq!(first.usage().unwrap_err().to_string(), "it is over");
        child.wait().unwrap();
    }
}
