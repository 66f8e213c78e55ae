//! A small shop for tests: customers who live in states.

use std::path::Path;

pub(crate) const ROWS: &str = "
    CREATE TABLE state (code TEXT PRIMARY KEY, name TEXT);
    INSERT INTO state VALUES ('CA', 'California'), ('TX', 'Texas'), ('NY', 'New York');
    CREATE TABLE customer (
        id INTEGER PRIMARY KEY, name TEXT, state_code TEXT REFERENCES state (code),
        age INTEGER, spent REAL, note TEXT);
    INSERT INTO customer VALUES
        (1, 'Ann', 'CA', 31, 10.5, NULL), (2, 'Bob', 'TX', 45, 20.25, NULL),
        (3, 'Cid', 'CA', 27, 5.0, NULL), (4, 'Dan', 'NY', 61, 99.0, NULL),
        (5, 'Eve', 'CA', 38, 12.75, NULL), (6, 'Fay', 'TX', 52, 7.5, NULL),
        (7, 'Gus', 'CA', 19, 33.0, NULL), (8, 'Hal', 'NY', 44, 41.5, NULL),
        (9, 'Ida', 'CA', 29, 2.0, NULL), (10, 'Joe', 'TX', 33, 18.0, NULL);
";

/// Writes the shop into a folder, as a user's file.
pub(crate) fn write(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("shop.sqlite");
    rusqlite::Connection::open(&path).unwrap().execute_batch(ROWS).unwrap();
    path
}
