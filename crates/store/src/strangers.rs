//! The readers of what lies in a run folder, without the folder: for tests that invent bytes.
//!
//! A record's rows stand under digests, so that damage is named before a row is read. Whoever writes
//! a record on purpose writes digests too; then these readers are all there is.

use crate::cell::Cell;
use crate::decode::{self, ForestRows};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::table::{CREDIT, Row, STEP, TREE, TREE_COLUMN, Table, VERDICT};

/// Tables of trees, by the number that begins a row in [`trees`].
const TABLES: [&Table; 5] = [&TREE, &TREE_COLUMN, &STEP, &VERDICT, &CREDIT];
/// Rows that are read of one input.
const ROWS_MAX: usize = 256;

/// What is said of a manifest. Its own digest and its recipe's are put right first, so that what
/// stands behind them is reached.
pub fn manifest(bytes: &[u8]) -> String {
    let told = |bytes: &[u8]| match Manifest::parse(bytes, 7, Digest::ZERO) {
        Ok(manifest) => format!("{} files", manifest.files.len()),
        Err(why) => why,
    };
    match serde_json::from_slice::<Manifest>(bytes) {
        Ok(read) => {
            let Manifest { checkpoint, last_commit, files, .. } = read;
            let sealed = Manifest::new(checkpoint, Digest::ZERO, last_commit, files);
            told(&sealed.bytes()) + &told(bytes)
        }
        Err(_) => told(bytes),
    }
}

/// What is said of rows of trees: each a table's number, and for each of its columns a kind
/// (0 nothing, 1 a whole number of 8 bytes, 2 a text, 3 bytes; both with a length of 2 bytes before
/// them) and what follows it. What comes out well is read as reports read it.
pub fn trees(bytes: &[u8]) -> String {
    let mut rows: [Vec<Row>; 5] = Default::default();
    let mut rest = bytes;
    for _ in 0..ROWS_MAX {
        let Some((number, row)) = row(&mut rest) else { break };
        rows[number].push(row);
    }
    let [tree, column, step, verdict, credit] = rows;
    match decode::forest(&ForestRows { tree, column, step, verdict, credit }) {
        Ok(forest) => {
            let steps: usize = forest.iter().map(|stored| stored.tree.len()).sum();
            for stored in &forest {
                stepwell_tree::draw(&stored.tree, stored.credit.as_ref(), |_| String::new());
            }
            format!("{} trees, {steps} steps", forest.len())
        }
        Err(error) => error.to_string(),
    }
}

fn row(rest: &mut &[u8]) -> Option<(usize, Row)> {
    let number = usize::from(*take(rest, 1)?.first()?) % TABLES.len();
    let cell = |_: &&str| {
        Some(match take(rest, 1)?[0] % 4 {
            0 => Cell::Null,
            1 => Cell::Integer(i64::from_le_bytes(*take(rest, 8)?.first_chunk()?)),
            kind => {
                let length = u16::from_le_bytes(*take(rest, 2)?.first_chunk()?);
                let bytes = take(rest, usize::from(length))?;
                match kind {
                    2 => Cell::Text(String::from_utf8_lossy(bytes).into_owned()),
                    _ => Cell::Blob(bytes.to_vec()),
                }
            }
        })
    };
    let table = TABLES[number];
    let cells = table.columns.iter().map(cell).collect::<Option<Vec<Cell>>>()?;
    Some((number, Row::new(table, cells)))
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Option<&'b [u8]> {
    let (part, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(part)
}

/// A tree as [`trees`] reads it.
pub fn written(tree: &stepwell_tree::StepTree) -> Vec<u8> {
    let trees = std::slice::from_ref(tree);
    let forest = crate::encode::Forest { trees, texts: &[], credits: &[] };
    let mut out = Vec::new();
    for row in forest.rows(1) {
        let number = TABLES.iter().position(|table| table.name == row.table.name);
        out.push(number.expect("a tree's rows are of these tables") as u8);
        for cell in &row.cells {
            put(cell, &mut out);
        }
    }
    out
}

fn put(cell: &Cell, out: &mut Vec<u8>) {
    let mut bytes = |kind: u8, bytes: &[u8]| {
        out.push(kind);
        out.extend((bytes.len() as u16).to_le_bytes());
        out.extend(bytes);
    };
    match cell {
        Cell::Text(text) => bytes(2, text.as_bytes()),
        Cell::Blob(blob) => bytes(3, blob),
        Cell::Integer(number) => {
            out.push(1);
            out.extend(number.to_le_bytes());
        }
        Cell::Null | Cell::Real(_) => out.push(0),
    }
}
