//! Bytes through pipes with a deadline and a bound: whatever stands at the other end, a call here
//! returns.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

/// Why bytes did not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// Time is up.
    Late,
    /// The other end is closed.
    Closed,
    /// A message is longer than it may be.
    Long(usize),
}

/// One end of a pipe, never blocking.
#[derive(Debug)]
pub struct Pipe {
    file: File,
}

impl Pipe {
    /// Takes a descriptor over.
    pub fn new(descriptor: impl Into<OwnedFd>) -> std::io::Result<Pipe> {
        let descriptor: OwnedFd = descriptor.into();
        let flags = fcntl_getfl(&descriptor)?;
        fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
        Ok(Pipe { file: File::from(descriptor) })
    }

    /// Reads up to `bytes.len()`; 0 at the end.
    pub fn read(&mut self, bytes: &mut [u8], deadline: Instant) -> Result<usize, Stuck> {
        loop {
            match self.file.read(bytes) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(&self.file, PollFlags::IN, deadline)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Stuck::Closed),
            }
        }
    }

    /// Writes all of it.
    pub fn write_all(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), Stuck> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(Stuck::Closed),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(&self.file, PollFlags::OUT, deadline)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(Stuck::Closed),
            }
        }
        Ok(())
    }

    /// Reads what is there without waiting: `Late` where nothing is, 0 at the end.
    pub fn read_some(&mut self, bytes: &mut [u8]) -> Result<usize, Stuck> {
        self.file.read(bytes).map_err(|error| stuck(&error))
    }

    /// Writes what fits without waiting; 0 where nothing does.
    pub fn write_some(&mut self, bytes: &[u8]) -> Result<usize, Stuck> {
        match self.file.write(bytes).map_err(|error| stuck(&error)) {
            Err(Stuck::Late) => Ok(0),
            other => other,
        }
    }

    /// Writes one message: its length as four bytes, most significant first, and its bytes.
    pub fn send(&mut self, message: &[u8], deadline: Instant) -> Result<(), Stuck> {
        let length = u32::try_from(message.len()).map_err(|_| Stuck::Long(message.len()))?;
        self.write_all(&length.to_be_bytes(), deadline)?;
        self.write_all(message, deadline)
    }

    /// Reads one message of at most so many bytes.
    pub fn receive(&mut self, bytes_max: usize, deadline: Instant) -> Result<Vec<u8>, Stuck> {
        let mut length = [0; 4];
        self.fill(&mut length, deadline)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > bytes_max {
            return Err(Stuck::Long(length));
        }
        let mut message = vec![0; length];
        self.fill(&mut message, deadline)?;
        Ok(message)
    }

    fn fill(&mut self, mut bytes: &mut [u8], deadline: Instant) -> Result<(), Stuck> {
        while !bytes.is_empty() {
            match self.read(bytes, deadline)? {
                0 => return Err(Stuck::Closed),
                read => bytes = &mut bytes[read..],
            }
        }
        Ok(())
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn stuck(error: &std::io::Error) -> Stuck {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => Stuck::Late,
        _ => Stuck::Closed,
    }
}

/// Waits until a descriptor is ready or the deadline is there.
fn wait(descriptor: &File, flags: PollFlags, deadline: Instant) -> Result<(), Stuck> {
    let mut polled = [PollFd::new(descriptor, flags)];
    poll_until(&mut polled, deadline)
}

/// Waits until one of the descriptors is ready or the deadline is there.
pub(crate) fn poll_until(polled: &mut [PollFd<'_>], deadline: Instant) -> Result<(), Stuck> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Stuck::Late);
        }
        match poll(polled, Some(&timespec(left))) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return Err(Stuck::Closed),
        }
    }
}

fn timespec(left: Duration) -> Timespec {
    Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
}
