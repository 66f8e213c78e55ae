//! L7: a control group per jail, where this process may make one: memory of all processes and of
//! the workspace together (and so its inodes, which nothing else bounds), and their number.
//!
//! Version 2 where the unified tree has the controllers, else version 1. Never required
//! (DECISIONS 22); `doctor` tells what is missing without.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::jail::Limits;

const ROOT: &str = "/sys/fs/cgroup";
/// How long the processes of a group may take to die.
const DEATH: Duration = Duration::from_secs(2);

static NEXT: AtomicU64 = AtomicU64::new(0);

/// Folders of one jail; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// Makes the folders and writes the limits; `None` where one cannot be had.
    pub(crate) fn make(limits: &Limits) -> Option<Group> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("stepwell-{}-{number}", std::process::id());
        version_2(&name, limits).or_else(|| version_1(&name, limits))
    }

    /// The files that take a process in when its number is written.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// Kills what is left in the group.
    pub(crate) fn kill(&self) {
        for folder in &self.folders {
            let processes = std::fs::read_to_string(folder.join("cgroup.procs"));
            for number in processes.unwrap_or_default().lines() {
                let process = number.parse().ok().and_then(rustix::process::Pid::from_raw);
                if let Some(process) = process {
                    let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                }
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let deadline = std::time::Instant::now() + DEATH;
        for folder in &self.folders {
            // A folder can be removed once the last of its processes is gone.
            while std::fs::remove_dir(folder).is_err()
                && folder.exists()
                && std::time::Instant::now() < deadline
            {
                self.kill();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn version_2(name: &str, limits: &Limits) -> Option<Group> {
    let own = own_group()?;
    let folder = Path::new(ROOT).join(own.trim_start_matches('/')).join(name);
    let settings = [
        ("memory.max", limits.memory.to_string()),
        ("memory.swap.max", "0".to_owned()),
        ("pids.max", limits.processes.to_string()),
    ];
    make(vec![(folder, &settings)])
}

/// The path of this process in the unified tree.
fn own_group() -> Option<String> {
    let lines = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    lines.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
}

fn version_1(name: &str, limits: &Limits) -> Option<Group> {
    let memory = [("memory.limit_in_bytes", limits.memory.to_string())];
    let processes = [("pids.max", limits.processes.to_string())];
    let folder = |controller: &str| Path::new(ROOT).join(controller).join(name);
    make(vec![(folder("memory"), &memory[..]), (folder("pids"), &processes[..])])
}

/// Makes every folder with its settings, or none.
fn make(wanted: Vec<(PathBuf, &[(&str, String)])>) -> Option<Group> {
    let mut group = Group { folders: Vec::new() };
    for (folder, settings) in wanted {
        std::fs::create_dir(&folder).ok()?;
        group.folders.push(folder.clone());
        for (file, value) in settings {
            let file = folder.join(file);
            // A missing file is a missing controller.
            std::fs::OpenOptions::new()
                .write(true)
                .open(file)
                .and_then(|mut file| std::io::Write::write_all(&mut file, value.as_bytes()))
                .ok()?;
        }
    }
    Some(group)
}
