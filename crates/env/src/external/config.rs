//! Settings of the `external` environment.

use std::ffi::OsString;
use std::time::Duration;

use crate::EnvError;
use crate::math_answer::StepEnd;
use crate::prompt::Prompt;

/// What the program does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// It answers every step of an attempt and judges it in the end.
    #[default]
    Environment,
    /// It reads a finished attempt and judges it.
    Grader,
}

impl Mode {
    /// The word a recipe uses.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Environment => "environment",
            Mode::Grader => "grader",
        }
    }
}

/// The recipe's `environment = { type = "external", ... }` without `type` and tasks.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Names of variables of this process that it sees beside the usual ones ([`KEPT`]).
    pub variables: Vec<String>,
    /// What it does.
    pub mode: Mode,
    /// Range of the verdict's reward, both ends included; finite, the first below the second.
    pub reward: (f64, f64),
    /// Names of the verdict's parts, in the order reports show them.
    pub parts: Vec<String>,
    /// How a task becomes the text that the policy reads.
    pub prompt: Prompt,
    /// Where steps of an attempt end, for a grader.
    pub step: StepEnd,
    /// Most steps of an attempt, 1 to 1000.
    pub max_steps: u32,
    /// What the program may take.
    pub limits: Limits,
}

/// Variables of this process that every program sees, and all whose names begin with `LC_`. What
/// else stands in the environment may be a secret (P23) and is passed on by name only.
pub const KEPT: [&str; 13] = [
    "CONDA_PREFIX",
    "HOME",
    "LANG",
    "LANGUAGE",
    "LD_LIBRARY_PATH",
    "LOGNAME",
    "PATH",
    "PYTHONHOME",
    "PYTHONPATH",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
];

/// What a program may take, so that whatever it does the run goes on.
#[derive(Clone, PartialEq, Debug)]
pub struct Limits {
    /// How long it may take to say hello.
    pub start_timeout: Duration,
    /// How long it may take to answer any other request.
    pub timeout: Duration,
    /// How often it is started again before it is given up; a thousand good replies forgive all.
    pub restarts_max: u32,
    /// Bytes of one line of its output, 1,024 to 2^28.
    pub line_bytes_max: usize,
    /// Bytes of an observation; what is longer is cut, with a mark. 64 to 10^7.
    pub observation_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            command: Vec::new(),
            variables: Vec::new(),
            mode: Mode::Environment,
            reward: (0.0, 1.0),
            parts: Vec::new(),
            prompt: Prompt::default(),
            step: StepEnd::Answer,
            max_steps: 16,
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            start_timeout: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            restarts_max: 8,
            line_bytes_max: 1 << 20,
            observation_bytes_max: 4000,
        }
    }
}

impl Config {
    /// Refuses settings outside their range.
    pub fn check(&self) -> Result<(), EnvError> {
        let wrong = |name, expected, got| Err(EnvError::Setting { name, expected, got });
        let (least, most) = self.reward;
        if self.command.is_empty() {
            return wrong("command", "a program and its arguments", "nothing".to_owned());
        }
        if !(least.is_finite() && most.is_finite() && least < most) {
            let expected = "two finite numbers, the first below the second";
            return wrong("reward_min, reward_max", expected, format!("{least}, {most}"));
        }
        if !(1..=1000).contains(&self.max_steps) {
            return wrong("max_steps", "1 to 1000", self.max_steps.to_string());
        }
        let Limits { line_bytes_max, observation_bytes_max, .. } = self.limits;
        if !(1024..=1 << 28).contains(&line_bytes_max) {
            return wrong("line_bytes_max", "1,024 to 2^28", line_bytes_max.to_string());
        }
        if !(64..=10_000_000).contains(&observation_bytes_max) {
            return wrong("observation_bytes_max", "64 to 10^7", observation_bytes_max.to_string());
        }
        self.variables.iter().try_for_each(|name| variable(name))
    }

    /// The variables that the program sees, by name.
    pub(super) fn environment(&self) -> Vec<(OsString, OsString)> {
        let named = |name: &str| {
            KEPT.contains(&name)
                || name.starts_with("LC_")
                || self.variables.iter().any(|own| own == name)
        };
        std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(named)).collect()
    }
}

/// Refuses what is no name of a variable, and the name of one that is not set.
fn variable(name: &str) -> Result<(), EnvError> {
    let wrong = |expected, got: String| {
        Err(EnvError::Setting { name: "variables", expected, got: format!("`{got}`") })
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(letter) {
        // Not repeated: `NAME=value` holds what must not be shown.
        let begin: String = name.chars().take_while(|c| letter(*c)).collect();
        return wrong("names of variables alone, not their values", format!("{begin}…"));
    }
    if std::env::var_os(name).is_none() {
        return wrong("names of variables that are set; export it first", name.to_owned());
    }
    Ok(())
}
