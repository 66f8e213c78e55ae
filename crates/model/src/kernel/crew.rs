//! Threads that wait for short jobs: a region of a few microseconds must not cost more to begin
//! than to run.

use std::{
    any::Any,
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

/// Looks at the clockwork this often before it lies down: some tens of microseconds, the length
/// of what one thread does alone between two regions.
const LOOKS: usize = 2000;

type Job = dyn Fn() + Sync;

/// Helpers beside the calling thread.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held while a job runs.
    busy: Mutex<()>,
}

struct Shared {
    /// Counts the jobs; a helper that sees a new number takes the job.
    number: AtomicU64,
    /// The current job; valid from the moment its number shows until `working` is zero.
    job: UnsafeCell<Option<*const Job>>,
    working: AtomicUsize,
    dismissed: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Where helpers and the caller lie down, and who has: nobody is woken who is up, because that
    /// would cost a system call a job. Whoever lies down says so before the last look at what it
    /// waits for, and whoever changes that looks at who lies afterwards, all in one order
    /// (`SeqCst`): one of the two sees the other.
    bed: Mutex<()>,
    asleep: AtomicUsize,
    caller_asleep: AtomicBool,
    begun: Condvar,
    ended: Condvar,
}

// SAFETY: `job` is written only by the caller that holds `busy`, while no helper is at work, and
// read only by helpers after the release of `number` that follows the writing. What it points at
// is `Sync`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

fn open<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// As many helpers as the system grants, at most `count`.
    pub(crate) fn new(count: usize) -> Self {
        let shared = Arc::new(Shared {
            number: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            working: AtomicUsize::new(0),
            dismissed: AtomicBool::new(false),
            panic: Mutex::new(None),
            bed: Mutex::new(()),
            asleep: AtomicUsize::new(0),
            caller_asleep: AtomicBool::new(false),
            begun: Condvar::new(),
            ended: Condvar::new(),
        });
        let start = |_| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().spawn(move || shared.serve()).ok()
        };
        let helpers = (0..count).map_while(start).collect();
        Self { shared, helpers, busy: Mutex::new(()) }
    }

    /// Helpers beside the calling thread.
    pub(crate) fn helpers(&self) -> usize {
        self.helpers.len()
    }

    /// Runs `job` once on every helper and in the caller, and returns when all are done; alone
    /// in the caller where the crew is at work already.
    ///
    /// # Panics
    /// With a helper's panic, when all are done.
    pub(crate) fn run(&self, job: &(dyn Fn() + Sync)) {
        let _busy = match self.busy.try_lock() {
            Ok(busy) => busy,
            // A job that panicked is over.
            Err(TryLockError::Poisoned(busy)) => busy.into_inner(),
            Err(TryLockError::WouldBlock) => return job(),
        };
        let shared = &*self.shared;
        shared.working.store(self.helpers.len(), Ordering::Relaxed);
        // SAFETY: the lifetime is only forgotten: no helper holds the job when this call returns
        // or unwinds, because it waits until `working` is zero.
        let forgotten =
            unsafe { std::mem::transmute::<*const (dyn Fn() + Sync + '_), *const Job>(job) };
        // SAFETY: no helper reads before the number below; `busy` keeps other callers out.
        unsafe { *shared.job.get() = Some(forgotten) };
        shared.number.fetch_add(1, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            let _bed = open(&shared.bed);
            shared.begun.notify_all();
        }
        let own = catch_unwind(AssertUnwindSafe(job));
        shared.wait_for_helpers();
        let helpers = open(&shared.panic).take();
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if let Some(panic) = helpers {
            resume_unwind(panic);
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut seen = 0;
        loop {
            let number = self.wait_for_job(seen);
            if self.dismissed.load(Ordering::Acquire) {
                return;
            }
            seen = number;
            // SAFETY: the number was released after the job was written, and the caller waits for
            // `working` before it lets go of the job.
            let job = unsafe { (*self.job.get()).map(|job| &*job) };
            if let Some(Err(panic)) = job.map(|job| catch_unwind(AssertUnwindSafe(job))) {
                let mut first = open(&self.panic);
                if first.is_none() {
                    *first = Some(panic);
                } else {
                    // To drop what another panic carries could panic again, outside any catch.
                    std::mem::forget(panic);
                }
            }
            let last = self.working.fetch_sub(1, Ordering::SeqCst) == 1;
            if last && self.caller_asleep.load(Ordering::SeqCst) {
                let _bed = open(&self.bed);
                self.ended.notify_all();
            }
        }
    }

    fn wait_for_job(&self, seen: u64) -> u64 {
        let new = || Some(self.number.load(Ordering::SeqCst)).filter(|number| *number != seen);
        for _ in 0..LOOKS {
            if let Some(number) = new() {
                return number;
            }
            std::hint::spin_loop();
        }
        let mut bed = open(&self.bed);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        loop {
            if let Some(number) = new() {
                self.asleep.fetch_sub(1, Ordering::SeqCst);
                return number;
            }
            bed = self.begun.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_for_helpers(&self) {
        let done = || self.working.load(Ordering::SeqCst) == 0;
        for _ in 0..LOOKS {
            if done() {
                return;
            }
            std::hint::spin_loop();
        }
        let mut bed = open(&self.bed);
        self.caller_asleep.store(true, Ordering::SeqCst);
        while !done() {
            bed = self.ended.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_asleep.store(false, Ordering::SeqCst);
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.dismissed.store(true, Ordering::Release);
        self.shared.number.fetch_add(1, Ordering::SeqCst);
        {
            let _bed = open(&self.shared.bed);
            self.shared.begun.notify_all();
        }
        for helper in self.helpers.drain(..) {
            // A helper catches the panics of its jobs.
            let _ = helper.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_runs_each_job_once_asleep_or_awake() {
        let crew = Crew::new(3);
        let count = AtomicUsize::new(0);
        for round in 1..=300 {
            crew.run(&|| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(count.load(Ordering::Relaxed), round * (crew.helpers() + 1));
            if round % 100 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }

    #[test]
    fn nobody_oversleeps_whoever_is_late() {
        // Jobs and pauses of every length around the time after which members lie down.
        let crew = Crew::new(2);
        let count = AtomicUsize::new(0);
        for round in 0..2000_usize {
            let spin = |looks: usize| (0..looks).for_each(|_| std::hint::spin_loop());
            spin(round * 7919 % (2 * LOOKS));
            crew.run(&|| {
                let order = count.fetch_add(1, Ordering::Relaxed);
                spin((round + order) * 104_729 % (3 * LOOKS));
            });
        }
        assert_eq!(count.load(Ordering::Relaxed), 2000 * (crew.helpers() + 1));
    }

    #[test]
    fn a_job_inside_a_job_runs_in_its_caller() {
        let crew = Crew::new(2);
        let count = AtomicUsize::new(0);
        crew.run(&|| {
            crew.run(&|| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.load(Ordering::Relaxed), crew.helpers() + 1);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_crew_goes_on() {
        let crew = Crew::new(2);
        for _ in 0..20 {
            let wrong = catch_unwind(AssertUnwindSafe(|| crew.run(&|| panic!("on purpose"))));
            assert!(wrong.is_err());
        }
        let count = AtomicUsize::new(0);
        crew.run(&|| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), crew.helpers() + 1);
    }
}
