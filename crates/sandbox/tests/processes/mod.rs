//! Processes as a test sees them from the host.

use std::io::Read as _;

/// Who an ordinary user is.
pub(crate) const ORDINARY: u32 = 1000;

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
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let others = numbers.filter(|process| *process != std::process::id());
    others.filter(|process| is_tagged(*process, tag)).collect()
}

/// Whether a process's words or environment hold a text.
pub(crate) fn is_tagged(process: u32, tag: &str) -> bool {
    ["cmdline", "environ"].iter().any(|name| {
        let bytes = std::fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
        bytes.windows(tag.len()).any(|window| window == tag.as_bytes())
    })
}

/// Folders of cgroups of a process.
pub(crate) fn groups(process: u32) -> Vec<String> {
    let parents = ["memory", "pids", "unified", ""];
    let entries = parents.iter().flat_map(|parent| {
        std::fs::read_dir(std::path::Path::new("/sys/fs/cgroup").join(parent))
            .into_iter()
            .flatten()
            .flatten()
    });
    let names = entries.map(|entry| entry.path().display().to_string());
    names.filter(|name| name.contains(&format!("stepwell-{process}-"))).collect()
}
