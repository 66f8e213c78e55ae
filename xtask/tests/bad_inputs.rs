//! docs/BAD_INPUTS.md is true: every row is there, and every test that it names is one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ROWS: std::ops::RangeInclusive<u32> = 1..=101;
const MISSING: &str = "does not exist yet: ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The cells of the table's rows, by number.
fn rows(page: &str) -> BTreeMap<u32, Vec<String>> {
    let mut found = BTreeMap::new();
    for line in page.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<String> =
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let Ok(number) = cells[0].parse::<u32>() else { continue };
        assert_eq!(cells.len(), 4, "row {number}: input, words and tests");
        assert!(found.insert(number, cells).is_none(), "row {number} is there twice");
    }
    found
}

/// True where the file has a test of this name: `#[test]` directly above its function.
fn is_test(source: &str, name: &str) -> bool {
    let head = format!("fn {name}(");
    source.match_indices(&head).any(|(at, _)| {
        let above = source[..at].trim_end();
        above.ends_with("#[test]")
    })
}

#[test]
fn every_row_has_a_test_that_exists_or_says_what_is_missing() {
    let page = std::fs::read_to_string(root().join("docs/BAD_INPUTS.md")).unwrap();
    let rows = rows(&page);
    let numbers: BTreeSet<u32> = rows.keys().copied().collect();
    assert_eq!(numbers, ROWS.collect::<BTreeSet<u32>>(), "rows that are missing or unknown");
    let mut broken = Vec::new();
    let mut named = 0;
    for (number, cells) in &rows {
        let tests: Vec<&str> = cells[3].split("`").filter(|part| part.contains(".rs: ")).collect();
        if tests.is_empty() && !cells[2].starts_with(MISSING) {
            broken.push(format!("row {number}: names no test"));
        }
        for test in tests {
            named += 1;
            let (file, name) = test.split_once(": ").unwrap();
            match std::fs::read_to_string(root().join("crates").join(file)) {
                Err(error) => broken.push(format!("row {number}: {file}: {error}")),
                Ok(source) if !is_test(&source, name) => {
                    broken.push(format!("row {number}: {file} has no test `{name}`"));
                }
                Ok(_) => {}
            }
        }
    }
    assert!(named > 120, "only {named} tests are named: the table is not read");
    assert!(broken.is_empty(), "docs/BAD_INPUTS.md:\n  {}", broken.join("\n  "));
}

#[test]
fn a_test_is_told_from_what_is_none() {
    let source = "#[test]\nfn real() {}\n\nfn helper() {}\n// fn said()\n";
    assert!(is_test(source, "real"));
    assert!(!is_test(source, "helper") && !is_test(source, "said") && !is_test(source, "re"));
}
