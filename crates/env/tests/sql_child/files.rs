//! Files of strangers: whatever they hold, the parent stands (row 77).

use std::collections::BTreeMap;
use std::path::Path;

use stepwell_env::EnvError;
use stepwell_env::sql::{Config, Source, SqlEnvironment};
use stepwell_tree::{Key, Purpose};

use crate::world;

fn open(path: &Path) -> Result<SqlEnvironment, EnvError> {
    let sources = BTreeMap::from([("shop".to_owned(), Source::file(path))]);
    SqlEnvironment::new(sources, &[], Config::default())
}

pub(crate) fn a_file_that_is_no_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(world::write(folder.path())).unwrap();
    let path = folder.path().join("x.sqlite");
    let place = path.display().to_string();
    let error = || open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(error().starts_with(&format!("{place}: cannot be read: ")), "{}", error());
    std::fs::write(&path, "a text that is longer than the head of a database. ".repeat(10))
        .unwrap();
    assert_eq!(error(), format!("{place}: not a database; expected a SQLite 3 file"));
    let mut torn = whole.clone();
    torn[4096..4104].fill(0xee);
    std::fs::write(&path, torn).unwrap();
    assert!(error().starts_with(&format!("{place}: damaged: ")), "{}", error());
    std::fs::write(&path, whole).unwrap();
    std::fs::write(folder.path().join("x.sqlite-wal"), "rows").unwrap();
    assert!(error().starts_with(&format!("{place}: has a write-ahead log")), "{}", error());
}

pub(crate) fn damaged_files_never_take_the_parent_down() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(world::write(folder.path())).unwrap();
    let path = folder.path().join("x.sqlite");
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..120 {
        let key = Key::new(seed, Purpose::Bootstrap);
        let mut bytes = whole.clone();
        match seed % 3 {
            0 => bytes.truncate(key.with(0).below(whole.len())),
            1 => {
                for place in 0..1 + seed % 20 {
                    let at = key.with(1).with(place).below(whole.len());
                    bytes[at] = key.with(2).with(place).below(256) as u8;
                }
            }
            _ => {
                // A page of noise, never the first, which says that it is a database.
                let page = 1 + key.with(3).below(whole.len() / 4096 - 1);
                for at in 0..4096 {
                    bytes[page * 4096 + at] = key.with(4).with(at as u64).below(256) as u8;
                }
            }
        }
        std::fs::write(&path, bytes).unwrap();
        match open(&path) {
            Err(error) => {
                assert!(!error.is_of_the_machine(), "seed {seed}: {error}");
                refused += 1;
            }
            Ok(environment) => {
                let database = &environment.databases()["shop"];
                for sql in ["SELECT * FROM customer", "SELECT max(name) FROM state", "SELECT 1"] {
                    // Rows or a message: both are answers.
                    database.original().query(sql).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    if let Some(twin) = database.twin(0).unwrap() {
                        twin.query(sql).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
                    }
                }
                opened += 1;
            }
        }
    }
    assert!(opened > 0 && refused > 60, "{opened} opened, {refused} refused");
}
