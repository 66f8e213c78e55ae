//! What all tests of this crate share.

/// Whoever counts the tests counts this too.
pub(crate) fn skipped(line: &str) {
    use std::io::Write as _;
    println!("skipped: {line}");
    let Some(list) = std::env::var_os("STEPWELL_SKIPPED") else { return };
    let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
    list.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// Without bubblewrap nothing here can run: each test is counted as skipped.
pub(crate) fn cannot_run(file: &str, tests: &[libtest_mimic::Trial]) -> bool {
    let missing = !std::path::Path::new("/usr/bin/bwrap").is_file();
    for test in tests.iter().filter(|_| missing) {
        skipped(&format!("{file}::{}: /usr/bin/bwrap is missing", test.name()));
    }
    missing
}
