//! The words of the command line and their help.

mod eval;
mod files;
mod runs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use eval::temperature;
pub(crate) use eval::{DecodingWord, Eval, SplitWord};
pub(crate) use files::{
    DataSet, Doctor, EnvCheck, EnvCommand, EnvWords, EnvironmentName, Export, Format, Import,
    Methods, MetricsFormat, RecipeCommand, RecipeFile, RecipeWords, TasksCheck, TasksCommand,
    TasksWords,
};
pub(crate) use runs::{Check, Compare, Play, Sweep};

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
    /// Talk to a run's policy step by step in its environment.
    Play(Play),
    /// Lay runs side by side: recipes, evaluations, curves.
    Compare(Compare),
    /// Run a recipe under several seeds and settings, and tell mean and standard error.
    Sweep(Sweep),
    /// Draw a tree of a run with reward and credit per step.
    Inspect(Inspect),
    /// Compute again what a run's record says, and name what does not follow.
    Check(Check),
    /// List runs.
    Runs(Runs),
    /// Check a recipe, or show it with every default.
    Recipe(RecipeWords),
    /// List the methods a recipe can name, or tell of one: paper, formula, control, keys.
    Methods(Methods),
    /// Turn a known data set into a task file.
    Import(Import),
    /// Check task files.
    Tasks(TasksWords),
    /// Check a program of yours that is to be an environment or a grader.
    Env(EnvWords),
    /// Copy a run's trees, its metrics or its model for other tools.
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
