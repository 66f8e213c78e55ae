//! Settings of the `sql` environment. Where the paper leaves a choice open, both ways are here.

use serde::{Deserialize, Serialize};

use super::twin::HELD_OUT_MAX;
use crate::EnvError;

/// The recipe's `environment = { type = "sql", ... }` without `type` and file names.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the part `explore` measures.
    pub explore: Explore,
    /// What the part `entity` measures.
    pub entity: Entity,
    /// What the part `exact` compares.
    pub exact: Exact,
    /// The part `exec` where the final query fails: 0 or -1.
    pub exec_error_penalty: i8,
    /// Whether equal rows count once or each.
    pub result_compare: ResultCompare,
    /// Further databases, derived as twins are, on which a stricter judge compares right answers.
    /// Its verdict is the part `strict`, which nothing trains on; 0 to 4, 0 for no such part.
    pub twins_held_out: usize,
    /// Most exploratory queries that are run in an attempt, 0 to 1000.
    pub max_interactions: u32,
    /// Most rows an observation shows, 1 to 1000.
    pub rows_shown: usize,
    /// Most bytes of an observation between its tags, 64 to 1,000,000.
    pub observation_bytes_max: usize,
    /// True where the prompt explains the tags: for models that were not trained on them.
    pub instructions: bool,
    /// Control: every observation is the result of another task's gold query, drawn by key.
    /// An answer that stays right has not read its observations.
    pub shuffled_results: bool,
    /// What one query may cost.
    pub limits: Limits,
    /// What the child that runs queries must have taken from itself.
    pub sandbox: Sandbox,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            explore: Explore::Fraction,
            entity: Entity::Jaccard,
            exact: Exact::String,
            exec_error_penalty: 0,
            result_compare: ResultCompare::Multiset,
            twins_held_out: 0,
            max_interactions: 10,
            rows_shown: 3,
            observation_bytes_max: 1000,
            instructions: true,
            shuffled_results: false,
            limits: Limits::default(),
            sandbox: Sandbox::Full,
        }
    }
}

/// What to do on a machine that cannot confine a child wholly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// Refuse to open the environment.
    Full,
    /// Go on with the layers that there are, and say so.
    Weak,
}

/// Readings of "effective exploration".
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Explore {
    /// E1: 1 where at least one query ran and returned a row.
    Any,
    /// E2: distinct queries that ran, over queries issued; 0 where none was issued.
    Fraction,
    /// E3: share of the gold query's names and literals that the queries or their results name.
    Coverage,
}

/// Overlap of the tables and columns two queries read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entity {
    /// Shared over all.
    Jaccard,
    /// 1 where the sets are equal.
    AllOrNothing,
}

/// Equality of two query texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exact {
    /// Same tokens, case aside outside literals.
    String,
    /// Same syntax tree; same tokens where one of them has none.
    Ast,
}

/// How rows of unordered results are matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResultCompare {
    /// Each row as often as it occurs.
    Multiset,
    /// Each row once.
    Set,
}

/// What one query may cost. All but the last two are counts, so a query that they refuse once is
/// refused always. Time and memory hold in a child only, and are far from what counts let through.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Instructions of SQLite's virtual machine, 1,000 to 10^9; one second is about 5 * 10^7.
    pub steps_max: u64,
    /// Rows of a result, 1 to 10^6.
    pub rows_max: usize,
    /// Bytes of a result, 1,000 to 10^8.
    pub result_bytes_max: usize,
    /// Bytes of one value or row, 1,000 to 10^7. Small, because SQLite counts a comparison of long
    /// texts as one instruction: raise it for databases that store longer ones.
    pub value_bytes_max: usize,
    /// Bytes of a query, 100 to 10^6.
    pub query_bytes_max: usize,
    /// Seconds of the processor's time, 1 to 3600. The kernel counts whole seconds: up to one more
    /// passes. A query that has not ended after ten times that on the wall has no verdict.
    pub seconds_max: u64,
    /// MiB of memory beside what is open, 64 to 10^6.
    pub memory_mib_max: u64,
}

impl Limits {
    /// What holds where nothing else is said, in a recipe and beside one.
    pub const DEFAULT: Limits = Limits {
        steps_max: 10_000_000,
        rows_max: 10_000,
        result_bytes_max: 1_000_000,
        value_bytes_max: 100_000,
        query_bytes_max: 10_000,
        seconds_max: 2,
        memory_mib_max: 1024,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

impl Config {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), EnvError> {
        let limits = &self.limits;
        range("exec_error_penalty", i64::from(self.exec_error_penalty), -1..=0, "0 or -1")?;
        range("max_interactions", self.max_interactions, 0..=1000, "0 to 1000")?;
        range("twins_held_out", self.twins_held_out, 0..=HELD_OUT_MAX, "0 to 4")?;
        range("rows_shown", self.rows_shown, 1..=1000, "1 to 1000")?;
        range("observation_bytes_max", self.observation_bytes_max, 64..=1_000_000, "64 to 10^6")?;
        range("limits.steps_max", limits.steps_max, 1_000..=1_000_000_000, "1,000 to 10^9")?;
        range("limits.rows_max", limits.rows_max, 1..=1_000_000, "1 to 10^6")?;
        range(
            "limits.result_bytes_max",
            limits.result_bytes_max,
            1_000..=100_000_000,
            "1,000 to 10^8",
        )?;
        range(
            "limits.value_bytes_max",
            limits.value_bytes_max,
            1_000..=10_000_000,
            "1,000 to 10^7",
        )?;
        range("limits.query_bytes_max", limits.query_bytes_max, 100..=1_000_000, "100 to 10^6")?;
        range("limits.seconds_max", limits.seconds_max, 1..=3600, "1 to 3600")?;
        range("limits.memory_mib_max", limits.memory_mib_max, 64..=1_000_000, "64 to 10^6")
    }
}

fn range<N: PartialOrd + ToString>(
    name: &'static str,
    got: N,
    allowed: std::ops::RangeInclusive<N>,
    expected: &'static str,
) -> Result<(), EnvError> {
    if allowed.contains(&got) {
        return Ok(());
    }
    Err(EnvError::Setting { name, expected, got: got.to_string() })
}
