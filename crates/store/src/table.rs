//! The tables under the digest, and rows as lists of cells: inserting, reading back, comparing.

use rusqlite::{Connection, Params, params_from_iter};

use crate::cell::{Cell, Numbers, from_blob};
use crate::digest::{Digest, PieceHasher};
use crate::error::{Result, StoreError, grouped};
use crate::sqlite::sqlite_error;

/// A table whose rows are digested; columns in the schema's order, the digest itself left out.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [&'static str],
    /// How many of the first columns name the row.
    pub(crate) key: usize,
}

macro_rules! table {
    ($constant:ident, $name:literal, $key:literal, [$($column:literal),*]) => {
        pub(crate) static $constant: Table =
            Table { name: $name, columns: &["commit_number", $($column),*], key: $key };
    };
}
table!(RUN, "run", 2, ["name", "value"]);
table!(TASK, "task", 2, ["position", "hash", "id", "question", "fields"]);
table!(TREE, "tree", 2, ["tree", "task", "credit", "token_credit"]);
table!(TREE_COLUMN, "tree_column", 4, ["tree", "axis", "name", "value"]);
table!(
    STEP,
    "step",
    3,
    [
        "tree",
        "step",
        "parent",
        "child_index",
        "origin",
        "version",
        "stop",
        "tokens",
        "logprobs",
        "text"
    ]
);
table!(
    VERDICT,
    "verdict",
    3,
    ["tree", "step", "outcome", "reward", "reward_shown", "parts", "reason", "detail"]
);
table!(CREDIT, "credit", 3, ["tree", "step", "value", "value_shown"]);
table!(METRIC, "metric", 2, ["name", "value", "value_shown"]);
table!(LINEAGE, "lineage", 2, ["version", "checkpoint", "weights"]);
table!(
    SAMPLE,
    "sample",
    2,
    [
        "position",
        "task",
        "answer",
        "outcome",
        "reward",
        "reward_shown",
        "parts",
        "reason",
        "detail"
    ]
);

/// All of them, in the order in which a commit's digest reads them; parents before children.
pub(crate) static TABLES: [&Table; 10] =
    [&RUN, &TASK, &TREE, &TREE_COLUMN, &STEP, &VERDICT, &CREDIT, &METRIC, &LINEAGE, &SAMPLE];

/// A row without its digest.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) table: &'static Table,
    pub(crate) cells: Vec<Cell>,
}

impl Row {
    pub(crate) fn new(table: &'static Table, cells: Vec<Cell>) -> Row {
        assert_eq!(cells.len(), table.columns.len(), "cells of a `{}` row", table.name);
        Row { table, cells }
    }

    /// The digest covers the table's name and every column, the commit's number among them: a row
    /// moved to another commit is not the same row.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = PieceHasher::new("stepwell row 1");
        hasher.put(self.table.name.as_bytes());
        self.cells.iter().for_each(|cell| cell.digest_into(&mut hasher));
        hasher.finish()
    }

    /// Where the row is, for people: ``commit 1,902, table `step`, tree 118, step 4``.
    pub(crate) fn place(&self) -> String {
        let mut place = format!("commit {}, table `{}`", shown(&self.cells[0]), self.table.name);
        for (column, cell) in
            self.table.columns.iter().zip(&self.cells).take(self.table.key).skip(1)
        {
            place.push_str(&format!(", {column} {}", shown(cell)));
        }
        place
    }

    fn cell(&self, column: &str) -> &Cell {
        let at = self.table.columns.iter().position(|name| *name == column);
        &self.cells[at.expect("columns are named as in the table's list")]
    }

    fn wrong(&self, column: &str, expected: &str) -> StoreError {
        let got = shown(self.cell(column));
        StoreError::corrupt(
            self.place(),
            format!("column `{column}`: got {got}, expected {expected}"),
        )
    }

    pub(crate) fn integer(&self, column: &str) -> Result<u64> {
        match self.cell(column) {
            Cell::Integer(i) if *i >= 0 => Ok(*i as u64),
            _ => Err(self.wrong(column, "a whole number")),
        }
    }

    pub(crate) fn index(&self, column: &str) -> Result<u32> {
        u32::try_from(self.integer(column)?).map_err(|_| self.wrong(column, "a 32-bit index"))
    }

    pub(crate) fn text(&self, column: &str) -> Result<&str> {
        self.text_or_null(column)?.ok_or_else(|| self.wrong(column, "text"))
    }

    pub(crate) fn text_or_null(&self, column: &str) -> Result<Option<&str>> {
        match self.cell(column) {
            Cell::Text(text) => Ok(Some(text)),
            Cell::Null => Ok(None),
            _ => Err(self.wrong(column, "text")),
        }
    }

    pub(crate) fn is_null(&self, column: &str) -> bool {
        *self.cell(column) == Cell::Null
    }

    pub(crate) fn numbers<N: Numbers>(&self, column: &str) -> Result<Vec<N>> {
        match self.cell(column) {
            Cell::Blob(blob) => from_blob(blob),
            _ => None,
        }
        .ok_or_else(|| self.wrong(column, "an array of numbers"))
    }

    pub(crate) fn number(&self, column: &str) -> Result<f64> {
        match self.numbers(column)?.as_slice() {
            [number] => Ok(*number),
            _ => Err(self.wrong(column, "one number")),
        }
    }

    pub(crate) fn hash(&self, column: &str) -> Result<[u8; 32]> {
        match self.cell(column) {
            Cell::Blob(blob) => blob.as_slice().try_into().ok(),
            _ => None,
        }
        .ok_or_else(|| self.wrong(column, "32 bytes"))
    }

    /// A column that holds one of a few words.
    pub(crate) fn word<T: Copy>(&self, column: &str, words: &[(&'static str, T)]) -> Result<T> {
        let text = self.text(column)?;
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| self.wrong(column, "a word of the format"))
    }

    pub(crate) fn invalid(&self, column: &str, expected: &str) -> StoreError {
        self.wrong(column, expected)
    }
}

fn shown(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(i) if *i >= 0 => grouped(*i as u64),
        Cell::Integer(i) => i.to_string(),
        Cell::Real(r) => r.to_string(),
        Cell::Text(text) => format!("`{}`", text.chars().take(40).collect::<String>()),
        Cell::Blob(blob) => format!("{} bytes", blob.len()),
    }
}

/// Writes rows with their digests, inside the caller's transaction.
pub(crate) fn insert(connection: &Connection, rows: &[Row]) -> rusqlite::Result<()> {
    for row in rows {
        let places: Vec<String> = (1..=row.cells.len() + 1).map(|i| format!("?{i}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}, digest) VALUES ({})",
            row.table.name,
            row.table.columns.join(", "),
            places.join(", ")
        );
        let digest = Cell::Blob(row.digest().0.to_vec());
        let mut statement = connection.prepare_cached(&sql)?;
        statement.execute(params_from_iter(row.cells.iter().chain([&digest])))?;
    }
    Ok(())
}

/// Reads rows in the order of their key, and refuses the first whose digest differs. `condition`
/// goes behind WHERE.
pub(crate) fn select(
    connection: &Connection,
    table: &'static Table,
    condition: &str,
    params: impl Params,
) -> Result<Vec<Row>> {
    let sql = format!(
        "SELECT {}, digest FROM {} WHERE {condition} ORDER BY {}",
        table.columns.join(", "),
        table.name,
        table.columns[..table.key].join(", ")
    );
    let failed = |error| sqlite_error("read the record", error);
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let mut found = statement.query(params).map_err(failed)?;
    let mut rows = Vec::new();
    while let Some(stored) = found.next().map_err(failed)? {
        let mut cells = Vec::with_capacity(table.columns.len() + 1);
        for i in 0..=table.columns.len() {
            let value = stored.get_ref(i).map_err(failed)?;
            // Text that is not UTF-8 cannot be what was written; the digest will say so.
            cells.push(Cell::read(value).unwrap_or(Cell::Null));
        }
        let digest = cells.pop();
        let row = Row::new(table, cells);
        if digest != Some(Cell::Blob(row.digest().0.to_vec())) {
            return Err(StoreError::corrupt(row.place(), "digest differs"));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Reads a table's rows of one commit.
pub(crate) fn rows_of(
    connection: &Connection,
    table: &'static Table,
    commit: u64,
) -> Result<Vec<Row>> {
    select(connection, table, "commit_number = ?1", [commit as i64])
}
