//! What a query may not do (RELIABILITY 5.5, rows 66 to 77): exact messages, no file anywhere, no
//! panic, and each within a second of the processor's time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod refusals;
mod world;

use std::path::Path;
use std::time::Duration;

use stepwell_env::sql::{Database, Store, list_folder};

/// `store.query`'s message, or `N rows`.
fn message(store: &Store, sql: &str) -> String {
    match &store.query(sql).unwrap().outcome {
        Ok(table) => format!("{} rows", table.rows.len()),
        Err(error) => error.to_string(),
    }
}

/// Processor time of this thread so far.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn files(folder: &Path) -> Vec<String> {
    let list = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        list.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn refusals_have_exact_messages_and_leave_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(&world::write(folder.path())).unwrap();
    let before = std::fs::read(folder.path().join("shop.sqlite")).unwrap();
    let evil = folder.path().join("evil.db").display().to_string();
    for (sql, expect) in refusals::cases(&evil) {
        let begin = processor_time();
        let shown: String = sql.chars().take(80).collect();
        assert_eq!(message(database.original(), &sql), expect, "`{shown}`");
        let spent = processor_time() - begin;
        assert!(spent < Duration::from_secs(1), "`{shown}` took {spent:?}");
        // The same again: from the cache, and the same.
        assert_eq!(message(database.original(), &sql), expect, "again `{shown}`");
    }
    assert_eq!(files(folder.path()), ["shop.sqlite"]);
    assert_eq!(std::fs::read(folder.path().join("shop.sqlite")).unwrap(), before);
}

#[test]
fn files_that_are_no_database_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = world::write(folder.path());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let mut torn = whole.clone();
    // The second page holds the first table: an impossible page type.
    torn[4096..4104].fill(0xee);
    write(
        "text.sqlite",
        b"this is a text, long enough to be looked at as the head of a database file, \
        which has one hundred bytes before the first page begins",
    );
    write("torn.sqlite", &torn);
    write("busy.sqlite", &whole);
    write("busy.sqlite-wal", b"not merged");
    let error = |name: &str| match Database::open(&folder.path().join(name)) {
        Ok(_) => "opened".to_owned(),
        Err(error) => error.to_string(),
    };
    let expect = format!("{}: not a database; expected a SQLite 3 file", place("text.sqlite"));
    assert_eq!(error("text.sqlite"), expect);
    let torn = error("torn.sqlite");
    assert!(torn.starts_with(&format!("{}: damaged: ", place("torn.sqlite"))), "{torn}");
    let expect = format!(
        "{}: has a write-ahead log that is not merged; run `PRAGMA wal_checkpoint(TRUNCATE)` on it",
        place("busy.sqlite")
    );
    assert_eq!(error("busy.sqlite"), expect);
    let missing = error("missing.sqlite");
    assert!(
        missing.starts_with(&format!("{}: cannot be read: ", place("missing.sqlite"))),
        "{missing}"
    );
    let empty = tempfile::tempdir().unwrap();
    let expect = format!(
        "{}: holds no databases; expected files ending in .sqlite, .sqlite3 or .db",
        empty.path().display()
    );
    assert_eq!(list_folder(empty.path()).map(|_| ()).unwrap_err().to_string(), expect);
}

#[test]
fn a_folder_is_read_flat_or_as_spider_lays_it_out() {
    let folder = tempfile::tempdir().unwrap();
    world::write(folder.path());
    let nested = folder.path().join("inner");
    std::fs::create_dir(&nested).unwrap();
    std::fs::copy(folder.path().join("shop.sqlite"), nested.join("inner.db")).unwrap();
    let names: Vec<String> = list_folder(folder.path()).unwrap().into_keys().collect();
    assert_eq!(names, ["inner", "shop"]);
    std::fs::copy(folder.path().join("shop.sqlite"), nested.join("shop.db")).unwrap();
    let error = list_folder(folder.path()).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("database `shop` exists twice"), "{error}");
}
