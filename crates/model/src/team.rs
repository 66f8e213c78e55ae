//! A fixed number of threads and few, large parallel regions.

use std::sync::Mutex;

/// Worker threads of one owner. A team of one has no threads and runs in the caller.
pub(crate) struct Team {
    pool: Option<rayon::ThreadPool>,
    threads: usize,
}

impl Team {
    /// `threads` workers (0 counts as 1). If the system refuses to start threads, the team works
    /// alone: the results are the same bits.
    pub(crate) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let build = || rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok();
        let pool = if threads == 1 { None } else { build() };
        Self { threads: if pool.is_some() { threads } else { 1 }, pool }
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs `work` where this team's threads serve its parallel iterators.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Runs `work` on every task, each worker with its own scratch; tasks are taken in order.
    ///
    /// # Panics
    /// If `scratch` has fewer entries than the team has threads.
    pub(crate) fn each<T: Send, S: Send>(
        &self,
        tasks: Vec<T>,
        scratch: &mut [S],
        work: impl Fn(&mut S, T) + Sync,
    ) {
        assert!(scratch.len() >= self.threads, "one scratch per thread");
        let Some(pool) = self.pool.as_ref().filter(|_| tasks.len() > 1) else {
            for task in tasks {
                work(&mut scratch[0], task);
            }
            return;
        };
        let workers = self.threads.min(tasks.len());
        let queue = Mutex::new(tasks.into_iter());
        let next = || queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
        let (next, work) = (&next, &work);
        pool.scope(|scope| {
            for own in &mut scratch[..workers] {
                scope.spawn(move |_| {
                    while let Some(task) = next() {
                        work(own, task);
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        for threads in [0, 1, 2, 7] {
            let team = Team::new(threads);
            let mut done = vec![0; 100];
            let mut scratch = vec![0; team.threads()];
            let tasks: Vec<(usize, &mut usize)> = done.iter_mut().enumerate().collect();
            team.each(tasks, &mut scratch, |count, (index, slot)| {
                *count += 1;
                *slot = index + 1;
            });
            assert!(done.iter().enumerate().all(|(index, value)| *value == index + 1));
            assert_eq!(scratch.iter().sum::<usize>(), 100);
        }
    }
}
