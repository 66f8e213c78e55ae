//! The format's names, and the empty record.

use std::path::Path;

use rusqlite::Connection;

use crate::error::{Result, StoreError};
use crate::sqlite::sqlite_error;
use crate::table::TABLES;

/// `STPW`: tells our files from other programs'.
pub(crate) const APPLICATION_ID: u32 = 0x5354_5057;
/// Counts changes of the format that older versions cannot read.
pub(crate) const FORMAT: u32 = 1;

const SCHEMA: &str = include_str!("schema.sql");

/// Makes the tables of a new record in an open transaction or connection.
pub(crate) fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    connection.execute_batch(&definition())
}

/// Compares the stored schema with the one this version writes: a trigger that was dropped no
/// longer guards anything.
pub(crate) fn check(connection: &Connection) -> Result<()> {
    let failed = |error| sqlite_error("read the schema", error);
    let fresh = Connection::open_in_memory().map_err(failed)?;
    create(&fresh).map_err(failed)?;
    let expected = objects(&fresh).map_err(failed)?;
    let got = objects(connection).map_err(failed)?;
    for (name, sql) in &expected {
        match got.iter().find(|(other, _)| other == name) {
            None => return Err(StoreError::corrupt("schema", format!("`{name}` is missing"))),
            Some((_, other)) if other != sql => {
                return Err(StoreError::corrupt("schema", format!("`{name}` was changed")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn objects(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name";
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Tables and triggers.
fn definition() -> String {
    let names = TABLES.iter().map(|table| table.name).chain(["chain", "timing"]);
    let mut sql = SCHEMA.to_owned();
    for name in names {
        for verb in ["UPDATE", "DELETE"] {
            let trigger = format!("{name}_no_{}", verb.to_lowercase());
            sql.push_str(&format!(
                "CREATE TRIGGER {trigger} BEFORE {verb} ON {name} BEGIN \
                 SELECT RAISE(ABORT, 'rows of a commit never change'); END;\n"
            ));
        }
        if name != "chain" {
            sql.push_str(&format!(
                "CREATE TRIGGER {name}_no_late_insert BEFORE INSERT ON {name} \
                 WHEN EXISTS (SELECT 1 FROM chain WHERE number = NEW.commit_number) BEGIN \
                 SELECT RAISE(ABORT, 'the commit is finished'); END;\n"
            ));
        }
    }
    sql
}

/// Makes a record with its first commit in one transaction, under a temporary name: `run.sqlite`
/// is whole or absent.
pub(crate) fn create_file(
    path: &Path,
    first_commit: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<()> {
    let failed = |error| sqlite_error("create the record", error);
    let mut connection = Connection::open(path).map_err(failed)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
    connection.pragma_update(None, "foreign_keys", "ON").map_err(failed)?;
    let transaction = connection.transaction().map_err(failed)?;
    create(&transaction).map_err(failed)?;
    first_commit(&transaction).map_err(failed)?;
    transaction.commit().map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_tables_is_the_schema() {
        let connection = Connection::open_in_memory().unwrap();
        create(&connection).unwrap();
        for table in TABLES {
            let sql =
                format!("SELECT group_concat(name, ' ') FROM pragma_table_info('{}')", table.name);
            let columns: String = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(columns, format!("{} digest", table.columns.join(" ")), "{}", table.name);
            let sql = format!("SELECT sum(pk > 0) FROM pragma_table_info('{}')", table.name);
            let key: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            assert_eq!(key, table.key as i64, "{}", table.name);
        }
        check(&connection).unwrap();
    }
}
