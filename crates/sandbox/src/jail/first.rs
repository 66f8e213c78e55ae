//! The first process of a jail. The kernel ends every other process of its namespace before it is
//! gone itself, so its end is theirs.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::DEATH;
use crate::pipe::poll_until;

/// The first process of a jail's namespace, held so that its number cannot become another's.
#[derive(Debug)]
pub(super) struct First {
    process: OwnedFd,
    /// The host's number, another's once it is dead and reaped.
    pub(super) number: u32,
}

impl First {
    /// Takes hold of it by the host's number.
    pub(super) fn of(process: u32) -> std::io::Result<First> {
        let number = i32::try_from(process).ok().and_then(Pid::from_raw);
        let number = number.ok_or_else(|| std::io::Error::other("no such process"))?;
        Ok(First { process: pidfd_open(number, PidfdFlags::empty())?, number: process })
    }

    /// Kills it and waits until it and all others are dead.
    pub(super) fn end(&self) {
        let _ = pidfd_send_signal(&self.process, Signal::KILL);
        let mut polled = [PollFd::new(&self.process, PollFlags::IN)];
        let _ = poll_until(&mut polled, Instant::now() + DEATH);
    }
}
