//! Copies of a record for other tools. Nothing reads them back.

mod jsonl;
mod parquet;
mod words;

pub use jsonl::{Lines, export_jsonl};
pub use parquet::export_parquet;
