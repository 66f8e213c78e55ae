//! What the tests of this crate share.

use std::io::Read as _;

/// Who nobody is, and who an ordinary user is.
pub(crate) const NOBODY: u32 = 65534;
pub(crate) const ORDINARY: u32 = 1000;

/// Whoever counts the tests counts this too.
pub(crate) fn skipped(line: &str) {
    use std::io::Write as _;
    println!("skipped: {line}");
    let Some(list) = std::env::var_os("STEPWELL_SKIPPED") else { return };
    let mut list = std::fs::File::options().create(true).append(true).open(list).unwrap();
    list.write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A random 128-bit value.
pub(crate) fn random() -> String {
    let mut bytes = [0; 16];
    let mut file = std::fs::File::open("/dev/urandom").unwrap();
    file.read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Processes whose words or environment hold a text. Zombies are none: whoever started them reaps.
pub(crate) fn tagged(tag: &str) -> Vec<u32> {
    let holds = |process: &u32| {
        let file =
            |name: &str| std::fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
        [file("cmdline"), file("environ")]
            .iter()
            .any(|bytes| bytes.windows(tag.len()).any(|window| window == tag.as_bytes()))
    };
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|process| *process != std::process::id()).filter(holds).collect()
}
