//! The child's life: open, give every right away, answer until the parent closes the pipe.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use stepwell_sandbox::LayerError;
use stepwell_sandbox::child::close_inherited;
use stepwell_sandbox::confine::{confine, confine_weakly};

use super::message::{Confined, Reply, Request, Start, decode, encode, reply_bytes_max};
use crate::sql::answer::{Answer, QueryError};
use crate::sql::config::{Limits, Sandbox};
use crate::sql::file::Fault;
use crate::sql::shelf::Shelf;
use crate::sql::source::{Rows, Source};

/// Bytes that every process has beside what is counted: stacks, code, buffers of messages.
const BASE_BYTES: u64 = 1 << 30;

/// Serves; the exit code is for nobody but a person who reads it.
pub(super) fn serve(_words: &[String]) -> ExitCode {
    match Server::start() {
        Ok(mut server) => {
            while server.answer().is_some() {}
            ExitCode::SUCCESS
        }
        Err(code) => ExitCode::from(code),
    }
}

struct Server {
    pipes: Pipes,
    shelves: Vec<Shelf>,
    limits: Limits,
    meter: Meter,
}

impl Server {
    /// `Err` carries the exit code: 2 where the parent said nothing to begin with, 3 where this
    /// machine lacks a layer.
    fn start() -> Result<Server, u8> {
        close_inherited().map_err(|_| 3_u8)?;
        let mut pipes = Pipes::open().map_err(|_| 3_u8)?;
        let start: Start<Vec<Source>> =
            pipes.read().and_then(|message| decode(&message)).ok_or(2_u8)?;
        raise(Resource::Nofile);
        let bytes = bytes_open(&start.sources);
        let limits = start.limits;
        let shelf = |source| Shelf::open(source, limits.clone());
        let shelves: Vec<Shelf> = start.sources.into_iter().map(shelf).collect();
        let meter = Meter::open(&limits).map_err(|_| 3_u8)?;
        let address_space = meter.bytes() + meter.query_bytes + BASE_BYTES + bytes;
        let confined = match lock(start.sandbox, address_space) {
            Ok(missing) => Confined::Yes(missing),
            Err(layer) => Confined::No(layer.to_string()),
        };
        pipes.write(&confined).ok_or(2_u8)?;
        if let Confined::No(_) = confined {
            return Err(3);
        }
        // From here on strangers' bytes are read.
        if start.describe {
            for shelf in &shelves {
                pipes.write(&shelf.describe()).ok_or(2_u8)?;
            }
        }
        Ok(Server { pipes, shelves, limits, meter })
    }

    /// Answers one request; `None` at the end.
    fn answer(&mut self) -> Option<()> {
        let message = self.pipes.read()?;
        let request: Request<'_> = postcard::from_bytes(&message).ok()?;
        let reply = match request {
            Request::Prepare(database, which) => {
                self.meter.unbounded();
                let absent = || Err(Fault::Unreadable("there is no such database".to_owned()));
                let shelf = self.shelves.get(database as usize);
                Reply::Prepared(shelf.map_or_else(absent, |shelf| shelf.prepare(which)))
            }
            Request::Query(database, which, sql) => {
                self.meter.bound();
                Reply::Answered(self.shelves.get(database as usize)?.query(which, sql)?)
            }
        };
        let mut bytes = encode(&reply).ok()?;
        if bytes.len() > reply_bytes_max(&self.limits) {
            let error = QueryError::TooManyBytes(self.limits.result_bytes_max);
            bytes = encode(&Reply::Answered(Answer::refused(error))).ok()?;
        }
        self.pipes.write_bytes(&bytes)
    }
}

/// Gives every right away; where it may be weak, names the layers that are missing.
fn lock(sandbox: Sandbox, address_space: u64) -> Result<Vec<String>, LayerError> {
    match sandbox {
        Sandbox::Full => confine(address_space).map(|()| Vec::new()),
        Sandbox::Weak => {
            Ok(confine_weakly(address_space).iter().map(ToString::to_string).collect())
        }
    }
}

/// Bytes that databases may hold in memory: a cache of a file and its twins, or what scripts make.
fn bytes_open(sources: &[Source]) -> u64 {
    let bytes = |source: &Source| match &source.rows {
        Rows::File(path) => {
            let bytes = path.metadata().map_or(0, |file| file.len());
            (8 << 20) + 24 * bytes
        }
        Rows::Scripts { original, twin, .. } => {
            (1 << 20) + 64 * (original.len() + twin.len()) as u64
        }
    };
    sources.iter().map(bytes).sum()
}

/// The soft limit becomes the hard one.
fn raise(resource: Resource) {
    let limit = getrlimit(resource);
    // Where it stays as it is, a file that cannot be opened says so.
    let _ = setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
}

/// What a query may spend of the processor's time and of memory, enforced by the kernel.
struct Meter {
    /// This process's sizes in pages, read again for each query.
    pages: File,
    page_bytes: u64,
    query_bytes: u64,
    seconds: u64,
}

impl Meter {
    fn open(limits: &Limits) -> std::io::Result<Meter> {
        Ok(Meter {
            pages: File::open("/proc/self/statm")?,
            page_bytes: rustix::param::page_size() as u64,
            query_bytes: limits.memory_mib_max << 20,
            seconds: limits.seconds_max,
        })
    }

    /// Bytes of address space in use.
    fn bytes(&self) -> u64 {
        let mut text = [0; 64];
        let read = self.pages.read_at(&mut text, 0).unwrap_or(0);
        let text = String::from_utf8_lossy(&text[..read]);
        let pages = text.split(' ').next().and_then(|pages| pages.parse::<u64>().ok());
        pages.unwrap_or(0) * self.page_bytes
    }

    /// Bounds what follows, from what is spent so far. The kernel counts whole seconds.
    fn bound(&self) {
        let spent = clock_gettime(ClockId::ProcessCPUTime);
        let spent = spent.tv_sec as u64 + u64::from(spent.tv_nsec > 0);
        soft(Resource::Cpu, spent + self.seconds);
        soft(Resource::As, self.bytes() + self.query_bytes);
    }

    /// Takes the bounds of a query away.
    fn unbounded(&self) {
        raise(Resource::Cpu);
        raise(Resource::As);
    }
}

fn soft(resource: Resource, value: u64) {
    let limit = getrlimit(resource);
    let value = limit.maximum.map_or(value, |maximum| value.min(maximum));
    // A limit below the hard one is never refused.
    let _ = setrlimit(resource, Rlimit { current: Some(value), ..limit });
}

/// The two ends that the parent holds the others of. They block: a child has nothing else to do.
struct Pipes {
    from: File,
    to: File,
}

impl Pipes {
    fn open() -> std::io::Result<Pipes> {
        let from = std::io::stdin().as_fd().try_clone_to_owned()?.into();
        let to = std::io::stdout().as_fd().try_clone_to_owned()?.into();
        Ok(Pipes { from, to })
    }

    /// One message; `None` at the end of the pipe.
    fn read(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.from.read_exact(&mut length).ok()?;
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.from.read_exact(&mut message).ok()?;
        Some(message)
    }

    fn write(&mut self, message: &impl serde::Serialize) -> Option<()> {
        self.write_bytes(&encode(message).ok()?)
    }

    fn write_bytes(&mut self, message: &[u8]) -> Option<()> {
        let length = u32::try_from(message.len()).ok()?;
        let mut frame = Vec::with_capacity(4 + message.len());
        frame.extend(length.to_be_bytes());
        frame.extend(message);
        self.to.write_all(&frame).ok()
    }
}
