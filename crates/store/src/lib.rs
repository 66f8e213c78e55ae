//! The run folder: record, checkpoints, exports. The only crate that writes under it (INV-14).
//!
//! [`RunFolder`] is the right to write a run, [`RunFiles`] what anybody may read of one; [`Record`]
//! takes its commits, each one transaction of SQLite and one link of a chain of digests;
//! [`RunReader`] reads them back bit for bit, while the run goes on or years later. [`Checkpoint`]s
//! are folders that are whole or absent. The format is described in docs/FORMAT.md; formats of
//! others are used where good ones exist.

mod atomic;
mod cell;
mod chain;
mod checkpoint;
mod commit;
mod decode;
mod digest;
mod disk;
mod encode;
mod error;
mod export;
mod files;
mod folder;
mod lock;
mod manifest;
mod metrics_file;
mod reader;
mod record;
mod runs;
mod schema;
mod sqlite;
#[doc(hidden)]
pub mod strangers;
mod table;
mod tensors;
mod verify;

pub use atomic::write_file;
pub use checkpoint::STATE_BYTES_MAX;
pub use checkpoint::{
    Checkpoint, Content, Skipped, keep_last, newest_number, newest_valid, retain,
};
pub use commit::{
    CommitInfo, CommitKey, Evaluation, Grown, Head, Kind, Lineage, Metrics, Novelty, Receipt,
    Sample, Updated,
};
pub use decode::StoredTree;
pub use digest::Digest;
pub use error::{Result, StoreError};
pub use export::{
    EventFile, Lines, MetricCursor, MetricRow, Shape, export_csv, export_jsonl, export_parquet,
};
pub use files::RunFiles;
pub use folder::RunFolder;
pub use manifest::BYTES_MAX as MANIFEST_BYTES_MAX;
pub use reader::{LineageRow, MetricPoint, RunReader};
pub use record::{Closing, Record};
pub use runs::{RunState, RunSummary, is_running, list_runs};
pub use tensors::{Tensor, tensors_from_bytes, tensors_to_bytes};
pub use verify::Verified;

/// What writes: named in records and checkpoints.
pub const VERSION: &str = concat!("stepwell ", env!("CARGO_PKG_VERSION"));
