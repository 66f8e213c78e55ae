//! The metrics of a record in the order of commits, as a table: what CSV and TensorBoard show.

use std::io::Write;

use crate::commit::{CommitInfo, Kind, Metrics};
use crate::error::{Result, StoreError};
use crate::reader::RunReader;

/// The metrics of one commit.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricRow {
    /// The commit: an update or an evaluation. What trees say of themselves stands in the update.
    pub commit: CommitInfo,
    /// Optimizer updates of the whole run before the numbers were taken.
    pub step: u64,
    /// Seconds that the run had spent so far, of updates and evaluations.
    pub seconds: f64,
    /// Numbers by name.
    pub metrics: Metrics,
}

/// Reads a record from where it stopped reading, so that a run can be followed.
#[derive(Clone, Debug, Default)]
pub struct MetricCursor {
    commits: usize,
    step: u64,
    seconds: f64,
}

impl MetricCursor {
    /// What was committed since the last call.
    pub fn read(&mut self, reader: &RunReader) -> Result<Vec<MetricRow>> {
        let commits = reader.commits()?;
        let mut rows = Vec::new();
        for commit in commits.into_iter().skip(self.commits) {
            self.commits += 1;
            if !matches!(commit.key.kind, Kind::Updated | Kind::Evaluated) {
                continue;
            }
            let number = commit.head.number;
            self.seconds += reader.timing(number)?.values().sum::<f64>();
            let (step, updated) = (self.step, commit.key.kind == Kind::Updated);
            let metrics = reader.metrics(number)?;
            rows.push(MetricRow { commit, step, seconds: self.seconds, metrics });
            self.step += u64::from(updated);
        }
        Ok(rows)
    }
}

/// How numbers stand in a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// A row per commit, a column per metric; empty where a commit has no such metric.
    Wide,
    /// A row per number.
    Long,
}

/// Columns that name a row.
const NAMES: &str = "commit,kind,stage,update,name,step,seconds";

/// Writes every number of the run as comma-separated values (RFC 4180, lines end with a newline)
/// and returns the number of rows. Numbers read back exactly; those that are not finite are `NaN`,
/// `inf` and `-inf`.
pub fn export_csv(reader: &RunReader, shape: Shape, out: &mut dyn Write) -> Result<u64> {
    let rows = MetricCursor::default().read(reader)?;
    let lines = match shape {
        Shape::Wide => wide(&rows),
        Shape::Long => long(&rows),
    };
    for line in &lines {
        out.write_all(line.as_bytes())
            .and_then(|()| out.write_all(b"\n"))
            .map_err(|error| StoreError::Export { what: error.to_string() })?;
    }
    Ok(lines.len() as u64 - 1)
}

fn wide(rows: &[MetricRow]) -> Vec<String> {
    let mut columns: Vec<&str> =
        rows.iter().flat_map(|row| row.metrics.keys().map(String::as_str)).collect();
    columns.sort_unstable();
    columns.dedup();
    let head = columns.iter().fold(NAMES.to_owned(), |head, name| head + "," + &quoted(name));
    let line = |row: &MetricRow| {
        columns.iter().fold(named(row), |line, name| {
            let value = row.metrics.get(*name).map(|value| format!("{value:?}"));
            line + "," + &value.unwrap_or_default()
        })
    };
    std::iter::once(head).chain(rows.iter().map(line)).collect()
}

fn long(rows: &[MetricRow]) -> Vec<String> {
    let line = |row: &MetricRow| {
        let one =
            |(name, value): (&String, &f64)| format!("{},{},{value:?}", named(row), quoted(name));
        row.metrics.iter().map(one).collect::<Vec<_>>()
    };
    std::iter::once(format!("{NAMES},metric,value")).chain(rows.iter().flat_map(line)).collect()
}

fn named(row: &MetricRow) -> String {
    let key = &row.commit.key;
    let (number, kind, name) = (row.commit.head.number, key.kind.word(), quoted(&key.name));
    let (stage, update, step, seconds) = (key.stage, key.update, row.step, row.seconds);
    format!("{number},{kind},{stage},{update},{name},{step},{seconds:?}")
}

/// A text as one field.
fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_that_would_break_the_table_is_quoted() {
        assert_eq!(quoted("part/exec"), "part/exec");
        assert_eq!(quoted("a,\"b\"\n"), "\"a,\"\"b\"\"\n\"");
    }
}
