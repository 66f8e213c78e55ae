//! What the command line says of itself. To accept new words: `STEPWELL_SNAPSHOTS=write`.

mod support;

use std::path::Path;

use support::run;

const PAGES: &[&[&str]] = &[
    &["--help"],
    &["train", "--help"],
    &["resume", "--help"],
    &["eval", "--help"],
    &["play", "--help"],
    &["compare", "--help"],
    &["sweep", "--help"],
    &["inspect", "--help"],
    &["check", "--help"],
    &["runs", "--help"],
    &["recipe", "--help"],
    &["methods", "--help"],
    &["import", "--help"],
    &["tasks", "check", "--help"],
    &["export", "--help"],
    &["doctor", "--help"],
];

#[test]
fn help_is_what_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let write = std::env::var_os("STEPWELL_SNAPSHOTS").is_some();
    let mut changed = Vec::new();
    for words in PAGES {
        let said = run(&folder, words).fine();
        assert_eq!(said.err, "");
        let name = words.iter().filter(|word| **word != "--help").copied();
        let name = name.collect::<Vec<_>>().join("_");
        let name = if name.is_empty() { "stepwell".to_owned() } else { name };
        let path = folder.join(format!("{name}.txt"));
        if write {
            std::fs::write(&path, &said.out).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != said.out {
            changed.push(format!("{}:\n{}", path.display(), said.out));
        }
    }
    assert!(changed.is_empty(), "STEPWELL_SNAPSHOTS=write accepts:\n{}", changed.join("\n"));
}

#[test]
fn no_word_is_help_and_a_wrong_word_is_the_users_input() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(folder.path(), &[]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("Usage: stepwell"), "{}", said.err);
    let said = run(folder.path(), &["trian", "x.toml"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("'train'"), "{}", said.err);
    let said = run(folder.path(), &["--version"]).fine();
    assert_eq!(said.out, concat!("stepwell ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let folder = support::workplace();
    let mut child = support::start(folder.path(), &["recipe", "show", "tiny.toml"]);
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
