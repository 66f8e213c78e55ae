//! Words of the commands that read and write files of the user.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

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

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell methods                 all of them, by kind
  stepwell methods sibling         one of them")]
pub(crate) struct Methods {
    /// The `type` a recipe gives it. Default: list all
    pub(crate) name: Option<String>,
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
    /// Read a task file and run every gold query or step: what cannot be judged, or only weakly
    Check(TasksCheck),
}

/// Environments that tasks can be for.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnvironmentName {
    /// Questions over databases
    Sql,
    /// Word problems
    Calculator,
    /// Questions with an answer that a program can compare
    #[value(name = "math_answer")]
    MathAnswer,
    /// Functions that cases test
    Python,
}

#[derive(Args, Debug)]
pub(crate) struct TasksCheck {
    /// The task file, one JSON object per line
    pub(crate) file: PathBuf,
    /// What answers the tasks
    #[arg(long, value_enum, value_name = "NAME", default_value = "sql")]
    pub(crate) environment: EnvironmentName,
    /// Folder of the databases that tasks of `sql` name
    #[arg(long, value_name = "FOLDER")]
    pub(crate) databases: Option<PathBuf>,
    /// A field that is allowed and ignored; may be given again
    #[arg(long, value_name = "FIELD")]
    pub(crate) extra: Vec<String>,
    /// Fail on warnings too
    #[arg(long)]
    pub(crate) strict: bool,
}

#[derive(Args, Debug)]
pub(crate) struct EnvWords {
    #[command(subcommand)]
    pub(crate) what: EnvCommand,
}

#[derive(Subcommand, Debug)]
pub(crate) enum EnvCommand {
    /// Start a program and try every law of an environment on it: exit code 1 where one is broken
    Check(EnvCheck),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  stepwell env check python3 examples/external/safe.py
  stepwell env check --tasks tasks.jsonl python3 examples/external/length_grader.py")]
pub(crate) struct EnvCheck {
    /// Tasks to try it with. Default: the program's own
    #[arg(long, value_name = "FILE")]
    pub(crate) tasks: Option<PathBuf>,
    /// Try it as a grader, where it can also play
    #[arg(long)]
    pub(crate) grader: bool,
    /// Most steps of an attempt
    #[arg(long, value_name = "N", default_value_t = 16,
        value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) max_steps: u32,
    /// Seconds that it may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// A variable of the environment that it sees beside the usual ones; may be given again
    #[arg(long, value_name = "NAME")]
    pub(crate) variable: Vec<String>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) program: Vec<String>,
}

/// What a copy looks like.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Every tree as one line of JSON, its steps inside
    Jsonl,
    /// Every step as one row of a Parquet table
    Parquet,
    /// A checkpoint as a folder that transformers, vLLM and llama.cpp's converter read; an
    /// adapter is merged into its base
    Huggingface,
    /// An adapter as a folder that PEFT and vLLM read beside its base
    Peft,
}

/// What a copy of the metrics looks like.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "snake_case")]
pub(crate) enum MetricsFormat {
    /// Comma-separated values: a row per update or evaluation, a column per metric
    Csv,
    /// Comma-separated values: a row per number
    CsvLong,
    /// A folder that TensorBoard shows
    Tensorboard,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true))]
#[command(after_help = "\
Examples:
  stepwell export runs/sql_explore-1 --format huggingface MODEL
  stepwell export runs/sql_explore-1 --metrics csv metrics.csv
  stepwell export runs/sql_explore-1 --metrics tensorboard --follow logs/sql_explore-1")]
pub(crate) struct Export {
    /// The run's folder
    pub(crate) run: PathBuf,
    /// Copy trees or the model
    #[arg(long, value_enum, group = "what")]
    pub(crate) format: Option<Format>,
    /// Copy metrics
    #[arg(long, value_enum, group = "what", value_name = "FORMAT")]
    pub(crate) metrics: Option<MetricsFormat>,
    /// Copy the model, an adapter merged into its base; as `--format huggingface`
    #[arg(long, group = "what")]
    pub(crate) merge: bool,
    /// Go on while the run goes on, of `--metrics tensorboard`
    #[arg(long, conflicts_with_all = ["format", "merge"])]
    pub(crate) follow: bool,
    /// Number of a checkpoint, as in `inspect --checkpoint`; of a model. Default: the newest
    #[arg(long, value_name = "N", conflicts_with = "metrics")]
    pub(crate) checkpoint: Option<u64>,
    /// The file or folder to write, which must not exist
    pub(crate) output: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct Doctor {
    /// One JSON object, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}
