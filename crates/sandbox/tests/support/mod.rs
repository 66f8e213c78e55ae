//! What the tests of this crate share.

/// Whoever counts the tests counts this too.
pub(crate) fn skipped(line: &str) {
    use std::io::Write as _;
    println!("skipped: {line}");
    let Some(list) = std::env::var_os("STEPWELL_SKIPPED") else { return };
    let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
    list.write_all(format!("{line}\n").as_bytes()).unwrap();
}
