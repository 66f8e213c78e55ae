//! The loop of stepwell in one file: questions over generated databases, trees, credit, an update.
//!
//! Run it with `cargo run --release --example one_loop -p stepwell-engine`. It calls the functions
//! that a run calls and leaves out what a run adds: recipes, records, checkpoints, resuming.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use stepwell_engine::evaluation::{Choice, Question, evaluate};
use stepwell_engine::order::{batch, demonstration_tree};
use stepwell_engine::rollout::{Plan, grow_forest};
use stepwell_env::sql::world::{self, Split, WorldConfig};
use stepwell_env::sql::{Config as SqlConfig, SqlEnvironment};
use stepwell_methods::credit::sibling;
use stepwell_methods::grow::{branch, independent};
use stepwell_methods::objective::{clipped, cross_entropy};
use stepwell_methods::{Aggregation, CreditConfig, Grow, Objective, RewardConfig};
use stepwell_model::template::ChatTemplate;
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{AdamWSettings, Config, Family, Model, RopeScaling};
use stepwell_train::{Codec, Learner, Settings};
use stepwell_tree::{Credit, Key, Purpose, Sampling, StepTree, Task};

const SEED: u64 = 1;
const MAX_TOKENS: usize = 40;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A world of databases, an environment that answers and judges, a model that knows nothing.
    let world = world::build(&WorldConfig::default());
    let databases = world.databases(&Split::ALL);
    let environment = SqlEnvironment::new(
        databases,
        &[],
        SqlConfig { instructions: false, ..SqlConfig::default() },
    )?;
    let tokenizer = Tokenizer::from_words(world::words())?;
    let model = Model::random(shape(tokenizer.vocabulary()), SEED);
    let codec = Codec::new(tokenizer, Some(ChatTemplate::plain()))?;
    let mut learner = Learner::new(model, codec, 2);

    // Supervised: imperfect scripted attempts, each a tree with one path.
    let imitate = Objective::CrossEntropy(cross_entropy::Config::default());
    let key = Key::new(SEED, Purpose::Demonstration);
    for step in 0..400 {
        let draws =
            (0..32).map(|i| world.demonstration(key.with(step).with(i).bits(), &environment));
        let (trees, credits): (Vec<StepTree>, Vec<Credit>) =
            draws.map(|d| demonstration_tree(learner.codec(), &d, true)).unzip();
        let report = learner.update(&trees, &credits, &settings(&imitate, 3e-3, false), key)?;
        if step % 100 == 0 {
            println!("sft {step:4}  loss {:.3}", report.loss);
        }
    }
    println!("after imitation: {:.1} % right", accuracy(&learner, &world, &environment));

    // Reinforcement: grow trees, judge leaves, compare siblings, update.
    let grow = Grow::Branch(branch::Config { attempts: 4, branches: 2, leaves: 8, tokens: None });
    let compare = CreditConfig::Sibling(sibling::Config::default());
    let aggregation = Aggregation::SequenceMeanTokenSumNorm { length_constant: None };
    let improve = Objective::Clipped(clipped::Config { aggregation, ..clipped::Config::default() });
    let tasks = world.tasks(Split::Train);
    for update in 0..60 {
        let order = batch(Key::new(SEED, Purpose::TaskOrder), tasks.len(), 32, update);
        let drawn: Vec<&Task> = order.iter().map(|&i| &tasks[i]).collect();
        let key = Key::new(SEED, Purpose::Sample).with(update as u64);
        let (sampling, max_tokens) = (Sampling::FULL, MAX_TOKENS);
        let plan = Plan { grow: &grow, sampling, max_tokens, path_tokens: None, key };
        let grown = grow_forest(&mut learner.policy(), &environment, &drawn, &plan, |_| {});
        let forest: Vec<StepTree> = grown.into_iter().map(|grown| grown.tree).collect();
        let rewards = RewardConfig::Outcome.reward(&forest);
        let credits = compare.credit(&forest, &rewards);
        learner.update(&forest, &credits, &settings(&improve, 1e-3, true), key)?;
        if update % 10 == 0 {
            let leaves: Vec<f64> = (0..forest.len()).flat_map(|t| rewards.scored(t)).collect();
            let mean = leaves.iter().sum::<f64>() / leaves.len() as f64;
            println!("rl {update:4}  reward {mean:.3} over {} leaves", leaves.len());
        }
    }
    println!("after reinforcement: {:.1} % right", accuracy(&learner, &world, &environment));
    Ok(())
}

fn shape(vocabulary: usize) -> Config {
    Config {
        family: Family::Llama,
        vocabulary,
        hidden: 96,
        layers: 3,
        heads: 3,
        kv_heads: 3,
        head_dim: 32,
        ffn: 256,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 256,
    }
}

fn settings(objective: &Objective, learning_rate: f64, on_policy: bool) -> Settings {
    Settings {
        objective: objective.clone(),
        value: None,
        distillation: None,
        max_tokens: MAX_TOKENS,
        temperature: 1.0,
        adamw: AdamWSettings {
            learning_rate,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
        },
        gradient_clip: 1.0,
        epochs: 1,
        minibatches: 1,
        tokens_max: 32_768,
        on_policy,
    }
}

fn accuracy(learner: &Learner, world: &world::World, environment: &SqlEnvironment) -> f64 {
    let grow = Grow::Independent(independent::Config { attempts: 1 });
    let question = Question {
        grow: &grow,
        sampling: Sampling::GREEDY,
        max_tokens: MAX_TOKENS,
        path_tokens: None,
        choice: Choice::Mean,
        key: Key::new(SEED, Purpose::Sample).with(u64::MAX),
        resamples: 0,
        bootstrap: Key::new(SEED, Purpose::Bootstrap),
    };
    let tasks = world.tasks(Split::HeldOut);
    100.0 * evaluate(&mut learner.policy(), environment, tasks, &question, None, |_| {}).accuracy
}
