//! A record as one Parquet table of steps, a row group per commit that holds trees.

use std::io::Write;
use std::sync::Arc;

use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use stepwell_tree::{StepId, Verdict};

use super::words;
use crate::commit::CommitInfo;
use crate::decode::StoredTree;
use crate::error::{Result, StoreError};
use crate::reader::RunReader;

/// Columns in the order in which `write_group` fills them.
const SCHEMA: &str = "
message step {
  REQUIRED INT64 commit;
  REQUIRED BYTE_ARRAY kind (STRING);
  REQUIRED INT64 stage;
  REQUIRED INT64 update;
  REQUIRED INT64 tree;
  REQUIRED INT64 step;
  REQUIRED INT64 parent;
  REQUIRED INT64 child_index;
  REQUIRED BYTE_ARRAY task (STRING);
  OPTIONAL BYTE_ARRAY task_id (STRING);
  REQUIRED BYTE_ARRAY origin (STRING);
  OPTIONAL INT64 version;
  REQUIRED BYTE_ARRAY stop (STRING);
  OPTIONAL BYTE_ARRAY text (STRING);
  REQUIRED GROUP tokens (LIST) {
    REPEATED GROUP list { REQUIRED INT32 element (INTEGER(32, false)); }
  }
  REQUIRED GROUP logprobs (LIST) { REPEATED GROUP list { REQUIRED FLOAT element; } }
  OPTIONAL DOUBLE reward;
  OPTIONAL BYTE_ARRAY unscored (STRING);
  OPTIONAL DOUBLE credit;
}";

/// A step, its tree and its tree's task.
struct StepRow<'a> {
    number: usize,
    task_id: &'a Option<String>,
    stored: &'a StoredTree,
    step: StepId,
}

/// Writes every step of the run, in the order of commits, and returns the number of rows.
pub fn export_parquet(reader: &RunReader, out: impl Write + Send) -> Result<u64> {
    let failed = |error: ParquetError| StoreError::Export { what: error.to_string() };
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed)?);
    let properties = WriterProperties::builder().set_created_by(crate::VERSION.to_owned()).build();
    let mut writer =
        SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(failed)?;
    let mut written = 0;
    for info in reader.commits()? {
        let trees = reader.trees(info.head.number)?;
        let task_id = |stored: &StoredTree| Ok(reader.task(&stored.tree.task)?.map(|task| task.id));
        let task_ids = trees.iter().map(task_id).collect::<Result<Vec<Option<String>>>>()?;
        let rows: Vec<StepRow<'_>> = trees
            .iter()
            .zip(&task_ids)
            .enumerate()
            .flat_map(|(number, (stored, task_id))| {
                let steps = 0..stored.tree.len() as u32;
                steps.map(move |i| StepRow { number, task_id, stored, step: StepId(i) })
            })
            .collect();
        if rows.is_empty() {
            continue;
        }
        let mut group = writer.next_row_group().map_err(failed)?;
        write_group(&mut group, &info, &rows).map_err(failed)?;
        group.close().map_err(failed)?;
        written += rows.len() as u64;
    }
    writer.close().map_err(failed)?;
    Ok(written)
}

fn write_group<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    info: &CommitInfo,
    rows: &[StepRow<'_>],
) -> Result<(), ParquetError> {
    let key = &info.key;
    let text = |text: &str| ByteArray::from(text);
    required::<Int64Type, _>(group, rows, |_| info.head.number as i64)?;
    required::<ByteArrayType, _>(group, rows, |_| text(key.kind.word()))?;
    required::<Int64Type, _>(group, rows, |_| i64::from(key.stage))?;
    required::<Int64Type, _>(group, rows, |_| key.update as i64)?;
    required::<Int64Type, _>(group, rows, |row| row.number as i64)?;
    required::<Int64Type, _>(group, rows, |row| i64::from(row.step.0))?;
    required::<Int64Type, _>(group, rows, |row| i64::from(row.stored.tree.parent[row.at()].0))?;
    required::<Int64Type, _>(group, rows, |row| i64::from(row.stored.tree.child_index[row.at()]))?;
    required::<ByteArrayType, _>(group, rows, |row| text(&words::task(row.stored.tree.task)))?;
    optional::<ByteArrayType, _>(group, rows, |row| row.task_id.as_deref().map(text))?;
    required::<ByteArrayType, _>(group, rows, |row| text(row.origin().0))?;
    optional::<Int64Type, _>(group, rows, |row| row.origin().1.map(|version| version as i64))?;
    required::<ByteArrayType, _>(group, rows, |row| {
        text(words::stop(row.stored.tree.stop[row.at()]))
    })?;
    optional::<ByteArrayType, _>(group, rows, |row| {
        row.stored.text[row.at()].as_deref().map(text)
    })?;
    // Parquet has no unsigned type of its own: the same bits, annotated.
    list::<Int32Type, _>(group, rows, |row| {
        row.stored.tree.tokens(row.step).iter().map(|token| *token as i32).collect()
    })?;
    list::<FloatType, _>(group, rows, |row| row.stored.tree.logprobs(row.step).to_vec())?;
    optional::<DoubleType, _>(group, rows, |row| row.verdict().reward())?;
    optional::<ByteArrayType, _>(group, rows, |row| match row.verdict() {
        Verdict::Unscored(reason) => Some(text(reason.label())),
        Verdict::Pending | Verdict::Scored { .. } => None,
    })?;
    optional::<DoubleType, _>(group, rows, |row| row.stored.credit.as_ref()?.step[row.at()])
}

impl StepRow<'_> {
    fn at(&self) -> usize {
        self.step.index()
    }

    fn origin(&self) -> (&'static str, Option<u64>) {
        words::origin(self.stored.tree.origin[self.at()])
    }

    fn verdict(&self) -> &Verdict {
        &self.stored.tree.verdict[self.at()]
    }
}

/// Values of one column with their definition and repetition levels.
struct Column<T: DataType> {
    values: Vec<T::T>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

fn write<W: Write + Send, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    column: &Column<T>,
) -> Result<(), ParquetError> {
    let mut writer = group.next_column()?.expect("the schema has a column for every call");
    let (values, definition) = (&column.values, levels(&column.definition));
    writer.typed::<T>().write_batch(values, definition, levels(&column.repetition))?;
    writer.close()
}

/// A column that cannot be null, or does not repeat, has no levels.
fn levels(levels: &[i16]) -> Option<&[i16]> {
    (!levels.is_empty()).then_some(levels)
}

fn required<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[StepRow<'_>],
    value: impl Fn(&StepRow<'_>) -> T::T,
) -> Result<(), ParquetError> {
    let values = rows.iter().map(value).collect();
    write(group, &Column::<T> { values, definition: Vec::new(), repetition: Vec::new() })
}

/// Level 1 where there is a value, 0 where there is none.
fn optional<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[StepRow<'_>],
    value: impl Fn(&StepRow<'_>) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let values: Vec<Option<T::T>> = rows.iter().map(value).collect();
    let definition = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values = values.into_iter().flatten().collect();
    write(group, &Column::<T> { values, definition, repetition: Vec::new() })
}

/// An empty list is one entry of definition level 0; in any other, the first element has
/// repetition level 0 and the rest 1.
fn list<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[StepRow<'_>],
    elements: impl Fn(&StepRow<'_>) -> Vec<T::T>,
) -> Result<(), ParquetError> {
    let mut column =
        Column::<T> { values: Vec::new(), definition: Vec::new(), repetition: Vec::new() };
    for row in rows {
        let elements = elements(row);
        let entries = elements.len().max(1);
        let level = i16::from(!elements.is_empty());
        column.definition.extend(std::iter::repeat_n(level, entries));
        column.repetition.extend((0..entries).map(|i| i16::from(i > 0)));
        column.values.extend(elements);
    }
    write(group, &column)
}
