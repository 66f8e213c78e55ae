//! `metrics.jsonl`: the metrics of every commit as JSON lines, for `tail -f` and plotting. A copy:
//! it is rebuilt from the record whenever a run is opened for writing, and nothing reads it back.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;

use crate::atomic;
use crate::commit::{CommitInfo, Metrics};
use crate::error::{Result, StoreError};
use crate::reader::RunReader;
use crate::table::Row;

#[derive(Debug)]
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
}

#[derive(Serialize)]
struct Line<'a> {
    commit: u64,
    kind: &'a str,
    stage: u32,
    update: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    metrics: &'a Metrics, // NaN and infinities become null
}

fn line(info: &CommitInfo, metrics: &Metrics) -> String {
    let key = &info.key;
    let line = Line {
        commit: info.head.number,
        kind: key.kind.word(),
        stage: key.stage,
        update: key.update,
        name: &key.name,
        metrics,
    };
    serde_json::to_string(&line).expect("numbers by name serialise") + "\n"
}

impl MetricsFile {
    pub(crate) fn rebuild(path: PathBuf, reader: &RunReader) -> Result<MetricsFile> {
        let mut text = String::new();
        for info in reader.commits()? {
            let metrics = reader.metrics(info.head.number)?;
            if !metrics.is_empty() {
                text.push_str(&line(&info, &metrics));
            }
        }
        atomic::write_file(&path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path);
        Ok(MetricsFile { file: file.map_err(|e| StoreError::io("open", &path, e))?, path })
    }

    /// Adds a commit's metrics, if it has any.
    pub(crate) fn append(&mut self, info: &CommitInfo, rows: &[Row]) -> Result<()> {
        let of_metrics = rows.iter().filter(|row| row.table.name == "metric");
        let metrics = of_metrics
            .map(|row| Ok((row.text("name")?.to_owned(), row.number("value")?)))
            .collect::<Result<Metrics>>()?;
        if metrics.is_empty() {
            return Ok(());
        }
        self.file
            .write_all(line(info, &metrics).as_bytes())
            .map_err(|e| StoreError::io("write", &self.path, e))
    }
}
