//! Recomputing the chain. SQLite's pages have no checksum of their content; this is what notices.

use crate::chain;
use crate::digest::Digest;
use crate::error::{Result, StoreError, grouped};
use crate::reader::RunReader;
use crate::schema;
use crate::sqlite::sqlite_error;
use crate::table::TABLES;

/// What a whole record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Commits in the chain.
    pub commits: u64,
    /// Trees in all commits.
    pub trees: u64,
    /// Steps of those trees.
    pub steps: u64,
}

/// Rows first, because they give the best names; then links, then SQLite's own structure.
pub(crate) fn verify(reader: &RunReader) -> Result<Verified> {
    let connection = &reader.connection;
    let mut verified = Verified::default();
    let mut previous = Digest::ZERO;
    for link in chain::links(connection, "true", [])? {
        let head = link.info.head;
        let place = || format!("commit {}", grouped(head.number));
        if head.number != verified.commits {
            let missing = format!("commit {}", grouped(verified.commits));
            return Err(StoreError::corrupt(missing, "missing from the chain"));
        }
        let rows = chain::rows(connection, head.number)?;
        if link.previous != previous {
            return Err(StoreError::corrupt(place(), "does not follow the commit before it"));
        }
        if chain::digest(previous, head.number, &link.info.key, &rows) != head.digest {
            let what = "digest differs: a row was added, removed or moved, or its name changed";
            return Err(StoreError::corrupt(place(), what));
        }
        let trees = reader.trees(head.number)?;
        verified.trees += trees.len() as u64;
        verified.steps += trees.iter().map(|stored| stored.tree.len() as u64).sum::<u64>();
        verified.commits += 1;
        previous = head.digest;
    }
    no_strays(reader)?;
    reader.tasks()?;
    structure(reader)?;
    schema::check(connection)?;
    Ok(verified)
}

/// Rows that belong to no commit would be read by no digest.
fn no_strays(reader: &RunReader) -> Result<()> {
    for table in TABLES {
        let sql = format!(
            "SELECT count(*) FROM {} WHERE commit_number NOT IN (SELECT number FROM chain)",
            table.name
        );
        let count: i64 = reader
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .map_err(|error| sqlite_error("count rows", error))?;
        if count != 0 {
            let place = format!("table `{}`", table.name);
            return Err(StoreError::corrupt(place, format!("{count} rows belong to no commit")));
        }
    }
    Ok(())
}

fn structure(reader: &RunReader) -> Result<()> {
    let failed = |error| sqlite_error("check the structure", error);
    let said: String = reader
        .connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .map_err(failed)?;
    if said != "ok" {
        return Err(StoreError::corrupt("integrity check", said));
    }
    let mut statement = reader.connection.prepare("PRAGMA foreign_key_check").map_err(failed)?;
    let mut dangling = statement.query([]).map_err(failed)?;
    match dangling.next().map_err(failed)? {
        None => Ok(()),
        Some(row) => {
            let table: String = row.get(0).map_err(failed)?;
            Err(StoreError::corrupt(format!("table `{table}`"), "a row refers to none"))
        }
    }
}
