//! Reading a record, live or finished. Rows of a commit never change, so every method is one or a
//! few short statements and none holds a transaction between them (INV-17).

use std::path::Path;

use rusqlite::{Connection, params};
use stepwell_tree::{PolicyVersion, Task, TaskHash};

use crate::Digest;
use crate::chain;
use crate::commit::{CommitInfo, CommitKey, Head, Kind, Metrics, Sample};
use crate::decode::{self, ForestRows, StoredTree};
use crate::error::{Result, StoreError, grouped};
use crate::folder;
use crate::sqlite::{open_reader, sqlite_error};
use crate::table::{
    CREDIT, LINEAGE, METRIC, RUN, Row, SAMPLE, STEP, TASK, TREE, TREE_COLUMN, VERDICT,
};
use crate::table::{rows_of, select};
use crate::verify::{self, Verified};

/// A read-only view of one run's record.
#[derive(Debug)]
pub struct RunReader {
    pub(crate) connection: Connection,
}

/// A metric at one commit.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricPoint {
    /// The commit.
    pub commit: u64,
    /// The metric's value there.
    pub value: f64,
}

/// Which checkpoint holds which version of the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LineageRow {
    /// The commit.
    pub commit: u64,
    /// The version of the weights.
    pub version: PolicyVersion,
    /// The checkpoint, where one was written at this version.
    pub checkpoint: Option<u64>,
    /// Digest of the checkpoint's weights; without a checkpoint, of a sum over the weights, where
    /// one was taken.
    pub weights: Option<Digest>,
}

impl RunReader {
    /// Opens the record in a run folder.
    pub fn open(folder: &Path) -> Result<RunReader> {
        let path = folder::record_path(folder)?;
        Ok(RunReader { connection: open_reader(&path)? })
    }

    /// The resolved recipe the run was made with.
    pub fn recipe(&self) -> Result<String> {
        self.fact("recipe")
    }

    /// The version of stepwell that made the run.
    pub fn written_by(&self) -> Result<String> {
        self.fact("written_by")
    }

    /// What the sandbox of the run lacked; `None` where it was whole, or none was needed.
    pub fn weak_sandbox(&self) -> Result<Option<String>> {
        let rows = select(&self.connection, &RUN, "name = ?1", ["sandbox"])?;
        rows.first().map(|row| Ok(row.text("value")?.to_owned())).transpose()
    }

    fn fact(&self, name: &str) -> Result<String> {
        let rows = select(&self.connection, &RUN, "name = ?1", [name])?;
        let missing = || StoreError::corrupt("commit 0, table `run`", format!("no `{name}`"));
        Ok(rows.first().ok_or_else(missing)?.text("value")?.to_owned())
    }

    /// All commits in order.
    pub fn commits(&self) -> Result<Vec<CommitInfo>> {
        let links = chain::links(&self.connection, "true", [])?;
        Ok(links.into_iter().map(|link| link.info).collect())
    }

    /// The newest commit.
    pub fn head(&self) -> Result<Head> {
        Ok(chain::last(&self.connection)?.info.head)
    }

    /// The commit of this name.
    pub fn find(&self, key: &CommitKey) -> Result<Option<CommitInfo>> {
        Ok(chain::find(&self.connection, key)?.map(|link| link.info))
    }

    /// The newest commit of a kind.
    pub fn newest(&self, kind: Kind) -> Result<Option<CommitInfo>> {
        let newest = "number = (SELECT max(number) FROM chain WHERE kind = ?1)";
        let found = chain::links(&self.connection, newest, [kind.word()])?.pop();
        Ok(found.map(|link| link.info))
    }

    /// The trees of an update that was committed before training; `None` where it was not.
    pub fn grown(&self, stage: u32, update: u64) -> Result<Option<Vec<StoredTree>>> {
        let key = CommitKey { kind: Kind::Grown, stage, update, name: String::new() };
        self.find(&key)?.map(|info| self.trees(info.head.number)).transpose()
    }

    /// Trees of a commit, bit for bit as they were committed.
    pub fn trees(&self, commit: u64) -> Result<Vec<StoredTree>> {
        let rows = |table| rows_of(&self.connection, table, commit);
        decode::forest(&ForestRows {
            tree: rows(&TREE)?,
            column: rows(&TREE_COLUMN)?,
            step: rows(&STEP)?,
            verdict: rows(&VERDICT)?,
            credit: rows(&CREDIT)?,
        })
    }

    /// Metrics of a commit.
    pub fn metrics(&self, commit: u64) -> Result<Metrics> {
        let rows = rows_of(&self.connection, &METRIC, commit)?;
        rows.iter().map(|row| Ok((row.text("name")?.to_owned(), row.number("value")?))).collect()
    }

    /// One metric over all commits that have it.
    pub fn metric_series(&self, name: &str) -> Result<Vec<MetricPoint>> {
        let rows = select(&self.connection, &METRIC, "name = ?1", [name])?;
        let point = |row: &Row| {
            Ok(MetricPoint { commit: row.integer("commit_number")?, value: row.number("value")? })
        };
        rows.iter().map(point).collect()
    }

    /// Names of all metrics of the run, in order.
    pub fn metric_names(&self) -> Result<Vec<String>> {
        let failed = |error| sqlite_error("list metrics", error);
        let sql = "SELECT DISTINCT name FROM metric ORDER BY name";
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let names = statement.query_map([], |row| row.get(0)).map_err(failed)?;
        names.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Seconds by name, of a commit. Outside the digest: damage here goes unnoticed.
    pub fn timing(&self, commit: u64) -> Result<Metrics> {
        let failed = |error| sqlite_error("read timing", error);
        let sql = "SELECT name, seconds FROM timing WHERE commit_number = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(failed)?;
        let rows = statement
            .query_map([commit as i64], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(failed)?;
        rows.collect::<rusqlite::Result<_>>().map_err(failed)
    }

    /// Every version of the weights, and the checkpoints that hold one.
    pub fn lineage(&self) -> Result<Vec<LineageRow>> {
        select(&self.connection, &LINEAGE, "true", [])?.iter().map(lineage).collect()
    }

    /// What one commit says of a version; `None` where it says nothing, or is not there.
    pub fn lineage_of(&self, commit: u64) -> Result<Option<LineageRow>> {
        let rows =
            select(&self.connection, &LINEAGE, "commit_number = ?1", params![commit as i64])?;
        rows.first().map(lineage).transpose()
    }

    /// Answers of an evaluation, in the order of its questions.
    pub fn samples(&self, commit: u64) -> Result<Vec<Sample>> {
        rows_of(&self.connection, &SAMPLE, commit)?.iter().map(decode::sample).collect()
    }

    /// All tasks the record names, in the order they came.
    pub fn tasks(&self) -> Result<Vec<Task>> {
        select(&self.connection, &TASK, "true", [])?.iter().map(task).collect()
    }

    /// The tasks of one commit, in their order: those that no commit before it names.
    pub fn tasks_of(&self, commit: u64) -> Result<Vec<Task>> {
        let rows = select(&self.connection, &TASK, "commit_number = ?1", params![commit as i64])?;
        rows.iter().map(task).collect()
    }

    /// A task by its identity.
    pub fn task(&self, hash: &TaskHash) -> Result<Option<Task>> {
        let rows = select(&self.connection, &TASK, "hash = ?1", params![hash.0])?;
        rows.first().map(task).transpose()
    }

    /// Recomputes every digest of the record and names the first row or commit that differs.
    pub fn verify(&self) -> Result<Verified> {
        verify::verify(self)
    }

    /// Checks that the record still holds the commit a checkpoint builds on. `checkpoint` names
    /// it in the error: `checkpoint 000040`.
    pub fn require(&self, checkpoint: &str, needed: Head) -> Result<()> {
        let last = self.head()?;
        if last.number < needed.number {
            return Err(StoreError::Truncated {
                last: grouped(last.number),
                checkpoint: checkpoint.to_owned(),
                needed: grouped(needed.number),
                missing: grouped(needed.number - last.number),
            });
        }
        let found = chain::links(&self.connection, "number = ?1", [needed.number as i64])?.pop();
        let missing =
            || StoreError::corrupt(format!("commit {}", grouped(needed.number)), "missing");
        let got = found.ok_or_else(missing)?.info.head.digest;
        if got != needed.digest {
            return Err(StoreError::OtherRecord {
                checkpoint: checkpoint.to_owned(),
                number: grouped(needed.number),
                got: got.to_string(),
                expected: needed.digest.to_string(),
            });
        }
        Ok(())
    }
}

fn lineage(row: &Row) -> Result<LineageRow> {
    let (saved, told) = (!row.is_null("checkpoint"), !row.is_null("weights"));
    Ok(LineageRow {
        commit: row.integer("commit_number")?,
        version: PolicyVersion(row.integer("version")?),
        checkpoint: saved.then(|| row.integer("checkpoint")).transpose()?,
        weights: told.then(|| row.hash("weights").map(Digest)).transpose()?,
    })
}

fn task(row: &Row) -> Result<Task> {
    let fields = serde_json::from_str(row.text("fields")?)
        .map_err(|_| row.invalid("fields", "texts by name"))?;
    let task =
        Task { id: row.text("id")?.to_owned(), question: row.text("question")?.to_owned(), fields };
    if task.hash().0 != row.hash("hash")? {
        return Err(row.invalid("hash", "the hash of the task's content"));
    }
    Ok(task)
}
