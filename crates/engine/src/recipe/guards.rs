//! What a run watches beside what it always refuses.

use super::macros::{Settings, settings};
use super::section::Section;
use super::setting::Limit;

settings! {
    /// Alarms: the run goes on, says so, and records it.
    pub struct Guards {
        /// Updates of a window. An alarm is raised where, from one window to the next, what a shaped
        /// reward pays has risen while the outcome has fallen: the policy may be learning to please
        /// the reward. 0 never compares.
        window: usize = 20, Limit::Whole(0, 10_000);
        /// How many standard errors both must have moved, each its own way.
        sigma: f64 = 3.0, Limit::Real(0.0, 1000.0);
    }
}

impl Guards {
    /// The table `guards`, or its defaults.
    pub(super) fn read_from(top: &Section<'_>) -> Guards {
        let Some(table) = top.child("guards") else { return Guards::default() };
        let read = Guards::read(&table, Guards::default());
        table.finish();
        read
    }
}
