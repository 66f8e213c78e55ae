//! Words of the commands that compare, repeat and try runs.

use std::path::PathBuf;

use clap::Args;

use super::{SplitWord, Threads};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell check runs/sql_explore-1

Digests show that no row was changed since it was written. Beyond that, tokens are compared with
texts, observations and verdicts with the environment, log-probabilities with the weights of kept
checkpoints, credit and metrics with the trees, checkpoints with their lineage. Nothing is written.
The exit code is 3 where something does not follow.")]
pub(crate) struct Check {
    /// The run's folder
    pub(crate) run: PathBuf,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell compare runs/sql_explore-1 runs/sql_grpo-1

Every difference is that of a run from the first one.")]
pub(crate) struct Compare {
    /// The runs' folders, two or more
    #[arg(required = true, num_args = 2..=16)]
    pub(crate) runs: Vec<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell sweep recipes/sql_explore.toml --seeds 1..5 --out runs/sweep
  stepwell sweep recipes/sql_explore.toml --seeds 1..5 --set stage[2].rl.learning_rate=1e-3,3e-4 \\
    --out runs/rates

The same words again go on where the sweep was stopped; more seeds or values add runs.")]
pub(crate) struct Sweep {
    /// The recipe, a TOML file
    pub(crate) recipe: PathBuf,
    /// Seeds: `1..5` (both ends are meant), `3`, or `1,2,7`
    #[arg(long, value_parser = seeds)]
    pub(crate) seeds: Seeds,
    /// Values of a key, e.g. `stage[1].rl.steps=20,40`; given again, all combinations are run
    #[arg(long, value_name = "KEY=VALUE,VALUE")]
    pub(crate) set: Vec<String>,
    /// The folder that holds the runs, new or of the same sweep
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,
    /// What is compared: of the last evaluation, or else of the last updates
    #[arg(long, value_name = "NAME", default_value = "accuracy")]
    pub(crate) metric: String,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

/// Seeds in the order they were named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seeds(pub(crate) Vec<u64>);

/// Most seeds of a sweep.
const SEEDS_MAX: u64 = 1000;

fn seeds(text: &str) -> Result<Seeds, String> {
    let number = |text: &str| -> Result<u64, String> {
        let number = text.trim().parse::<u64>();
        number.map_err(|_| format!("expected `1..5`, `3` or `1,2,7`, got: {text}"))
    };
    let mut found: Vec<u64> = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once("..") {
            None => (number(part)?, number(part)?),
            Some((first, last)) => {
                (number(first)?, number(last.strip_prefix('=').unwrap_or(last))?)
            }
        };
        if first > last || last - first >= SEEDS_MAX {
            return Err(format!("must count up to at most {SEEDS_MAX} seeds, got: {part}"));
        }
        found.extend(first..=last);
    }
    let twice = found.iter().enumerate().find(|(i, seed)| found[..*i].contains(seed));
    match twice {
        Some((_, seed)) => Err(format!("names seed {seed} twice")),
        None if found.len() as u64 > SEEDS_MAX => Err(format!("names more than {SEEDS_MAX} seeds")),
        None => Ok(Seeds(found)),
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell play runs/sql_explore-1                         then `help`
  stepwell play runs/sql_explore-1 --task 3 --attempts 4   four attempts, and no questions asked
  echo 'task 3
  try 4
  take 2
  go' | stepwell play runs/sql_explore-1")]
pub(crate) struct Play {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// Begin with this task: its index in the split, its id, or a part of its question
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// Whole attempts at the task, and then end
    #[arg(long, value_name = "K", requires = "task")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) attempts: Option<u32>,
    /// Which tasks
    #[arg(long, value_enum, default_value = "held_out")]
    pub(crate) split: SplitWord,
    /// Divides the logits; 0 is the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = super::temperature)]
    pub(crate) temperature: f64,
    /// Seed of the draws. Default: the recipe's
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Number of a checkpoint, as in `inspect --checkpoint`. Default: the newest
    #[arg(long, value_name = "N")]
    pub(crate) checkpoint: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_ranges_with_both_ends_and_lists() {
        for (text, expected) in [
            ("1..5", vec![1, 2, 3, 4, 5]),
            ("1..=2", vec![1, 2]),
            ("7", vec![7]),
            ("3,1..2", vec![3, 1, 2]),
        ] {
            assert_eq!(seeds(text), Ok(Seeds(expected)), "{text}");
        }
        for (text, expected) in [
            ("5..1", "must count up"),
            ("0..1000", "must count up"),
            ("one", "got: one"),
            ("", "got: "),
            ("1,2,1", "names seed 1 twice"),
            ("1...3", "got: .3"),
        ] {
            assert!(seeds(text).unwrap_err().contains(expected), "{text}: {:?}", seeds(text));
        }
    }
}
