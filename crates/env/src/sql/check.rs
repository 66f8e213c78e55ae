//! What is wrong with a set of tasks before anything trains on it.

use stepwell_tree::Task;

use super::SqlEnvironment;
use super::answer::Lost;
use super::database::Twin;
use super::equality::Comparison;

/// A task that cannot be judged, or only weakly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The task's id.
    pub id: String,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a task. The first three leave every attempt unscored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Its database is not among those given.
    NoDatabase(String),
    /// The gold query does not run; SQLite's or our own words.
    GoldFailed(String),
    /// It was not asked: the process that runs queries failed.
    Lost(String),
    /// The gold query returns no rows, nor on any twin that was tried: any query without rows
    /// passes.
    GoldEmpty,
    /// The gold result is the same on every twin that was tried: a constant may pass.
    SameOnTwin,
    /// No twin runs the gold query: the original alone judges, and a constant passes.
    NoTwin,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::NoDatabase(name) => write!(f, "there is no database `{name}`"),
            Fault::GoldFailed(cause) => write!(f, "the gold query fails: {cause}"),
            Fault::Lost(cause) => write!(f, "could not be checked: {cause}"),
            Fault::GoldEmpty => write!(f, "the gold query returns no rows"),
            Fault::SameOnTwin => write!(f, "the gold result is the same on the perturbed twin"),
            Fault::NoTwin => write!(f, "the gold query fails on the perturbed twin"),
        }
    }
}

impl SqlEnvironment {
    /// Runs every gold query on its database and twin; tasks without a finding are sound.
    pub fn check(&self, tasks: &[Task]) -> Vec<Finding> {
        let find = |task: &Task| {
            let fault = self.fault(task).unwrap_or_else(|lost| Some(Fault::Lost(lost.to_string())));
            Some(Finding { id: task.id.clone(), fault: fault? })
        };
        tasks.iter().filter_map(find).collect()
    }

    fn fault(&self, task: &Task) -> Result<Option<Fault>, Lost> {
        let name = task.field("database").unwrap_or_default();
        let Some(database) = self.databases().get(name) else {
            return Ok(Some(Fault::NoDatabase(name.to_owned())));
        };
        let gold = task.field("gold").unwrap_or_default();
        let answer = database.original().query(gold)?;
        let table = match &answer.outcome {
            Ok(table) => table,
            Err(error) => return Ok(Some(Fault::GoldFailed(error.to_string()))),
        };
        let comparison = Comparison::of(gold, self.config().result_compare);
        Ok(match database.twin_for(gold, comparison)? {
            Twin::Differs(_) => None,
            Twin::Same(_) if table.rows.is_empty() => Some(Fault::GoldEmpty),
            Twin::Same(_) => Some(Fault::SameOnTwin),
            Twin::Missing => Some(Fault::NoTwin),
        })
    }
}
