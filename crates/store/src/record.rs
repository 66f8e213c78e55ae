//! The one writer of a run's record: one transaction per commit, chained, never changed.

use std::path::PathBuf;
use std::sync::Arc;

use stepwell_tree::{Task, TaskHash};

use crate::cell::Cell;
use crate::chain::{self, Link};
use crate::commit::{
    CommitInfo, CommitKey, Evaluation, Grown, Head, Kind, Lineage, Metrics, Novelty, Receipt,
    Updated,
};
use crate::encode::{Forest, integer, metric_rows, sample_rows};
use crate::error::{Result, StoreError, grouped};
use crate::lock::RunLock;
use crate::metrics_file::MetricsFile;
use crate::reader::RunReader;
use crate::sqlite::{open_writer, pragma, sqlite_error};
use crate::table::{LINEAGE, Row, TASK, insert};

/// The record, open for writing. Holds the run's lock for as long as it lives.
#[derive(Debug)]
pub struct Record {
    reader: RunReader,
    head: Head,
    metrics_file: MetricsFile,
    /// Set by the first failed write. After one, pages may be marked clean that never reached the
    /// disk (Rebello et al. 2020): nothing is retried, recovery happens at the next opening.
    poison: Option<String>,
    _lock: Arc<RunLock>,
}

/// How a record was left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closing {
    /// `run.sqlite` is one plain file, which opens from read-only media.
    OneFile,
    /// A reader is still there, so `-wal` and `-shm` stay beside it.
    SideFilesStay,
}

impl Record {
    pub(crate) fn open(path: PathBuf, metrics: PathBuf, lock: Arc<RunLock>) -> Result<Record> {
        let reader = RunReader { connection: open_writer(&path)? };
        let head = reader.head()?;
        let metrics_file = MetricsFile::rebuild(metrics, &reader)?;
        Ok(Record { reader, head, metrics_file, poison: None, _lock: lock })
    }

    /// Everything that can be read of a record.
    pub fn read(&self) -> &RunReader {
        &self.reader
    }

    /// The newest commit: what a checkpoint written at this moment builds on.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Commits tasks, so that trees may name them; those the record knows are left out.
    pub fn commit_tasks(&mut self, stage: u32, name: &str, tasks: &[Task]) -> Result<Receipt> {
        let key = CommitKey { kind: Kind::Tasks, stage, update: 0, name: name.to_owned() };
        self.commit(key, None, |reader, number| task_rows(reader, number, tasks))
    }

    /// Commits the trees of an update, before anything trains on them.
    pub fn commit_grown(&mut self, grown: &Grown<'_>) -> Result<Receipt> {
        let (stage, update) = (grown.stage, grown.update);
        let key = CommitKey { kind: Kind::Grown, stage, update, name: String::new() };
        let forest = Forest { trees: grown.trees, texts: grown.texts, credits: grown.credits };
        self.commit(key.clone(), grown.timing, |reader, number| {
            let mut rows = forest_rows(reader, number, &key, forest)?;
            rows.extend(grown.metrics.iter().flat_map(|metrics| metric_rows(number, metrics)));
            Ok(rows)
        })
    }

    /// Commits an optimizer step that is done.
    pub fn commit_updated(&mut self, updated: &Updated<'_>) -> Result<Receipt> {
        let (stage, update) = (updated.stage, updated.update);
        let key = CommitKey { kind: Kind::Updated, stage, update, name: String::new() };
        self.commit(key, updated.timing, |reader, number| {
            let mut rows = metric_rows(number, updated.metrics);
            let version = integer(updated.version.0);
            // A record that was begun before updates held a sum of the weights has none to compare.
            let untold = reader.lineage_of(number)?.is_some_and(|row| row.weights.is_none());
            let weights = updated.weights.filter(|_| !untold);
            let weights = weights.map(|digest| Cell::Blob(digest.0.to_vec()));
            let cells = vec![integer(number), version, Cell::Null, Cell::optional(weights)];
            rows.push(Row::new(&LINEAGE, cells));
            Ok(rows)
        })
    }

    /// Commits answers to held-out tasks.
    pub fn commit_evaluation(&mut self, evaluation: &Evaluation<'_>) -> Result<Receipt> {
        let (stage, update, name) = (evaluation.stage, evaluation.update, evaluation.name);
        let key = CommitKey { kind: Kind::Evaluated, stage, update, name: name.to_owned() };
        let forest = Forest { trees: evaluation.trees, texts: evaluation.texts, credits: &[] };
        self.commit(key.clone(), evaluation.timing, |reader, number| {
            let mut rows = forest_rows(reader, number, &key, forest)?;
            rows.extend(metric_rows(number, evaluation.metrics));
            let asked = evaluation.samples.iter().map(|sample| sample.task);
            know_tasks(reader, number, &key, asked)?;
            let samples = sample_rows(number, evaluation.samples);
            rows.extend(samples.map_err(|what| refused(&key, what))?);
            Ok(rows)
        })
    }

    /// Commits which weights the checkpoint that is about to be written holds.
    pub fn commit_lineage(&mut self, lineage: &Lineage) -> Result<Receipt> {
        let (stage, update) = (lineage.stage, lineage.update);
        let name = format!("{:06}", lineage.checkpoint);
        let key = CommitKey { kind: Kind::Lineage, stage, update, name };
        self.commit(key, None, |_, number| {
            let weights = Cell::Blob(lineage.weights.0.to_vec());
            let (version, checkpoint) = (integer(lineage.version.0), integer(lineage.checkpoint));
            Ok(vec![Row::new(&LINEAGE, vec![integer(number), version, checkpoint, weights])])
        })
    }

    /// Commits that the recipe is done.
    pub fn finish(&mut self) -> Result<Receipt> {
        let key = CommitKey { kind: Kind::Finished, stage: 0, update: 0, name: String::new() };
        self.commit(key, None, |_, _| Ok(Vec::new()))
    }

    /// Ends writing and leaves one plain file behind, if no reader is in the way.
    pub fn close(self) -> Result<Closing> {
        let connection = self.reader.connection;
        // A reader in the way is no failure: recovery by the next opening is the normal case.
        let _ = connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()));
        let mode = pragma(&connection, "journal_mode")
            .map_err(|error| sqlite_error("close the record", error))?;
        Ok(if mode == "delete" { Closing::OneFile } else { Closing::SideFilesStay })
    }

    /// Appends a commit, or compares it with the one of the same name that is there already.
    fn commit(
        &mut self,
        key: CommitKey,
        timing: Option<&Metrics>,
        rows: impl FnOnce(&RunReader, u64) -> Result<Vec<Row>>,
    ) -> Result<Receipt> {
        if let Some(cause) = &self.poison {
            return Err(StoreError::Poisoned { cause: cause.clone() });
        }
        if let Some(link) = chain::find(&self.reader.connection, &key)? {
            let rows = rows(&self.reader, link.info.head.number)?;
            return self.repeat(&link, &rows);
        }
        let number = self.head.number + 1;
        let rows = rows(&self.reader, number)?;
        let digest = chain::digest(self.head.digest, number, &key, &rows);
        let info = CommitInfo { head: Head { number, digest }, key };
        self.write(&info, &rows, timing).inspect_err(|error| {
            // Waiting for a lock wrote nothing; any other failure may have.
            if !matches!(error, StoreError::Locked { .. }) {
                self.poison = Some(error.to_string());
            }
        })?;
        self.head = info.head;
        self.metrics_file.append(&info, &rows)?;
        Ok(Receipt { head: info.head, novelty: Novelty::New })
    }

    /// A resumed run commits again what it had committed: it must be the same.
    fn repeat(&self, link: &Link, rows: &[Row]) -> Result<Receipt> {
        let head = link.info.head;
        let digest = chain::digest(link.previous, head.number, &link.info.key, rows);
        if digest == head.digest {
            return Ok(Receipt { head, novelty: Novelty::Repeated });
        }
        let recorded = chain::rows(&self.reader.connection, head.number)?;
        Err(StoreError::Diverged {
            number: grouped(head.number),
            key: link.info.key.to_string(),
            difference: chain::first_difference(&recorded, rows),
        })
    }

    /// One transaction; when it returns, the commit is on the disk.
    fn write(&mut self, info: &CommitInfo, rows: &[Row], timing: Option<&Metrics>) -> Result<()> {
        use rusqlite::{Transaction, TransactionBehavior};
        let failed = |error| sqlite_error("commit", error);
        let connection = &self.reader.connection;
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
            .map_err(failed)?;
        insert(&transaction, rows).map_err(failed)?;
        for (name, seconds) in timing.into_iter().flatten() {
            transaction
                .prepare_cached("INSERT INTO timing VALUES (?1, ?2, ?3)")
                .and_then(|mut insert| {
                    insert.execute(rusqlite::params![info.head.number as i64, name, seconds])
                })
                .map_err(failed)?;
        }
        chain::append(&transaction, info, self.head.digest).map_err(failed)?;
        transaction.commit().map_err(failed)
    }
}

fn refused(key: &CommitKey, what: String) -> StoreError {
    StoreError::Refused { key: key.to_string(), what }
}

fn forest_rows(
    reader: &RunReader,
    number: u64,
    key: &CommitKey,
    forest: Forest<'_>,
) -> Result<Vec<Row>> {
    forest.check().map_err(|what| refused(key, what))?;
    know_tasks(reader, number, key, forest.trees.iter().map(|tree| tree.task))?;
    Ok(forest.rows(number))
}

/// SQLite would refuse an unknown task too, without saying which.
fn know_tasks(
    reader: &RunReader,
    number: u64,
    key: &CommitKey,
    tasks: impl Iterator<Item = TaskHash>,
) -> Result<()> {
    for (i, task) in tasks.enumerate() {
        if !chain::has_task(&reader.connection, &task.0, number)? {
            let what =
                format!("entry {i} names task {task}, which no commit holds; commit it first");
            return Err(refused(key, what));
        }
    }
    Ok(())
}

fn task_rows(reader: &RunReader, number: u64, tasks: &[Task]) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for task in tasks {
        let hash = task.hash();
        // Two tasks of equal content are one task.
        if !seen.insert(hash) || chain::has_task(&reader.connection, &hash.0, number)? {
            continue;
        }
        let fields = serde_json::to_string(&task.fields).expect("a map of texts serialises");
        let position = integer(rows.len() as u64);
        let hash = Cell::Blob(hash.0.to_vec());
        let [id, question] = [&task.id, &task.question].map(|text| Cell::text(text));
        let cells = vec![integer(number), position, hash, id, question, Cell::Text(fields)];
        rows.push(Row::new(&TASK, cells));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grown, Novelty, RunFolder};

    #[test]
    fn p10_an_acknowledged_commit_is_on_the_disk_before_it_is_acknowledged() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&place.path().join("run"), "").unwrap();
        let record = folder.record().unwrap();
        let set = |name: &str| pragma(&record.reader.connection, name).unwrap();
        assert_eq!((set("journal_mode").as_str(), set("synchronous").as_str()), ("wal", "2"));
        assert_eq!((set("foreign_keys").as_str(), set("recursive_triggers").as_str()), ("1", "1"));
    }

    #[test]
    fn p10_after_a_full_disk_nothing_is_retried_and_nothing_is_half_written() {
        let place = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(&place.path().join("run"), "").unwrap();
        let mut record = folder.record().unwrap();
        let fields = std::collections::BTreeMap::from([("gold".to_owned(), "x".repeat(100_000))]);
        let task = Task { id: "t".to_owned(), question: "q".to_owned(), fields };
        // SQLite's own limit of pages, here today's size, gives the error of a full disk.
        let pages = "PRAGMA max_page_count = 1";
        record.reader.connection.query_row(pages, [], |_| Ok(())).unwrap();
        let before = record.head();
        let error = record.commit_tasks(0, "train", std::slice::from_ref(&task)).unwrap_err();
        let full = "cannot write `run.sqlite`: no space left; free space and resume";
        assert_eq!(error.to_string(), full);
        let error = record.commit_grown(&Grown::default()).unwrap_err().to_string();
        let poisoned = format!("the record takes no more commits after: {full}; end the process");
        assert!(error.starts_with(&poisoned), "{error}");
        drop(record);
        // Space was freed, the run resumed.
        let mut record = folder.record().unwrap();
        assert_eq!(record.head(), before);
        record.read().verify().unwrap();
        assert_eq!(record.commit_tasks(0, "train", &[task]).unwrap().novelty, Novelty::New);
    }
}
