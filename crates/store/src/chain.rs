//! The chain of commits: finding, digesting and comparing them.

use rusqlite::{Connection, OptionalExtension, Params, Row as SqlRow, params};

use crate::cell::Cell;
use crate::commit::{CommitInfo, CommitKey, Head, Kind};
use crate::digest::{Digest, PieceHasher};
use crate::error::{Result, StoreError, grouped};
use crate::sqlite::sqlite_error;
use crate::table::{Row, TABLES, rows_of};

/// A row of `chain`.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) info: CommitInfo,
    pub(crate) previous: Digest,
}

/// The digest of a commit: its name, and the digests of its rows in the order of tables and keys.
/// `rows` come in any order of tables, but in key order within one.
pub(crate) fn digest(previous: Digest, number: u64, key: &CommitKey, rows: &[Row]) -> Digest {
    let mut hasher = PieceHasher::new("stepwell commit 1");
    if !stepwell_mutant::planted(17) {
        hasher.put(&previous.0);
    }
    hasher.put(&number.to_le_bytes());
    hasher.put(key.kind.word().as_bytes());
    hasher.put(&key.stage.to_le_bytes());
    hasher.put(&key.update.to_le_bytes());
    hasher.put(key.name.as_bytes());
    for table in TABLES {
        let of_table = || rows.iter().filter(|row| row.table.name == table.name);
        hasher.put(&(of_table().count() as u64).to_le_bytes());
        of_table().for_each(|row| hasher.put(&row.digest().0));
    }
    hasher.finish()
}

/// All rows of a commit, each compared with its digest.
pub(crate) fn rows(connection: &Connection, commit: u64) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for table in TABLES {
        rows.extend(rows_of(connection, table, commit)?);
    }
    Ok(rows)
}

/// Links in the order of their numbers; `condition` goes behind WHERE.
pub(crate) fn links(
    connection: &Connection,
    condition: &str,
    params: impl Params,
) -> Result<Vec<Link>> {
    let failed = |error| sqlite_error("read the chain of commits", error);
    let sql = format!(
        "SELECT number, kind, stage, update_number, name, previous, digest FROM chain \
         WHERE {condition} ORDER BY number"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(failed)?;
    let mut found = statement.query(params).map_err(failed)?;
    let mut links = Vec::new();
    while let Some(row) = found.next().map_err(failed)? {
        links.push(link(row)?);
    }
    Ok(links)
}

fn link(row: &SqlRow<'_>) -> Result<Link> {
    let cell = |i: usize| row.get_ref(i).ok().and_then(Cell::read);
    let Some(Cell::Integer(number)) = cell(0) else {
        return Err(StoreError::corrupt("chain", "a commit has no number"));
    };
    let number = number as u64;
    let wrong = |column: &str| {
        StoreError::corrupt(
            format!("commit {}", grouped(number)),
            format!("column `{column}` of `chain` is not what the format allows"),
        )
    };
    let text = |i: usize, column: &str| match cell(i) {
        Some(Cell::Text(text)) => Ok(text),
        _ => Err(wrong(column)),
    };
    let integer = |i: usize, column: &str| match cell(i) {
        Some(Cell::Integer(value)) => u64::try_from(value).map_err(|_| wrong(column)),
        _ => Err(wrong(column)),
    };
    let digest = |i: usize, column: &str| match cell(i) {
        Some(Cell::Blob(blob)) => blob.try_into().map(Digest).map_err(|_| wrong(column)),
        _ => Err(wrong(column)),
    };
    let word = text(1, "kind")?;
    let kind = Kind::WORDS.iter().find(|(other, _)| *other == word);
    let key = CommitKey {
        kind: kind.ok_or_else(|| wrong("kind"))?.1,
        stage: u32::try_from(integer(2, "stage")?).map_err(|_| wrong("stage"))?,
        update: integer(3, "update_number")?,
        name: text(4, "name")?,
    };
    let head = Head { number, digest: digest(6, "digest")? };
    Ok(Link { info: CommitInfo { head, key }, previous: digest(5, "previous")? })
}

/// The commit of this name.
pub(crate) fn find(connection: &Connection, key: &CommitKey) -> Result<Option<Link>> {
    let condition = "kind = ?1 AND stage = ?2 AND update_number = ?3 AND name = ?4";
    let params = params![key.kind.word(), key.stage, key.update as i64, key.name];
    Ok(links(connection, condition, params)?.pop())
}

/// The newest commit. Every record has one.
pub(crate) fn last(connection: &Connection) -> Result<Link> {
    let newest = "number = (SELECT max(number) FROM chain)";
    let none = || StoreError::corrupt("chain", "got no commit, expected at least one");
    links(connection, newest, [])?.pop().ok_or_else(none)
}

/// Appends a row to the chain, inside the caller's transaction.
pub(crate) fn append(
    connection: &Connection,
    info: &CommitInfo,
    previous: Digest,
) -> rusqlite::Result<()> {
    let key = &info.key;
    connection
        .prepare_cached("INSERT INTO chain VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![
            info.head.number as i64,
            key.kind.word(),
            key.stage,
            key.update as i64,
            key.name,
            previous.0,
            info.head.digest.0,
        ])
        .map(|_| ())
}

/// Says where two versions of a commit part: the first row, and its columns.
pub(crate) fn first_difference(recorded: &[Row], computed: &[Row]) -> String {
    for table in TABLES {
        let of = |rows: &'_ [Row]| -> Vec<Row> {
            rows.iter().filter(|row| row.table.name == table.name).cloned().collect()
        };
        let (recorded, computed) = (of(recorded), of(computed));
        for (old, new) in recorded.iter().zip(&computed) {
            let pairs = table.columns.iter().zip(old.cells.iter().zip(&new.cells));
            let columns: Vec<String> = pairs
                .filter(|(_, (old, new))| old != new)
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            if !columns.is_empty() {
                return format!("{}: {} differ", old.place(), columns.join(", "));
            }
        }
        if recorded.len() != computed.len() {
            let (got, expected) = (computed.len(), recorded.len());
            return format!("table `{}`: got {got} rows, expected {expected}", table.name);
        }
    }
    "the commits before it".to_owned()
}

/// True where the record holds this table's row already, in an earlier commit.
pub(crate) fn has_task(connection: &Connection, hash: &[u8; 32], before: u64) -> Result<bool> {
    let failed = |error| sqlite_error("look up a task", error);
    let sql = "SELECT 1 FROM task WHERE hash = ?1 AND commit_number < ?2";
    let mut statement = connection.prepare_cached(sql).map_err(failed)?;
    let found = statement.query_row(params![hash, before as i64], |_| Ok(())).optional();
    Ok(found.map_err(failed)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_a_digest_covers_the_one_before_it_the_number_and_the_name() {
        let key = CommitKey { kind: Kind::Updated, stage: 1, update: 2, name: String::new() };
        let own = digest(Digest::ZERO, 3, &key, &[]);
        assert_eq!(own, digest(Digest::ZERO, 3, &key, &[]));
        let renamed = |change: fn(&mut CommitKey)| {
            let mut key = key.clone();
            change(&mut key);
            digest(Digest::ZERO, 3, &key, &[])
        };
        let others = [
            digest(own, 3, &key, &[]),
            digest(Digest::ZERO, 4, &key, &[]),
            renamed(|key| key.kind = Kind::Grown),
            renamed(|key| key.stage = 0),
            renamed(|key| key.update = 3),
            renamed(|key| key.name = "a".to_owned()),
        ];
        assert!(others.iter().all(|other| *other != own), "{others:?}");
    }
}
