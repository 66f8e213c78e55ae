//! What the processes of a jail did with their time, as the kernel counts it: the difference
//! between a program that sleeps and one that a busy machine does not let run.

use std::io;
use std::time::Duration;

/// The time of all processes of a jail since each of them began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time of all of them together, of those that ended too.
    pub processor: Duration,
    /// The longest that one thread could have run and got no processor. Zero on a kernel that does
    /// not count it.
    pub queued: Duration,
    /// True where one of them is stopped by a signal.
    pub stopped: bool,
}

impl Usage {
    /// Of a jail's first process and everything below it.
    pub(super) fn of(first: u32) -> io::Result<Usage> {
        let mut usage = Usage::default();
        let mut waiting = vec![first];
        usage.add(first)?;
        while let Some(process) = waiting.pop() {
            // What ended meanwhile has nothing below it, and its parent counts its time.
            for child in children(process).unwrap_or_default() {
                if usage.add(child).is_ok() {
                    waiting.push(child);
                }
            }
        }
        Ok(usage)
    }

    /// What was used since.
    pub(crate) fn since(self, before: Usage) -> Usage {
        Usage {
            processor: self.processor.saturating_sub(before.processor),
            queued: self.queued.saturating_sub(before.queued),
            stopped: self.stopped,
        }
    }

    fn add(&mut self, process: u32) -> io::Result<()> {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let mut behind_its_name = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        self.stopped |= behind_its_name.next() == Some("T");
        // Its own and that of children that it waited for, in user and in system mode.
        let ticks = behind_its_name.skip(10).take(4).filter_map(|field| field.parse::<u64>().ok());
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        self.processor += Duration::from_millis(ticks.sum::<u64>() * 1000 / per_second);
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
            let line = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let queued = line.split_whitespace().nth(1).and_then(|field| field.parse().ok());
            self.queued = self.queued.max(Duration::from_nanos(queued.unwrap_or(0)));
        }
        Ok(())
    }
}

fn children(process: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        let line = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(line.split_whitespace().filter_map(|number| number.parse::<u32>().ok()));
    }
    Ok(found)
}
