//! Words of `eval`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Threads;

/// Where questions come from.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum SplitWord {
    /// Never trained on, never looked at before the end
    HeldOut,
    /// Never trained on, looked at during development
    Development,
    /// What the run trained on
    Train,
}

/// How an answer is found.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum DecodingWord {
    /// One attempt, the likeliest token each time
    Greedy,
    /// Independent attempts; the accuracy is their mean
    Sample,
    /// Independent attempts; the commonest result wins
    LinearVote,
    /// One tree of attempts with shared prefixes; the commonest result wins
    TreeVote,
    /// `linear_vote` beside `tree_vote` with as many leaves
    Compare,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell eval runs/sql_explore-1
  stepwell eval runs/sql_explore-1 --decoding compare --leaves 8
  stepwell eval runs/sql_explore-1 --shuffled-results    the guess level
  stepwell eval runs/sql_verifier-1 --set decoding=best_of_n \\
      --set scorer.type=estimator --set scorer.stage=2    the best of eight, by a verifier")]
pub(crate) struct Eval {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// Which tasks
    #[arg(long, value_enum, default_value = "held_out")]
    pub(crate) split: SplitWord,
    /// Questions, in the split's order; all where the split has fewer
    #[arg(long, value_name = "N", default_value_t = 400)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) questions: u32,
    /// How an answer is found
    #[arg(long, value_enum, default_value = "greedy")]
    pub(crate) decoding: DecodingWord,
    /// Attempts per question, of all but `greedy`
    #[arg(long, value_name = "K", default_value_t = 8)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(crate) leaves: u32,
    /// Children of a step that branches, of `tree_vote`
    #[arg(long, value_name = "B", default_value_t = 2)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) branches: u32,
    /// Divides the logits, of all but `greedy`
    #[arg(long, value_name = "T", default_value_t = 0.8, value_parser = temperature)]
    pub(crate) temperature: f64,
    /// Answer each query with another question's rows: the accuracy that is left was guessed
    #[arg(long)]
    pub(crate) shuffled_results: bool,
    /// A key of `[stage.evaluate]` and its value, as in a recipe; goes before what is said above
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Seed of the draws. Default: the recipe's
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Number of a checkpoint, as in `inspect --checkpoint`. Default: the newest
    #[arg(long, value_name = "N")]
    pub(crate) checkpoint: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

pub(super) fn temperature(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("expected a number, got: {text}"))?;
    let range = number.is_finite() && (0.0..=100.0).contains(&number);
    range.then_some(number).ok_or_else(|| format!("must be in [0, 100], got: {text}"))
}
