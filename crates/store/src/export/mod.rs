//! Copies of a record for other tools. Nothing reads them back.

mod jsonl;
mod metrics;
mod parquet;
mod tensorboard;
mod words;

pub use jsonl::{Lines, export_jsonl};
pub use metrics::{MetricCursor, MetricRow, Shape, export_csv};
pub use parquet::export_parquet;
pub use tensorboard::EventFile;
