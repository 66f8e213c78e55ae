//! A fixed number of threads that share units of work.

use std::sync::{Mutex, PoisonError};

use crate::kernel::Crew;

/// Worker threads of one owner. A team of one has no threads and runs in the caller.
pub(crate) struct Team {
    crew: Option<Crew>,
}

impl Team {
    /// `threads` workers, the caller among them (0 counts as 1). If the system refuses to start
    /// threads, the team is smaller: the results are the same bits.
    pub(crate) fn new(threads: usize) -> Self {
        let crew = (threads > 1).then(|| Crew::new(threads - 1));
        Self { crew: crew.filter(|crew| crew.helpers() > 0) }
    }

    pub(crate) fn threads(&self) -> usize {
        1 + self.crew.as_ref().map_or(0, Crew::helpers)
    }

    /// Runs `work` on every task, each worker with its own scratch; tasks are taken in order, one
    /// at a time, so that none needs to be stored.
    ///
    /// # Panics
    /// If `scratch` has fewer entries than the team has threads.
    pub(crate) fn each<T, S: Send>(
        &self,
        tasks: impl IntoIterator<IntoIter: Send, Item = T>,
        scratch: &mut [S],
        work: impl Fn(&mut S, T) + Sync,
    ) {
        assert!(scratch.len() >= self.threads(), "one scratch per thread");
        let Some(crew) = &self.crew else {
            return tasks.into_iter().for_each(|task| work(&mut scratch[0], task));
        };
        let tasks = Mutex::new(tasks.into_iter());
        let scratch = Mutex::new(scratch.iter_mut());
        crew.run(&|| {
            let Some(own) = take(&scratch) else { return };
            while let Some(task) = take(&tasks) {
                work(own, task);
            }
        });
    }
}

impl Team {
    /// As [`Team::each`] for work that needs no scratch.
    pub(crate) fn run<T>(
        &self,
        tasks: impl IntoIterator<IntoIter: Send, Item = T>,
        work: impl Fn(T) + Sync,
    ) {
        let tasks = tasks.into_iter();
        let alone = tasks.size_hint().1.is_some_and(|most| most <= 1);
        let Some(crew) = self.crew.as_ref().filter(|_| !alone) else {
            return tasks.for_each(work);
        };
        let tasks = Mutex::new(tasks);
        crew.run(&|| {
            while let Some(task) = take(&tasks) {
                work(task);
            }
        });
    }
}

fn take<T>(rest: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    rest.lock().unwrap_or_else(PoisonError::into_inner).next()
}

impl Clone for Team {
    /// As many threads, of its own.
    fn clone(&self) -> Self {
        Self::new(self.threads())
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
            team.each(done.iter_mut().enumerate(), &mut scratch, |count, (index, slot)| {
                *count += 1;
                *slot = index + 1;
            });
            assert!(done.iter().enumerate().all(|(index, value)| *value == index + 1));
            assert_eq!(scratch.iter().sum::<usize>(), 100);
        }
    }
}
