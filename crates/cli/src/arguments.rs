//! The words of the command line and their help.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Train language models on trees of steps.
///
/// A run reads a recipe, grows a tree of attempts per task, judges the leaves, gives every step its
/// credit, and trains. Everything that happened is in the run folder.
#[derive(Parser, Debug)]
#[command(
    name = "stepwell",
    version,
    max_term_width = 100,
    after_help = "\
Begin with:
  stepwell doctor                       is this machine ready?
  stepwell recipe check RECIPE          is the recipe right, and what will it need?
  stepwell train RECIPE                 train; Ctrl-C stops after the step, `resume` goes on
  stepwell inspect RUN                  look at one tree of the run

Exit codes: 0 fine, 1 the task failed, 2 your input, 3 the machine, 101 our bug, 130 stopped."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start a run.
    Train(Train),
    /// Go on with a run that was stopped.
    Resume(Resume),
    /// Judge a run's newest checkpoint; the run's record is not touched.
    Eval(Eval),
    /// Draw a tree of a run with reward and credit per step.
    Inspect(Inspect),
    /// List runs.
    Runs(Runs),
    /// Check a recipe, or show it with every default.
    Recipe(RecipeWords),
    /// Turn a known data set into a task file.
    Import(Import),
    /// Check task files.
    Tasks(TasksWords),
    /// Copy a run's trees or its model for other tools.
    Export(Export),
    /// Tell what this machine offers and what is missing.
    Doctor(Doctor),
}

/// How many threads compute.
#[derive(Args, Debug, Clone, Copy, Default)]
pub(crate) struct Threads {
    /// Threads that compute; the result does not depend on it. Default: one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

impl Threads {
    /// The number in use.
    pub(crate) fn count(self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.threads.map_or_else(cores, usize::from)
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell train recipes/sql_explore.toml
  stepwell train recipes/sql_explore.toml --set stage[1].rl.steps=20 --run runs/short

The first Ctrl-C finishes the step, writes a checkpoint and stops; the second stops at once. Either
way `stepwell resume` goes on and ends with the same weights.")]
pub(crate) struct Train {
    /// The recipe, a TOML file
    pub(crate) recipe: PathBuf,
    /// The run's folder, new or empty. Default: `runs/<recipe>-<n>`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) run: Option<PathBuf>,
    /// Put a value into the recipe, e.g. `stage[1].rl.steps=20`; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

#[derive(Args, Debug)]
pub(crate) struct Resume {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// Refuse to go on unless this recipe says the same as the run's own
    #[arg(long, value_name = "FILE")]
    pub(crate) recipe: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

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
  stepwell eval runs/sql_explore-1 --shuffled-results    the guess level")]
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
    /// Seed of the draws. Default: the recipe's
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// Number of a checkpoint, as in `inspect --checkpoint`. Default: the newest
    #[arg(long, value_name = "N")]
    pub(crate) checkpoint: Option<u64>,
    #[command(flatten)]
    pub(crate) threads: Threads,
}

fn temperature(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("expected a number, got: {text}"))?;
    let range = number.is_finite() && (0.0..=100.0).contains(&number);
    range.then_some(number).ok_or_else(|| format!("must be in [0, 100], got: {text}"))
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell inspect runs/sql_explore-1                            a tree of the newest update
  stepwell inspect runs/sql_explore-1 --update 0 --tree 3        the fourth tree of the first update
  stepwell inspect runs/sql_explore-1 --step 5                   the tokens of its step 5")]
pub(crate) struct Inspect {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// The update, counted from 0. Default: the newest
    #[arg(long, value_name = "N")]
    pub(crate) update: Option<u64>,
    /// Index of the stage. Default: the newest that grew trees
    #[arg(long, value_name = "S")]
    pub(crate) stage: Option<u32>,
    /// The tree of this task
    #[arg(long, value_name = "ID", conflicts_with = "tree")]
    pub(crate) task: Option<String>,
    /// The tree's index in the update. Default: the first whose leaves differ in reward
    #[arg(long, value_name = "I")]
    pub(crate) tree: Option<usize>,
    /// Show a step's text and tokens, with id, spelling and log-probability
    #[arg(long, value_name = "K")]
    pub(crate) step: Option<usize>,
    /// List the run's checkpoints instead
    #[arg(long, conflicts_with_all = ["update", "stage", "task", "tree", "step"])]
    pub(crate) checkpoint: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Runs {
    /// The folder that holds them
    #[arg(default_value = "runs")]
    pub(crate) folder: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct RecipeWords {
    #[command(subcommand)]
    pub(crate) what: RecipeCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum RecipeCommand {
    /// Report every problem at once, or what the run will need: memory, disk, time
    Check(RecipeFile),
    /// Print the recipe with every default and what each key means
    Show(RecipeFile),
}

#[derive(Args, Debug)]
pub(crate) struct RecipeFile {
    /// The recipe, a TOML file
    pub(crate) recipe: PathBuf,
    /// Put a value into the recipe, e.g. `stage[1].rl.steps=20`; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Data sets that can be read.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataSet {
    /// Spider's `train_spider.json` or `dev.json`: SQL tasks
    Spider,
    /// GSM8K's JSON lines: calculator tasks
    Gsm8k,
    /// SVAMP's `SVAMP.json`: calculator tasks
    Svamp,
    /// Conversations as `messages`, or as ShareGPT's `conversations`: demonstrations
    Chat,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// What the input is
    #[arg(value_enum)]
    pub(crate) data_set: DataSet,
    /// The data set's file
    pub(crate) input: PathBuf,
    /// The file to write, which must not exist
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct TasksWords {
    #[command(subcommand)]
    pub(crate) what: TasksCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TasksCommand {
    /// Read a task file and run every gold query: what cannot be judged, or only weakly
    Check(TasksCheck),
}

#[derive(Args, Debug)]
pub(crate) struct TasksCheck {
    /// The task file, one JSON object per line
    pub(crate) file: PathBuf,
    /// Folder of the databases that tasks name
    #[arg(long, value_name = "FOLDER")]
    pub(crate) databases: PathBuf,
    /// A field that is allowed and ignored; may be given again
    #[arg(long, value_name = "FIELD")]
    pub(crate) extra: Vec<String>,
    /// Fail on warnings too
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What a copy looks like.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Every tree as one line of JSON, its steps inside
    Jsonl,
    /// Every step as one row of a Parquet table
    Parquet,
    /// The newest checkpoint as a folder that transformers, vLLM and llama.cpp's converter read
    Huggingface,
}

#[derive(Args, Debug)]
pub(crate) struct Export {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// What to write
    #[arg(long, value_enum)]
    pub(crate) format: Format,
    /// The file or folder to write, which must not exist
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// One JSON object, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}
