//! L7: a control group per jail, where this process may make one: memory of all processes and of
//! the workspace together (and so its inodes, which nothing else bounds), and their number.
//!
//! Version 2 where the unified tree has the controllers, else version 1. Never required
//! (DECISIONS 22); `doctor` tells what is missing without.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::child::{self, Role};
use crate::jail::{DEATH, Limits};
use crate::probe;

/// Processes of a jail that are not the program's: who reaps, and bubblewrap's two.
const OWN: u64 = 3;
const ROOT: &str = "/sys/fs/cgroup";

static NEXT: AtomicU64 = AtomicU64::new(0);
static KEEPER: OnceLock<Option<Child>> = OnceLock::new();

/// A process that removes the groups of an engine that was killed and so could not.
pub(crate) const ROLE: Role = Role { name: "keeper", run: keep };

/// Folders of one jail; removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// Makes the folders and writes the limits; `None` where one cannot be had.
    pub(crate) fn make(limits: &Limits) -> Option<Group> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}", prefix());
        let group = version_2(&name, limits).or_else(|| version_1(&name, limits))?;
        KEEPER.get_or_init(start_keeper);
        Some(group)
    }

    /// The files that take a process in when its number is written.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        self.folders.iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    /// Kills what is left in the group.
    pub(crate) fn kill(&self) {
        self.folders.iter().for_each(|folder| kill(folder));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.folders.iter().for_each(|folder| remove(folder));
    }
}

/// What the names of this process's groups begin with. Its number alone may have been another's.
fn prefix() -> &'static str {
    static PREFIX: OnceLock<String> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let own = std::process::id();
        let begun = probe::begun("self").unwrap_or_else(|_| "0".to_owned());
        format!("stepwell-{own}-{begun}-")
    })
}

fn kill(folder: &Path) {
    let processes = std::fs::read_to_string(folder.join("cgroup.procs"));
    for number in processes.unwrap_or_default().lines() {
        let process = number.parse().ok().and_then(rustix::process::Pid::from_raw);
        if let Some(process) = process {
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

/// Removes a folder, once the last of its processes is gone.
fn remove(folder: &Path) {
    let deadline = Instant::now() + DEATH;
    while std::fs::remove_dir(folder).is_err() && folder.exists() && Instant::now() < deadline {
        kill(folder);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Starts the keeper; it lives until the pipe to it closes, which is when this process ends.
fn start_keeper() -> Option<Child> {
    let mut command = child::command(&ROLE)?;
    command.arg(prefix()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()
}

fn keep(words: &[String]) -> ExitCode {
    // Not of the terminal's group: what ends the engine must not end its keeper.
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let Some(prefix) = words.first().filter(|prefix| prefix.starts_with("stepwell-")) else {
        return ExitCode::from(2);
    };
    for parent in parents() {
        for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(prefix) {
                remove(&entry.path());
            }
        }
    }
    ExitCode::SUCCESS
}

/// The folders that groups are made in.
fn parents() -> Vec<PathBuf> {
    let mut parents = vec![Path::new(ROOT).join("memory"), Path::new(ROOT).join("pids")];
    parents.extend(own_group().map(|own| Path::new(ROOT).join(own.trim_start_matches('/'))));
    parents
}

fn version_2(name: &str, limits: &Limits) -> Option<Group> {
    let own = own_group()?;
    let folder = Path::new(ROOT).join(own.trim_start_matches('/')).join(name);
    let settings = [
        ("memory.max", limits.memory.to_string()),
        ("memory.swap.max", "0".to_owned()),
        ("pids.max", (limits.processes + OWN).to_string()),
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
    let processes = [("pids.max", (limits.processes + OWN).to_string())];
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
