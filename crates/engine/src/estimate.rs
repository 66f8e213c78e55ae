//! What a recipe will need: memory and disk as upper bounds, time by trying the model out.

use std::collections::BTreeSet;
use std::time::Instant;

use stepwell_methods::{Grow, Scores};
use stepwell_model::ActivationPlan;
use stepwell_train::Learner;
use stepwell_tree::Policy as _;

use crate::checkpoint;
use crate::problem::Problem;
use crate::recipe::{Evaluate, Recipe, Split, Stage};

/// Needs of a run, without those of [`uncounted`] models.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Estimate {
    /// Numbers in the model, an adapter's included.
    pub parameters: usize,
    /// Numbers that train.
    pub trained: usize,
    /// Weights, gradients and two moments of what trains, and the reference where a stage compares
    /// with one.
    pub state_bytes: f64,
    /// What the largest micro-batch keeps for its backward.
    pub activations: ActivationPlan,
    /// Keys and values of the largest forest while it is sampled.
    pub cache_bytes: f64,
    /// The checkpoints that are kept, and the one being written.
    pub checkpoint_bytes: f64,
    /// The record at its end.
    pub record_bytes: f64,
    /// Time, by the speed of one forward on this machine.
    pub seconds: f64,
}

/// Tokens of a stage.
struct Work {
    /// Computed by training steps.
    trained: f64,
    /// Sampled one at a time.
    sampled: f64,
    /// Kept in the record.
    recorded: f64,
    /// Alive at once while sampling.
    cached: f64,
}

/// Bytes per token in the record: id, log-probability, text, and the columns of its step.
const RECORD_BYTES_PER_TOKEN: f64 = 24.0;
/// A training step costs a forward and two more of its size.
const TRAINING_COST: f64 = 3.0;
/// A token sampled alone costs more than one of a long row: weights are read for few rows.
const SAMPLING_COST: f64 = 2.0;
/// Trees whose keys and values an evaluation holds at once.
const EVALUATED_AT_ONCE: usize = 256;

/// The teachers and judges of a recipe, each once: one is in memory while its stage runs, and its
/// forwards take their time, and [`estimate`] counts neither.
pub fn uncounted(recipe: &Recipe) -> BTreeSet<&str> {
    recipe.stage.iter().filter_map(|stage| stage.teacher().or(stage.judge())).collect()
}

/// Looks at the recipe and runs one short forward.
pub fn estimate(recipe: &Recipe, problem: &Problem, learner: &Learner) -> Estimate {
    let model = learner.model();
    let config = model.config();
    let (parameters, trained_parameters) = (model.parameter_count(), model.trained_count());
    let prompt = prompt_tokens(problem, learner);
    let mut micro_batch = 0usize;
    let (mut trained, mut sampled, mut recorded, mut cached) = (0.0, 0.0, 0.0, 0.0_f64);
    let (mut reference, mut heads) = (0.0, 0.0_f64);
    for stage in &recipe.stage {
        micro_batch = micro_batch.max(stage.microbatch_tokens(config).unwrap_or(0));
        let work = match stage {
            Stage::Sft(sft) => {
                let path = (2.0 * prompt).min(config.context as f64);
                let trained = (sft.steps * sft.batch) as f64 * path;
                Work { trained, sampled: 0.0, recorded: 0.0, cached: 0.0 }
            }
            Stage::Rl(rl) => {
                let room = rl.path_tokens.unwrap_or(config.context);
                let attempt = attempt(rl.max_tokens, room, recipe, prompt);
                let tasks = rl.tasks + rl.refill;
                let grown = Growing { steps: rl.steps, tasks, grow: &rl.grow, attempt };
                grown.work(rl.token_budget, rl.epochs, prompt)
            }
            Stage::Preference(p) if stage.samples() => {
                let room = p.path_tokens.unwrap_or(config.context);
                let attempt = attempt(p.max_tokens, room, recipe, prompt);
                let grown = Growing { steps: p.steps, tasks: p.tasks, grow: &p.grow, attempt };
                grown.work(None, p.epochs, prompt)
            }
            Stage::Estimator(e) => {
                let room = e.path_tokens.unwrap_or(config.context);
                let attempt = attempt(e.max_tokens, room, recipe, prompt);
                let grown = Growing { steps: e.steps, tasks: e.tasks, grow: &e.grow, attempt };
                grown.work(None, 1, prompt)
            }
            Stage::Rejection(r) => {
                let room = r.path_tokens.unwrap_or(config.context);
                let attempt = attempt(r.max_tokens, room, recipe, prompt);
                let tasks = r.tasks.unwrap_or(problem.train.len()).min(problem.train.len());
                let (leaves, rounds) = (f64::from(r.grow.leaves_max()), r.rounds as f64);
                let sampled = rounds * tasks as f64 * leaves * attempt;
                let at_once = r.tasks_at_once.min(tasks) as f64;
                Work {
                    trained: rounds * (r.steps * r.batch) as f64 * (prompt + attempt),
                    sampled: if r.hints { 2.0 * sampled } else { sampled },
                    recorded: sampled,
                    cached: at_once * (prompt + leaves * attempt),
                }
            }
            Stage::Offline(o) => {
                // A log of an earlier stage has the trees of that stage.
                let (grow, max_tokens, path_tokens) = match o.log.map(|log| &recipe.stage[log]) {
                    Some(Stage::Rl(rl)) => (&rl.grow, rl.max_tokens, rl.path_tokens),
                    Some(Stage::Rejection(r)) => (&r.grow, r.max_tokens, r.path_tokens),
                    Some(Stage::Estimator(e)) => (&e.grow, e.max_tokens, e.path_tokens),
                    Some(Stage::Preference(p)) => (&p.grow, p.max_tokens, p.path_tokens),
                    _ => (&o.grow, o.max_tokens, o.path_tokens),
                };
                let room = path_tokens.unwrap_or(config.context);
                let attempt = attempt(max_tokens, room, recipe, prompt);
                let tasks = match o.log {
                    None => o.tasks.unwrap_or(problem.train.len()).min(problem.train.len()),
                    Some(_) => 0,
                };
                let leaves = f64::from(grow.leaves_max());
                let (sampled, tree) = (tasks as f64 * leaves * attempt, prompt + leaves * attempt);
                let (learn, frozen) = o.head_numbers(config);
                heads = heads.max(16.0 * learn as f64 + 4.0 * frozen as f64);
                Work {
                    trained: (o.steps * o.batch) as f64 * tree,
                    sampled,
                    recorded: sampled,
                    cached: o.tasks_at_once.min(tasks) as f64 * tree,
                }
            }
            Stage::Preference(p) => {
                let pair = (3.0 * prompt).min(2.0 * config.context as f64);
                let trained = (p.steps * p.batch * p.epochs) as f64 * pair;
                Work { trained, sampled: 0.0, recorded: 0.0, cached: 0.0 }
            }
            Stage::Evaluate(evaluate) => evaluate_work(evaluate, recipe, problem, prompt),
        };
        if stage.reads_reference() {
            reference = 4.0 * trained_parameters as f64;
        }
        trained += work.trained;
        sampled += work.sampled;
        recorded += work.recorded;
        cached = cached.max(work.cached);
    }
    let kv = 2 * config.layers * config.kv_heads * config.head_dim;
    let budget = recipe.compute.activation_bytes();
    let activations = ActivationPlan::new(config, micro_batch, budget);
    let speed = tokens_per_second(learner);
    let kept = recipe.checkpoints.keep_last + recipe.checkpoints.keep_best;
    let checkpoints = kept.saturating_add(1) as f64;
    let learners = checkpoint::learners(recipe) as f64;
    Estimate {
        parameters,
        trained: trained_parameters,
        state_bytes: 4.0 * parameters as f64
            + 12.0 * trained_parameters as f64
            + reference
            + heads
            + 16.0 * trained_parameters as f64 * (learners - 1.0),
        activations,
        cache_bytes: 4.0 * kv as f64 * cached,
        checkpoint_bytes: checkpoints
            * (checkpoint::bytes(model) as f64 * learners + checkpoint::head_bytes(recipe, model)),
        record_bytes: recorded * RECORD_BYTES_PER_TOKEN,
        seconds: (TRAINING_COST * trained + SAMPLING_COST * sampled) / speed,
    }
}

/// Tokens of an attempt, at most.
fn attempt(max_tokens: usize, path: usize, recipe: &Recipe, prompt: f64) -> f64 {
    let turns = (recipe.environment.max_interactions() + 1) as f64;
    (turns * max_tokens as f64).min((path as f64 - prompt).max(0.0))
}

/// A stage that grows trees.
struct Growing<'r> {
    steps: usize,
    tasks: usize,
    grow: &'r Grow,
    attempt: f64,
}

impl Growing<'_> {
    /// Upper bounds: every attempt as long as it may be, and no shared prefix but the prompt.
    fn work(&self, token_budget: Option<u64>, epochs: usize, prompt: f64) -> Work {
        let (trees, leaves) = (self.tasks as f64, f64::from(self.grow.leaves_max()));
        let tree = prompt + self.attempt * leaves;
        let update = trees * self.attempt * leaves;
        let sampled = self.steps as f64 * update;
        let sampled = token_budget.map_or(sampled, |budget| sampled.min(budget as f64));
        let updates = if self.attempt > 0.0 { sampled / update } else { 0.0 };
        Work {
            trained: updates * trees * tree * epochs as f64,
            sampled,
            recorded: updates * trees * tree,
            cached: trees * tree,
        }
    }
}

fn evaluate_work(evaluate: &Evaluate, recipe: &Recipe, problem: &Problem, prompt: f64) -> Work {
    let questions = problem.tasks(evaluate.split).len().min(evaluate.questions);
    let leaves = match evaluate.decoding {
        crate::recipe::Decoding::Greedy => 1.0,
        crate::recipe::Decoding::Search => f64::from(evaluate.search().leaves_max()),
        _ => evaluate.leaves as f64,
    };
    let attempt = ((recipe.environment.max_interactions() + 1) * evaluate.max_tokens) as f64;
    let at_once = questions.min(EVALUATED_AT_ONCE) as f64;
    let scored = scored_prefixes(evaluate, leaves, recipe.environment.max_interactions());
    Work {
        trained: 0.0,
        sampled: questions as f64 * (leaves + scored) * attempt,
        recorded: 0.0,
        cached: at_once * (prompt + leaves * attempt),
    }
}

/// Continuations that a scorer samples for one question, each at most an attempt long.
fn scored_prefixes(evaluate: &Evaluate, leaves: f64, turns: usize) -> f64 {
    let searches = evaluate.decoding == crate::recipe::Decoding::Search;
    let crate::recipe::ScorerConfig::Continuations(own) = evaluate.picker() else { return 0.0 };
    match evaluate.search().scores() {
        Scores::Everywhere if searches => (1.0 + leaves * turns as f64) * f64::from(own.rollouts),
        _ => 0.0,
    }
}

/// The mean prompt, over a few tasks.
fn prompt_tokens(problem: &Problem, learner: &Learner) -> f64 {
    let some = &problem.tasks(Split::Train)[..problem.tasks(Split::Train).len().min(32)];
    let length =
        |task| learner.codec().encode_opening(&problem.environment.opening(task)).len() as f64;
    some.iter().map(length).sum::<f64>() / some.len().max(1) as f64
}

/// Speed of a forward, measured on a made-up text.
fn tokens_per_second(learner: &Learner) -> f64 {
    let config = learner.model().config();
    let tokens = config.context.min(256);
    let text: Vec<u32> = (0..tokens).map(|i| (i % config.vocabulary) as u32).collect();
    let mut policy = learner.policy();
    let rows: Vec<_> = (0..4).map(|_| (None, text.clone())).collect();
    let begun = Instant::now();
    policy.extend(&rows);
    (4 * tokens) as f64 / begun.elapsed().as_secs_f64().max(1e-9)
}
