//! A second database with the same tables and other rows.
//!
//! An answer counts only if it equals the gold query's on both, so `SELECT 42` fails even where 42
//! is right (hack 19). Test suites of perturbed databases come from Zhong, Yu and Klein, 2020
//! (arXiv 2010.02840); ours is one database per task and needs no search.
//!
//! What changes, all by key: some rows are left out, some are added under fresh keys, the values of
//! a column move among its rows, and some numbers move a little. What stays: every key and every
//! column that refers to one, so joins still find partners; words, formats and storage classes, so
//! literals of a query still occur; NULL where a column has it. Two queries that mean the same
//! agree on any rows, so a right answer loses nothing, except where it leans on something the
//! schema does not declare (a name that happens to be unique).

use std::collections::BTreeSet;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};
use stepwell_tree::{Key, Purpose};

use super::schema::{self, TableSchema};

/// How many twins of a database can be tried.
pub(super) const VARIANTS: usize = 8;
/// How many more there are that no reward ever reads: a stricter judge's.
pub const HELD_OUT_MAX: usize = 4;
/// Twins from this one on draw values evenly instead of moving them, so that the most frequent
/// value changes too.
const EVEN_FROM: usize = 3;
/// Rows of a table that enter its twin at most.
pub const TABLE_ROWS_MAX: usize = 100_000;
/// A column with no more different numbers than this holds codes, not measures.
const CODES_MAX: usize = 2;

/// Builds a twin in memory. The same name, rows and variant give the same twin.
pub(super) fn build(
    source: &Connection,
    name: &str,
    variant: usize,
) -> rusqlite::Result<Connection> {
    let tables = schema::read(source)?;
    let twin = Connection::open_in_memory()?;
    twin.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; BEGIN;")?;
    for table in &tables {
        twin.execute_batch(&table.sql)?;
    }
    // Before the rows, so that a unique index refuses an added row instead of failing at the end.
    for statement in indexes_and_views(source)? {
        twin.execute_batch(&statement)?;
    }
    let name_hash = blake3::hash(name.as_bytes());
    let seed = u64::from_le_bytes(name_hash.as_bytes()[..8].try_into().expect("8 of 32 bytes"));
    let key = Key::new(seed, Purpose::World).with(variant as u64);
    for (at, table) in tables.iter().enumerate() {
        if table.columns.is_empty() {
            continue;
        }
        let rows = read_rows(source, table)?;
        let moved = perturb(table, &kept(table, &tables), rows, key.with(at as u64), variant);
        write_rows(&twin, table, &moved)?;
    }
    twin.execute_batch("COMMIT; PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF;")?;
    Ok(twin)
}

fn indexes_and_views(source: &Connection) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT s.sql FROM sqlite_schema s WHERE s.sql IS NOT NULL AND (s.type = 'view' OR \
               s.type = 'index' AND s.tbl_name IN (SELECT name FROM pragma_table_list \
               WHERE schema = 'main' AND type = 'table')) ORDER BY s.rowid";
    source.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

fn read_rows(source: &Connection, table: &TableSchema) -> rusqlite::Result<Vec<Vec<Cell>>> {
    let names: Vec<String> = table.columns.iter().map(|c| schema::quoted(&c.name)).collect();
    let (names, from) = (names.join(", "), schema::quoted(&table.name));
    let mut statement =
        source.prepare(&format!("SELECT {names} FROM {from} LIMIT {TABLE_ROWS_MAX}"))?;
    let width = table.columns.len();
    statement.query_map([], |row| (0..width).map(|column| row.get(column)).collect())?.collect()
}

fn write_rows(twin: &Connection, table: &TableSchema, rows: &[Vec<Cell>]) -> rusqlite::Result<()> {
    let names: Vec<String> = table.columns.iter().map(|c| schema::quoted(&c.name)).collect();
    let holes = vec!["?"; names.len()].join(", ");
    let into = schema::quoted(&table.name);
    let sql = format!("INSERT OR IGNORE INTO {into} ({}) VALUES ({holes})", names.join(", "));
    let mut statement = twin.prepare(&sql)?;
    for row in rows {
        statement.execute(params_from_iter(row))?;
    }
    Ok(())
}

/// `[C]` true for columns whose values stay with their rows: keys, references, and columns that
/// look like either, since many databases do not declare theirs.
fn kept(table: &TableSchema, tables: &[TableSchema]) -> Vec<bool> {
    let lower = |text: &str| text.to_lowercase();
    let keys: BTreeSet<String> = tables
        .iter()
        .flat_map(|t| t.columns.iter().filter(|c| c.primary).map(move |c| lower(&c.name)))
        .collect();
    let referred: BTreeSet<(String, String)> = tables
        .iter()
        .flat_map(|t| &t.references)
        .filter_map(|r| Some((lower(&r.table), lower(r.to.as_deref()?))))
        .collect();
    let refers =
        |column: &str| table.references.iter().any(|r| r.column.eq_ignore_ascii_case(column));
    let looks_like_key = |name: &str| ["id", "_code", "_key"].iter().any(|end| name.ends_with(end));
    let keep = |column: &schema::Column| {
        let name = lower(&column.name);
        column.unique
            || refers(&column.name)
            || referred.contains(&(lower(&table.name), name.clone()))
            || keys.contains(&name)
            || looks_like_key(&name)
    };
    table.columns.iter().map(keep).collect()
}

fn perturb(
    table: &TableSchema,
    kept: &[bool],
    rows: Vec<Vec<Cell>>,
    key: Key,
    variant: usize,
) -> Vec<Vec<Cell>> {
    // Later twins differ more: a gold result that survived the milder ones may change there.
    let left_out = 0.15 + 0.5 * variant as f64 / VARIANTS as f64;
    let moved = 0.5 + 0.4 * variant as f64 / VARIANTS as f64;
    if rows.is_empty() {
        return rows;
    }
    // At least one row goes and one stays, so that a count is never the same.
    let n = rows.len();
    let gone = ((n as f64 * left_out).round() as usize).clamp(1, n).min(n - 1);
    let gone: BTreeSet<usize> = key.with(0).permutation(n).into_iter().take(gone).collect();
    let mut rows: Vec<Vec<Cell>> =
        rows.into_iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, r)| r).collect();
    for column in (0..kept.len()).filter(|&column| !kept[column]) {
        let place = key.with(1).with(column as u64);
        move_values(&mut rows, column, variant >= EVEN_FROM, place.with(0));
        change_numbers(&mut rows, column, moved, place.with(1));
    }
    add_rows(table, &mut rows, key.with(2));
    rows
}

/// Gives each row the column's value of another row, or one drawn evenly from those that occur.
fn move_values(rows: &mut [Vec<Cell>], column: usize, evenly: bool, key: Key) {
    let mut values: Vec<Cell> = rows.iter().map(|row| row[column].clone()).collect();
    if evenly {
        values.sort_by_cached_key(|value| format!("{value:?}"));
        values.dedup();
        for (at, row) in rows.iter_mut().enumerate() {
            row[column] = values[key.with(at as u64).below(values.len())].clone();
        }
        return;
    }
    for (row, from) in rows.iter_mut().zip(key.permutation(values.len())) {
        row[column] = values[from].clone();
    }
}

/// Moves a share of a column's numbers by up to a tenth of their range, whole numbers by whole
/// steps; a column without negative numbers gets none.
fn change_numbers(rows: &mut [Vec<Cell>], column: usize, share: f64, key: Key) {
    let number = |cell: &Cell| match cell {
        Cell::Integer(whole) => Some(*whole as f64),
        Cell::Real(real) => Some(*real),
        _ => None,
    };
    let mut values: Vec<f64> = rows.iter().filter_map(|row| number(&row[column])).collect();
    values.sort_by(f64::total_cmp);
    let mut different = values.clone();
    different.dedup();
    let (Some(least), Some(most)) = (values.first(), values.last()) else { return };
    if different.len() <= CODES_MAX || !(most - least).is_finite() {
        return;
    }
    let step = ((most - least) / 10.0).max(f64::MIN_POSITIVE);
    for (at, row) in rows.iter_mut().enumerate() {
        let draw = key.with(at as u64);
        if draw.with(0).uniform() >= share {
            continue;
        }
        let sign = if draw.with(1).below(2) == 0 { -1.0 } else { 1.0 };
        let distance = draw.with(2).uniform() * step;
        match &mut row[column] {
            Cell::Integer(whole) => {
                let moved = whole.saturating_add((sign * distance.ceil().max(1.0)) as i64);
                *whole = if *least >= 0.0 { moved.max(0) } else { moved };
            }
            Cell::Real(real) => {
                let moved = ((*real + sign * distance) * 100.0).round() / 100.0;
                *real = if *least >= 0.0 { moved.max(0.0) } else { moved };
            }
            _ => {}
        }
    }
}

/// Adds copies of a tenth of the rows, at least one, under fresh keys where the table has one
/// whole-number key, as they are where it has none: so `DISTINCT` and plain differ.
fn add_rows(table: &TableSchema, rows: &mut Vec<Vec<Cell>>, key: Key) {
    let primary: Vec<usize> =
        (0..table.columns.len()).filter(|&column| table.columns[column].primary).collect();
    let refers = |column: usize| {
        let name = &table.columns[column].name;
        table.references.iter().any(|reference| reference.column.eq_ignore_ascii_case(name))
    };
    let fresh = match primary[..] {
        [] => None,
        [column] if !refers(column) && table.columns[column].kind.starts_with("int") => {
            Some(column)
        }
        _ => return,
    };
    let order = key.permutation(rows.len());
    let copies = rows.len().div_ceil(10);
    let largest = |column: usize| {
        let whole = |row: &Vec<Cell>| match row[column] {
            Cell::Integer(whole) => Some(whole),
            _ => None,
        };
        rows.iter().filter_map(whole).max().unwrap_or(0)
    };
    let mut next = fresh.map(largest);
    for at in order.into_iter().take(copies) {
        let mut row = rows[at].clone();
        if let (Some(column), Some(next)) = (fresh, next.as_mut()) {
            *next = next.saturating_add(1);
            row[column] = Cell::Integer(*next);
        }
        rows.push(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "
        CREATE TABLE team (code TEXT PRIMARY KEY, city TEXT);
        INSERT INTO team VALUES ('a', 'Rome'), ('b', 'Oslo'), ('c', 'Lima'), ('d', 'Oslo');
        CREATE TABLE player (id INTEGER PRIMARY KEY, team TEXT REFERENCES team (code),
            height REAL, goals INTEGER, active INTEGER);
        CREATE UNIQUE INDEX one_height ON player (height);
        CREATE VIEW tall AS SELECT id FROM player WHERE height > 1.8;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
        INSERT INTO player
           SELECT i, substr('abcd', i % 4 + 1, 1), 1.5 + i / 100.0, i * 3, i % 2 FROM n;
    ";

    fn source() -> Connection {
        let source = Connection::open_in_memory().unwrap();
        source.execute_batch(SOURCE).unwrap();
        source
    }

    fn ask(database: &Connection, sql: &str) -> Vec<String> {
        let mut statement = database.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, Cell>(0)).unwrap();
        rows.map(|cell| format!("{:?}", cell.unwrap())).collect()
    }

    #[test]
    fn the_same_name_and_variant_give_the_same_twin() {
        let dump = |name, variant| {
            let twin = build(&source(), name, variant).unwrap();
            ask(&twin, "SELECT id || team || height || goals FROM player ORDER BY id")
        };
        assert_eq!(dump("x", 0), dump("x", 0));
        assert_ne!(dump("x", 0), dump("x", 1));
        assert_ne!(dump("x", 0), dump("y", 0));
    }

    #[test]
    fn keys_words_and_schema_stay_while_rows_and_numbers_move() {
        let source = source();
        for variant in 0..VARIANTS {
            let twin = build(&source, "x", variant).unwrap();
            let same = |sql: &str| assert_eq!(ask(&source, sql), ask(&twin, sql), "{sql}");
            let differs = |sql: &str| assert_ne!(ask(&source, sql), ask(&twin, sql), "{sql}");
            let none = |sql: &str| assert!(ask(&twin, sql).is_empty(), "{sql}");
            same("SELECT sql FROM sqlite_schema ORDER BY name");
            differs("SELECT count(*) FROM team");
            differs("SELECT sum(goals) FROM player");
            differs("SELECT count(*) FROM tall");
            // A surviving row keeps its key and its team; a word of the twin is one of the source.
            none("SELECT id FROM player WHERE id <= 40 AND team <> substr('abcd', id % 4 + 1, 1)");
            none("SELECT city FROM team WHERE city NOT IN ('Rome', 'Oslo', 'Lima')");
            // Codes are no measures: they stay among themselves, and no number turns negative.
            none("SELECT active FROM player WHERE active NOT IN (0, 1)");
            none("SELECT goals FROM player WHERE goals < 0 OR typeof(goals) <> 'integer'");
            assert!(!ask(&twin, "SELECT id FROM player JOIN team ON team = code").is_empty());
        }
    }
}
