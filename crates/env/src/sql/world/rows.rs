//! The rows of one database: small numbers whose meaning the column's role gives.
//!
//! Kept like this because a world has thousands of databases and most are asked rarely: about
//! 2 kB each here, forty times that inside SQLite.

use std::fmt::Write as _;

use stepwell_tree::Key;

use super::attribute::ATTRIBUTES;
use super::schema::{Role, Schema};
use crate::sql::value::{self, Value};

/// One filling of a schema; a database has two, the original and its twin.
pub(super) struct Rows {
    /// `[table][column][row]`
    cell: Vec<Vec<Vec<u16>>>,
}

/// Fewest rows of a table.
const ROWS_MIN: usize = 30;
/// Most rows of a table, in a database of two tables and of three.
const ROWS_MAX: [usize; 2] = [200, 120];
/// Largest number in a column of numbers.
const NUMBER_MAX: usize = 999;

/// Index of the draw of a table's length; columns come after it.
const LENGTH: u64 = 0;

impl Rows {
    /// Draws all rows. The schema, with its styles and the values it keeps, stays what it is.
    pub(super) fn draw(key: Key, schema: &Schema) -> Rows {
        let most = ROWS_MAX[usize::from(schema.tables.len() > 2)];
        let key_of = |table: usize| key.with(table as u64);
        let length = |table| ROWS_MIN + key_of(table).with(LENGTH).below(most - ROWS_MIN + 1);
        let first = length(0);
        let column = |table: usize, column: usize, role: Role| -> Vec<u16> {
            let key = key_of(table).with(LENGTH + 1 + column as u64);
            let draw = |row: usize, bound: usize| key.with(row as u64).below(bound);
            let cell = |row: usize| match role {
                Role::Id => row + 1,
                Role::Reference => 1 + draw(row, first),
                Role::Number => 1 + draw(row, NUMBER_MAX),
                Role::Real(feature) => {
                    let kept = &schema.features[feature].kept;
                    kept[draw(row, kept.len())]
                }
                Role::Empty(_) => 0,
            };
            (0..length(table)).map(|row| cell(row) as u16).collect()
        };
        let tables = schema.tables.iter().enumerate().map(|(place, table)| {
            let roles = table.columns.iter().map(|column| column.role).enumerate();
            roles.map(|(index, role)| column(place, index, role)).collect()
        });
        Rows { cell: tables.collect() }
    }

    /// A column by the role it plays in a table.
    pub(super) fn column(&self, schema: &Schema, table: usize, role: Role) -> &[u16] {
        let columns = &schema.tables[table].columns;
        let place = columns.iter().position(|column| column.role == role);
        &self.cell[table][place.expect("asked for roles that the table has")]
    }

    /// A script that builds this database. Attributes are texts, even where they look like numbers;
    /// all else are whole numbers.
    pub(super) fn script(&self, schema: &Schema) -> String {
        let mut script = String::new();
        for (place, table) in schema.tables.iter().enumerate() {
            let kind = |role| match role {
                Role::Real(_) | Role::Empty(_) => "TEXT",
                Role::Id | Role::Reference | Role::Number => "INTEGER",
            };
            let columns: Vec<String> =
                table.columns.iter().map(|c| format!("{} {}", c.name, kind(c.role))).collect();
            let _ = writeln!(script, "CREATE TABLE {} ( {} );", table.name, columns.join(", "));
            let _ = write!(script, "INSERT INTO {} VALUES", table.name);
            for row in 0..self.cell[place][0].len() {
                script.push_str(if row == 0 { " (" } else { ",(" });
                for (index, column) in table.columns.iter().enumerate() {
                    script.push_str(if index == 0 { "" } else { "," });
                    write_cell(&mut script, schema, column.role, self.cell[place][index][row]);
                }
                script.push(')');
            }
            script.push_str(";\n");
        }
        script
    }

    /// What `SELECT DISTINCT column FROM table` gives: values in the order of their first rows.
    pub(super) fn distinct(&self, schema: &Schema, table: usize, column: usize) -> value::Table {
        let head = &schema.tables[table].columns[column];
        let mut seen = Vec::new();
        for &code in &self.cell[table][column] {
            if !seen.contains(&code) {
                seen.push(code);
            }
        }
        let rows = seen.into_iter().map(|code| vec![cell(schema, head.role, code)]).collect();
        value::Table { columns: vec![head.name.clone()], rows }
    }
}

fn cell(schema: &Schema, role: Role, code: u16) -> Value {
    match role {
        Role::Id | Role::Reference | Role::Number => Value::Integer(i64::from(code)),
        Role::Real(feature) => Value::Text(stored(schema, feature, code).to_owned()),
        Role::Empty(_) => Value::Null,
    }
}

fn write_cell(script: &mut String, schema: &Schema, role: Role, code: u16) {
    // Writing to a String cannot fail.
    let _ = match role {
        Role::Id | Role::Reference | Role::Number => write!(script, "{code}"),
        Role::Real(feature) => write!(script, "'{}'", stored(schema, feature, code)),
        Role::Empty(_) => write!(script, "NULL"),
    };
}

/// How this database writes a value.
fn stored(schema: &Schema, feature: usize, code: u16) -> &'static str {
    let feature = &schema.features[feature];
    &ATTRIBUTES[feature.attribute].values[usize::from(code)].stored[feature.style]
}
