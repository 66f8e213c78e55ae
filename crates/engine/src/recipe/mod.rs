//! Recipes: TOML text to a typed, finite, closed description of a run.
//!
//! [`Recipe::load`] reads a file and `--set` overrides, [`Recipe::parse`] a text. Both report every
//! problem at once, each with its line, and nothing is half read: a [`Checked`] recipe has passed
//! every check that needs no model and no data. The text is parsed into `toml`'s spanned tree and
//! read from there table by table ([`section`]), so that an error names the line of its own key.
//!
//! What a key means, defaults to and may be stands in one place, its declaration ([`macros`]).

mod calculator;
mod checkpoints;
mod combine;
mod combine_columns;
mod combine_control;
mod combine_external;
mod combine_grow;
mod combine_rejection;
mod combine_rewards;
mod combine_rl;
mod combine_stage;
mod combine_world;
mod compute;
mod convert;
mod critic;
mod distill;
mod document;
mod environment;
mod error;
mod estimator;
mod evaluate;
mod external;
mod guards;
mod judge;
mod macros;
mod math_answer;
mod methods;
mod model;
mod nearest;
mod offline;
mod optimizer;
mod overrides;
mod part;
mod part_error;
mod preference;
mod prompt;
mod python;
mod rejection;
mod repeat;
mod rl;
mod scorer;
mod section;
mod setting;
mod sft;
mod source;
mod sql;
mod stage;
mod supervision;
mod trust_region;
mod write;

/// Named maxima of recipes.
pub(crate) mod limits {
    pub(crate) use super::combine_stage::ATTEMPTS_MAX as ATTEMPTS;
    pub(crate) use super::section::PROBLEMS_MAX as PROBLEMS;
    pub(crate) use super::source::{BYTES_MAX as BYTES, DEPTH_MAX as DEPTH};
    pub(crate) use super::stage::STAGES_MAX as STAGES;
}

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

pub use calculator::{Calculator, CalculatorMix, CalculatorWorld};
pub use checkpoints::{Best, Checkpoints};
pub use compute::{Compute, Device, Precision};
pub use critic::{Critic, Trunk};
pub use distill::Distill;
pub use environment::{Environment, Files, Source};
pub use error::RecipeError;
pub use estimator::{Estimator, EstimatorTrunk};
pub use evaluate::{Decoding, Evaluate, Split};
pub use external::{External, ExternalMode, ExternalSource, ProgramTasks};
pub use guards::Guards;
pub use judge::{Judge, Orders};
pub use macros::Entry;
pub use math_answer::{AnswerForm, MathAnswer, StepEnd};
pub use model::{Family, Lora, Model, Scratch, Tokenizer};
pub use offline::{Offline, OfflineTrunk};
pub use optimizer::{Optimizer, Schedule};
pub use preference::{Control, PairFile, Pairs, Preference};
pub use prompt::PromptText;
pub use python::{CaseReward, PythonSettings};
pub use rejection::{Dedupe, Prefer, Rejection};
pub use rl::Rl;
pub use scorer::{Continuations, Learned, ScorerConfig};
pub use sft::{Demonstrations, Sft, Turns};
pub use sql::{Entity, Exact, Explore, Mix, QueryLimits, ResultCompare, Sandbox, Sql, World};
pub use stage::Stage;
pub use supervision::Supervision;
pub use trust_region::TrustRegion;
pub use write::{Difference, diff};

use macros::Settings;
use section::{Notes, Problem, Section};

/// A run as its author wants it: a seed, a model, a world and a list of stages.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Recipe {
    /// Every draw of the run follows from it.
    pub seed: u64,
    /// What the policy is made of.
    pub model: Model,
    /// A file with a chat template in place of the model's own (`model.chat_template`).
    pub chat_template: Option<String>,
    /// What trains in place of the model's weights (`model.lora`); without it they all train.
    pub lora: Option<Lora>,
    /// How the model is computed (`model.compute`).
    pub compute: Compute,
    /// Which checkpoints stay.
    pub checkpoints: Checkpoints,
    /// What the run watches.
    pub guards: Guards,
    /// What answers and judges it.
    pub environment: Environment,
    /// What happens, in order.
    pub stage: Vec<Stage>,
}

/// A recipe that can run, and what its author should know before it does.
#[derive(Clone, PartialEq, Debug)]
pub struct Checked {
    /// With every default filled in.
    pub recipe: Recipe,
    /// Allowed and probably not meant, in order of line.
    pub warnings: Vec<RecipeError>,
}

impl Recipe {
    /// Reads a recipe from text; `file` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong with it, in order of line.
    pub fn parse(text: &str, file: &str) -> Result<Checked, Vec<RecipeError>> {
        Recipe::parse_with(text, file, &[])
    }

    /// Reads a recipe from a file and puts `key=value` overrides into it. Values are TOML; bare
    /// words are text.
    ///
    /// # Errors
    /// As [`Recipe::parse`]; an override's problems have `--set` for a file and come last.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Checked, Vec<RecipeError>> {
        let file = path.display().to_string();
        match source::read(path) {
            Ok(text) => Recipe::parse_with(&text, &file, overrides),
            Err(message) => {
                let key = String::new();
                Err(vec![RecipeError { file, line: 0, column: 0, key, message }])
            }
        }
    }

    /// [`Recipe::parse`] with overrides.
    ///
    /// # Errors
    /// As [`Recipe::load`].
    pub fn parse_with(
        text: &str,
        file: &str,
        overrides: &[String],
    ) -> Result<Checked, Vec<RecipeError>> {
        let notes = Notes::default();
        let recipe = document::parse(text, &notes).and_then(|mut tree| {
            overrides::apply(&mut tree, overrides, text.len(), &notes);
            repeat::unroll(&mut tree, &notes);
            let recipe = read(&tree, &notes);
            combine::check(&recipe, &tree, &notes);
            recipe.stage.into_iter().collect::<Option<Vec<Stage>>>().map(|stage| Recipe {
                seed: recipe.seed,
                model: recipe.model,
                chat_template: recipe.chat_template,
                lora: recipe.lora,
                compute: recipe.compute,
                checkpoints: recipe.checkpoints,
                guards: recipe.guards,
                environment: recipe.environment,
                stage,
            })
        });
        let place = |problems: Vec<Problem>| place(problems, text, file);
        let errors = place(notes.errors.take());
        match recipe {
            Some(recipe) if errors.is_empty() => {
                Ok(Checked { recipe, warnings: place(notes.warnings.take()) })
            }
            _ => Err(errors),
        }
    }
}

/// A recipe as far as it could be read: a stage that could not be stands as `None`.
struct Draft {
    seed: u64,
    model: Model,
    chat_template: Option<String>,
    lora: Option<Lora>,
    compute: Compute,
    checkpoints: Checkpoints,
    guards: Guards,
    environment: Environment,
    stage: Vec<Option<Stage>>,
}

fn read(tree: &toml::de::DeValue<'_>, notes: &Notes) -> Draft {
    let empty = toml::de::DeTable::new();
    let top = Section::new(notes, String::new(), 0, tree.as_table().unwrap_or(&empty));
    let draft = Draft {
        seed: top.setting("seed", 0, write::SEED_LIMIT),
        model: Model::read(&top, Model::default()),
        chat_template: model::chat_template(&top),
        lora: Lora::read_from(&top),
        compute: Compute::read_from(&top),
        checkpoints: Checkpoints::read_from(&top),
        guards: Guards::read_from(&top),
        environment: Environment::read(&top, Environment::default()),
        stage: stage::read_all(&top),
    };
    top.finish();
    draft
}

/// Problems with their lines, in order and each once.
fn place(mut problems: Vec<Problem>, text: &str, file: &str) -> Vec<RecipeError> {
    problems.sort();
    problems.dedup();
    // What is wrong in each round of a `repeat` is wrong once.
    let mut first = BTreeMap::new();
    problems.retain(|problem| {
        let place = (problem.offset, repeat::without_index(&problem.key).to_owned());
        let key = &problem.key;
        place.0 == section::WHOLE_FILE || first.entry(place).or_insert_with(|| key.clone()) == key
    });
    let more = problems.len() > section::PROBLEMS_MAX;
    problems.truncate(section::PROBLEMS_MAX);
    let one = |problem: Problem| {
        let Problem { offset, key, message } = problem;
        if offset > text.len() && offset != section::WHOLE_FILE {
            let file = "--set".to_owned();
            return RecipeError { file, line: 0, column: 0, key, message };
        }
        let whole = offset == section::WHOLE_FILE;
        let (line, column) = if whole { (0, 0) } else { source::position(text, offset) };
        RecipeError { file: file.to_owned(), line, column, key, message }
    };
    let mut placed: Vec<RecipeError> = problems.into_iter().map(one).collect();
    if more {
        let message = format!("and more; the first {} are shown", section::PROBLEMS_MAX);
        let (file, key) = (file.to_owned(), String::new());
        placed.push(RecipeError { file, line: 0, column: 0, key, message });
    }
    placed
}
