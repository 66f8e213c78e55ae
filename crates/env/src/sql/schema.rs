//! Tables, columns and keys of a database, and their compact text for a prompt.

use std::collections::BTreeSet;

use rusqlite::Connection;

/// A column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// Declared type, lower case; may be empty.
    pub(super) kind: String,
    /// Part of the primary key.
    pub(super) primary: bool,
    /// In some unique index, primary keys included.
    pub(super) unique: bool,
}

/// A reference from one column to another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Reference {
    pub(super) column: String,
    pub(super) table: String,
    /// The column referred to; where the schema leaves it out, the other table's primary key.
    pub(super) to: Option<String>,
}

/// An ordinary table: generated columns, virtual tables and SQLite's own tables are left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct TableSchema {
    pub(super) name: String,
    /// The statement that creates it.
    pub(super) sql: String,
    pub(super) columns: Vec<Column>,
    pub(super) references: Vec<Reference>,
}

/// Reads the tables in the order in which they were created.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Vec<TableSchema>> {
    let list = "SELECT s.name, s.sql FROM sqlite_schema s JOIN pragma_table_list t \
                ON t.name = s.name AND t.schema = 'main' AND t.type = 'table' \
                WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                ORDER BY s.rowid";
    let mut statement = connection.prepare(list)?;
    let found: Vec<(String, String)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    found
        .into_iter()
        .map(|(name, sql)| {
            let columns = columns(connection, &name)?;
            let references = references(connection, &name)?;
            Ok(TableSchema { name, sql, columns, references })
        })
        .collect()
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let unique = "SELECT DISTINCT lower(i.name) FROM pragma_index_list(?1) l, \
                  pragma_index_info(l.name) i WHERE l.\"unique\" AND i.name IS NOT NULL";
    let unique: BTreeSet<String> = connection
        .prepare(unique)?
        .query_map([table], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let sql = "SELECT name, lower(type), pk > 0 FROM pragma_table_xinfo(?1) WHERE hidden = 0";
    connection
        .prepare(sql)?
        .query_map([table], |row| {
            let (name, primary): (String, bool) = (row.get(0)?, row.get(2)?);
            let unique = primary || unique.contains(&name.to_lowercase());
            Ok(Column { name, kind: row.get(1)?, primary, unique })
        })?
        .collect()
}

fn references(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Reference>> {
    let sql =
        "SELECT \"from\", \"table\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq";
    connection
        .prepare(sql)?
        .query_map([table], |row| {
            Ok(Reference { column: row.get(0)?, table: row.get(1)?, to: row.get(2)? })
        })?
        .collect()
}

/// One line per table: `table singer ( Singer_ID integer key , Name text )`, then one line per
/// reference: `concert . singer_id -> singer . Singer_ID`.
pub(super) fn text(tables: &[TableSchema]) -> String {
    let mut lines = Vec::new();
    for table in tables {
        let columns: Vec<String> = table.columns.iter().map(column_text).collect();
        lines.push(format!("table {} ( {} )", quoted(&table.name), columns.join(" , ")));
    }
    for table in tables {
        for Reference { column, table: other, to } in &table.references {
            let to = to.clone().or_else(|| {
                let key = tables.iter().find(|t| t.name.eq_ignore_ascii_case(other))?;
                key.columns.iter().find(|column| column.primary).map(|column| column.name.clone())
            });
            let to = to.map_or_else(String::new, |to| format!(" . {}", quoted(&to)));
            let from = format!("{} . {}", quoted(&table.name), quoted(column));
            lines.push(format!("{from} -> {}{to}", quoted(other)));
        }
    }
    lines.join("\n")
}

fn column_text(column: &Column) -> String {
    let mut text = quoted(&column.name);
    if !column.kind.is_empty() {
        text = text + " " + &column.kind;
    }
    if column.primary { text + " key" } else { text }
}

/// A name as a query must write it.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.starts_with(|c: char| !c.is_ascii_digit());
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
