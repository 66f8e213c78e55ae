//! Settings of the `python` environment.

use std::path::PathBuf;

use stepwell_sandbox::jail::Limits;
use stepwell_sandbox::python::Python;

use crate::EnvError;

/// What a finished attempt earns.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reward {
    /// 1 where every case is right, else 0.
    #[default]
    All,
    /// The share of cases that are right.
    Share,
}

/// The recipe's `environment = { type = "python", ... }` without `type` and file names.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The interpreter by its absolute path, Python 3.8 or newer.
    pub interpreter: PathBuf,
    /// Folders of this machine that programs may read, besides `/usr`.
    pub read: Vec<PathBuf>,
    /// True where programs may import installed packages; else the standard library alone.
    pub packages: bool,
    /// What an attempt earns.
    pub reward: Reward,
    /// Most programs that are run in an attempt, before the answer. 0 to 1000.
    pub max_interactions: u32,
    /// Seconds of processor time of one program, or of one case, 1 to 600; by the wall clock ten
    /// times as many.
    pub seconds: u32,
    /// Megabytes of memory, 64 to 65,536.
    pub memory_megabytes: u64,
    /// Megabytes of the workspace, 1 to 65,536.
    pub workspace_megabytes: u64,
    /// Processes and threads of a program, 1 to 1024.
    pub processes: u64,
    /// Bytes of an observation, 64 to 1,000,000; what is longer is cut, with a mark.
    pub observation_bytes_max: usize,
    /// A file of the workspace that is the answer, in place of the text between the answer's tags.
    pub artifact: Option<String>,
    /// True where the prompt explains the tags.
    pub instructions: bool,
    /// True where a layer of the sandbox that this machine lacks is left out, not refused.
    pub weak: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            interpreter: PathBuf::from("/usr/bin/python3"),
            read: Vec::new(),
            packages: false,
            reward: Reward::All,
            max_interactions: 4,
            seconds: 5,
            memory_megabytes: 512,
            workspace_megabytes: 64,
            processes: 32,
            observation_bytes_max: 1000,
            artifact: None,
            instructions: true,
            weak: false,
        }
    }
}

impl Config {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), EnvError> {
        let wrong = |name, expected, got: String| Err(EnvError::Setting { name, expected, got });
        if !self.interpreter.is_absolute() {
            let got = self.interpreter.display().to_string();
            return wrong("interpreter", "an absolute path", got);
        }
        if let Some(folder) = self.read.iter().find(|folder| !folder.is_absolute()) {
            return wrong("read", "absolute paths of folders", folder.display().to_string());
        }
        let whole = [
            ("max_interactions", u64::from(self.max_interactions), 0..=1000, "0 to 1000"),
            ("seconds", u64::from(self.seconds), 1..=600, "1 to 600"),
            ("memory_megabytes", self.memory_megabytes, 64..=65_536, "64 to 65,536"),
            ("workspace_megabytes", self.workspace_megabytes, 1..=65_536, "1 to 65,536"),
            ("processes", self.processes, 1..=1024, "1 to 1024"),
            (
                "observation_bytes_max",
                self.observation_bytes_max as u64,
                64..=1_000_000,
                "64 to 10^6",
            ),
        ];
        for (name, got, allowed, expected) in whole {
            if !allowed.contains(&got) {
                return wrong(name, expected, got.to_string());
            }
        }
        Ok(())
    }

    /// The interpreter as the sandbox starts it.
    pub(super) fn python(&self) -> Python {
        let memory = self.memory_megabytes << 20;
        let workspace_bytes = self.workspace_megabytes << 20;
        Python {
            interpreter: self.interpreter.clone(),
            read: self.read.clone(),
            packages: self.packages,
            seconds: self.seconds,
            output_bytes: self.observation_bytes_max,
            limits: Limits {
                address_space: memory,
                memory,
                // A runaway that catches every exception: the kernel ends it in the end.
                cpu_seconds: u64::from(self.seconds) * (u64::from(self.max_interactions) + 2) + 60,
                processes: self.processes,
                workspace_bytes,
                file_bytes: workspace_bytes,
                ..Limits::default()
            },
            weak: self.weak,
            ..Python::default()
        }
    }
}
