//! What a recipe's environment stands for: tasks, judges, demonstrations, and a model that can
//! read them.

mod calculator;
mod conversations;
mod external;
mod files;
mod math_answer;
mod python;
mod sql;
mod template;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use stepwell_env::demonstrations;
use stepwell_env::pairs::{self, Comparison};
use stepwell_env::prompt::{Prompt, Prompted};
use stepwell_env::tasks;
use stepwell_model::io;
use stepwell_model::template::ChatTemplate;
use stepwell_model::tokenizer::{Tokenizer, words_of};
use stepwell_model::{Adapter, Model};
use stepwell_train::{Codec, Learner};
use stepwell_tree::{Demonstration, Environment, Key, Task};

use files::Tasks;

pub(crate) use conversations::Told;
pub(crate) use external::WATCHED_BYTES_MAX as WATCHED_BYTES;
pub(crate) use template::template_task;

use crate::error::EngineError;
use crate::limits::TREE_TOKENS;
use crate::recipe::{self, Demonstrations, Recipe, Split, Stage};
use crate::stage::hinted;

/// Everything a recipe's stages ask, answer and judge with.
pub struct Problem {
    /// The world as it is.
    pub environment: Box<dyn Environment>,
    /// The same world with every observation replaced by another question's: what is still right
    /// here was guessed. Made only where a stage asks for it.
    pub blindfolded: Option<Box<dyn Environment>>,
    /// Tasks to train on.
    pub train: Vec<Task>,
    /// Tasks for decisions during development.
    pub development: Vec<Task>,
    /// Tasks for the final evaluation.
    pub held_out: Vec<Task>,
    /// Things a person should know: odd lines of task files.
    pub notes: Vec<String>,
    /// The user's files of tasks, pairs and conversations, and what they held when they were read.
    watched: Vec<(PathBuf, [u8; 32])>,
    /// Words beside those of prompts that a policy made from scratch should know.
    speech: Vec<String>,
    /// Writes demonstrations where the world is generated.
    world: Option<Box<dyn World>>,
    /// Gold steps of training tasks, worked, where a stage asks for them.
    gold: Vec<Demonstration>,
    /// Pairs of the user's files, by path, where stages ask for them.
    pairs: BTreeMap<String, pairs::Loaded>,
    /// Conversations of the user's files, by path, where stages ask for them.
    shown: BTreeMap<String, demonstrations::Loaded>,
    /// What the model's files had that is odd, once they were read.
    of_model: OnceLock<Vec<String>>,
}

/// What a generated world tells beside its tasks.
trait World: Send + Sync {
    /// A worked attempt at a fresh question of training.
    fn demonstration(&self, key: Key) -> Demonstration;

    /// How often an answer to the tasks of a split is right that cannot look, by construction.
    fn guess_level(&self, split: Split) -> f64;
}

impl Problem {
    fn new(
        tasks: Tasks,
        environment: Box<dyn Environment>,
        blindfolded: Option<Box<dyn Environment>>,
        speech: Vec<String>,
        world: Option<Box<dyn World>>,
    ) -> Problem {
        let Tasks { train, development, held_out, notes, watched } = tasks;
        Problem {
            environment,
            blindfolded,
            train,
            development,
            held_out,
            notes,
            watched,
            speech,
            world,
            gold: Vec::new(),
            pairs: BTreeMap::new(),
            shown: BTreeMap::new(),
            of_model: OnceLock::new(),
        }
    }

    /// The same, with what the policy reads put under a prompt of the user's own.
    fn under(mut self, prompt: &Prompt) -> Problem {
        let put = |environment| Prompted { environment, prompt: prompt.clone() };
        self.blindfolded = self.blindfolded.map(|blind| Box::new(put(blind)) as _);
        self.environment = Box::new(put(self.environment));
        self
    }

    /// Reads or generates what the recipe names. Nothing is written.
    ///
    /// # Errors
    /// Where a file is missing or wrong.
    pub fn build(recipe: &Recipe) -> Result<Problem, EngineError> {
        let wanted = |what: fn(&Stage) -> bool| recipe.stage.iter().any(what);
        let blind = wanted(|stage| matches!(stage, Stage::Evaluate(e) if e.shuffled_results));
        let gold = wanted(|stage| {
            let gold = Some(Demonstrations::GoldSteps);
            match stage {
                Stage::Sft(sft) => sft.demonstrations == gold,
                Stage::Rl(rl) => rl.supervision.demonstrations == gold,
                _ => false,
            }
        });
        let mut problem = match &recipe.environment {
            recipe::Environment::Sql(settings) => sql::problem(settings, blind),
            recipe::Environment::Calculator(settings) => calculator::problem(settings, blind, gold),
            recipe::Environment::MathAnswer(settings) => math_answer::problem(settings),
            recipe::Environment::Python(settings) => python::problem(settings),
            recipe::Environment::External(settings) => external::problem(settings),
        }
        .map_err(|error| match error.is_of_the_machine() {
            true => EngineError::Machine(error.to_string()),
            false => input(error),
        })?;
        if let Some(open) = problem.environment.weakness() {
            problem.notes.push(format!("sandbox: weak: {open}"));
        }
        if let Some(prompt) = recipe.environment.prompt() {
            problem = problem.under(&prompt.0);
        }
        for stage in &recipe.stage {
            problem.read_conversations(stage)?;
            let Some(file) = stage.pair_file() else { continue };
            let loaded = pairs::load(Path::new(&file.path)).map_err(input)?;
            problem.watched.push((PathBuf::from(&file.path), loaded.digest));
            problem.pairs.insert(file.path.clone(), loaded);
        }
        if wanted(|stage| matches!(stage, Stage::Rejection(r) if r.hints)) {
            let hints = problem.train.iter().filter_map(|task| problem.environment.hint(task));
            let known: Vec<String> = hints.flat_map(|hint| words_of(&hint)).collect();
            problem.speech.extend(known);
            problem.speech.sort();
            problem.speech.dedup();
        }
        Ok(problem)
    }

    /// The pairs of a file that a stage names.
    pub fn pairs(&self, path: &str) -> &[Comparison] {
        &self.pairs[path].pairs
    }

    /// The training tasks' gold steps, worked; none unless a stage asks for them.
    pub fn gold(&self) -> &[Demonstration] {
        &self.gold
    }

    /// The tasks of a split.
    pub fn tasks(&self, split: Split) -> &[Task] {
        match split {
            Split::Train => &self.train,
            Split::Development => &self.development,
            Split::HeldOut => &self.held_out,
        }
    }

    /// Every split by name.
    pub fn splits(&self) -> [(&'static str, &[Task]); 3] {
        [("train", &self.train), ("development", &self.development), ("held_out", &self.held_out)]
    }

    /// How often an answer is right that cannot look, by construction; known for generated worlds.
    pub fn guess_level(&self, split: Split) -> Option<f64> {
        self.world.as_ref().map(|world| world.guess_level(split))
    }

    /// A fresh worked attempt at a question of training. Panics without a generated world: recipes
    /// that ask for one are refused when they are read.
    pub fn demonstration(&self, key: Key) -> Demonstration {
        let world = self.world.as_ref().expect("the recipe was checked for a world");
        world.demonstration(key)
    }

    /// The model of the recipe with a codec, at version 0; with a fresh adapter where the recipe
    /// has one.
    ///
    /// # Errors
    /// Where the model's folder or file is wrong, its template cannot be used, or the recipe's
    /// device cannot be had.
    pub fn learner(&self, recipe: &Recipe, threads: usize) -> Result<Learner, EngineError> {
        let (mut model, tokenizer, template) = match &recipe.model {
            recipe::Model::Path(path) => {
                let loaded = io::load(Path::new(path)).map_err(input)?;
                // Asked for again, a model says the same.
                self.of_model.get_or_init(|| loaded.notes);
                (loaded.model, loaded.tokenizer, loaded.template)
            }
            recipe::Model::Scratch(scratch) => {
                let tokenizer = match scratch.tokenizer {
                    recipe::Tokenizer::Bytes => Tokenizer::bytes(),
                    recipe::Tokenizer::Words => {
                        Tokenizer::from_words(self.words()).map_err(input)?
                    }
                };
                let config = scratch.config(tokenizer.vocabulary());
                (Model::random(config, recipe.seed), tokenizer, Some(ChatTemplate::plain()))
            }
        };
        if let Some(lora) = &recipe.lora {
            let adapter = Adapter::new(model.config(), lora.settings(), recipe.seed);
            model.attach(adapter).map_err(input)?;
        }
        model.set_precision(recipe.compute.precision.of_model());
        let template = template::template(recipe, &tokenizer, template)?;
        let codec =
            Codec::new(tokenizer, template).map_err(|error| match &recipe.chat_template {
                Some(path) => template::wrong(path, &error.to_string()),
                None => input(error),
            })?;
        let mut learner = Learner::on(recipe.compute.device.of_train(), model, codec, threads)?;
        learner.set_activation_budget(recipe.compute.activation_bytes());
        Ok(learner)
    }

    /// What a person should know of the model's files, once [`Problem::learner`] read them: keys
    /// that were ignored, ids without a text.
    pub fn model_notes(&self) -> &[String] {
        self.of_model.get().map_or(&[], Vec::as_slice)
    }

    /// Every word that prompts, answers and results of this problem can hold; for the user's own
    /// files, the words of prompts, markup and gold.
    fn words(&self) -> Vec<String> {
        let mut words = self.speech.clone();
        if self.world.is_some() {
            return words;
        }
        for (_, tasks) in self.splits() {
            for task in tasks {
                let opening = self.environment.opening(task);
                for text in [&opening.system, &opening.user] {
                    words.extend(words_of(text));
                }
            }
        }
        words.sort();
        words.dedup();
        words
    }

    /// Refuses to go on where a file is no longer what the run began with.
    ///
    /// # Errors
    /// Names the file.
    pub fn require_unchanged(&self) -> Result<(), EngineError> {
        self.watched
            .iter()
            .try_for_each(|(path, digest)| tasks::changed(path, digest).map_err(input))
    }

    /// Files of the user's that the problem was read from.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.watched.iter().map(|(path, _)| path.as_path())
    }

    /// Refuses conversations that do not fit, and prompts that leave no room for a step on their
    /// path.
    ///
    /// # Errors
    /// Names the first that does not fit and counts the others.
    pub fn require_fit(&self, recipe: &Recipe, learner: &Learner) -> Result<(), EngineError> {
        let context = learner.model().config().context;
        let limit = |tokens: Option<usize>| tokens.unwrap_or(context).min(context);
        for (index, stage) in recipe.stage.iter().enumerate() {
            if let Some((name, keys)) = conversations::supervision(stage) {
                self.require_conversations_fit((index, name), &keys, learner)?;
            }
            let (key, split, most, step) = match stage {
                Stage::Sft(_) => continue,
                Stage::Offline(o) if o.log.is_some() => continue,
                Stage::Offline(o) => ("offline", Split::Train, limit(o.path_tokens), o.max_tokens),
                other if other.pair_file().is_some() => {
                    let file = other.pair_file().expect("it was just asked");
                    self.require_pairs_fit((index, other.name()), &file, learner)?;
                    continue;
                }
                Stage::Preference(p) => {
                    ("preference", Split::Train, limit(p.path_tokens), p.max_tokens)
                }
                Stage::Rl(rl) => ("rl", Split::Train, limit(rl.path_tokens), rl.max_tokens),
                Stage::Rejection(r) => {
                    ("rejection", Split::Train, limit(r.path_tokens), r.max_tokens)
                }
                Stage::Estimator(e) => {
                    ("estimator", Split::Train, limit(e.path_tokens), e.max_tokens)
                }
                Stage::Evaluate(e) => ("evaluate", e.split, limit(e.path_tokens), e.max_tokens),
            };
            require_small(index, stage, most)?;
            let hints = matches!(stage, Stage::Rejection(r) if r.hints);
            let length = |task: &Task| {
                let asked = hints.then(|| hinted(self.environment.as_ref(), task)).flatten();
                let opening = asked.unwrap_or_else(|| self.environment.opening(task));
                learner.codec().encode_opening(&opening).len()
            };
            let lengths = self.tasks(split).iter().map(|task| (length(task), task));
            let long: Vec<(usize, &Task)> = lengths.filter(|(n, _)| n + step > most).collect();
            if let Some((tokens, task)) = long.first() {
                return Err(EngineError::Input(format!(
                    "stage[{index}].{key}: prompt ({tokens}) + max_tokens ({step}) exceeds the \
                     path's limit: {most}; {} of {} tasks are too long, first `{}`; shorten them, \
                     lower `max_tokens` or take a model with a longer context",
                    long.len(),
                    self.tasks(split).len(),
                    task.id
                )));
            }
        }
        Ok(())
    }
}

/// Refuses trees that could hold more tokens than a tree can. `path` is the most of a path.
fn require_small(index: usize, stage: &Stage, path: usize) -> Result<(), EngineError> {
    let leaves = match stage {
        Stage::Rl(rl) => rl.grow.leaves_max(),
        Stage::Rejection(rejection) => rejection.grow.leaves_max(),
        Stage::Preference(preference) => preference.grow.leaves_max(),
        Stage::Estimator(estimator) => estimator.grow.leaves_max(),
        Stage::Evaluate(evaluate) => evaluate.leaves as u32,
        Stage::Offline(offline) => offline.grow.leaves_max(),
        Stage::Sft(_) => return Ok(()),
    };
    let tokens = u64::from(leaves) * path as u64;
    if tokens <= TREE_TOKENS {
        return Ok(());
    }
    Err(EngineError::Input(format!(
        "stage[{index}].{}: a tree may hold {leaves} leaves x {path} tokens = {tokens}, expected at \
         most {TREE_TOKENS} (`tree_tokens`); lower `path_tokens` or the leaves of `grow`",
        stage.name()
    )))
}

fn input(error: impl std::fmt::Display) -> EngineError {
    EngineError::Input(error.to_string())
}
