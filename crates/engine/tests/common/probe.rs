//! A world of one-word steps for the probe ladder, a tiny learner, and training on trees.

use stepwell_engine::rollout::{Plan, grow_forest};
use stepwell_methods::credit::{Rewards, sibling};
use stepwell_methods::grow::{branch, independent};
use stepwell_methods::objective::clipped;
use stepwell_methods::{Aggregation, CreditConfig, Grow, Objective, RewardConfig};
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{AdamWSettings, Config, Family, Model, RopeScaling};
use stepwell_train::{Codec, Learner, Settings};
use stepwell_tree::{
    Credit, Environment, Episode, ForkError, Key, Opening, Purpose, Sampling, StepTree, Stop, Task,
    Turn, UnscoredReason, Verdict,
};

use super::world::task;

/// Attempts of `turns` steps. The key is the episode's own and that of all its forks: what hangs on
/// it is the same for siblings below one observation.
#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) turns: usize,
    /// What is seen after a step.
    pub(crate) observe: fn(Key, &[String]) -> String,
    /// What an attempt is worth, from its question, its key and its words.
    pub(crate) judge: fn(&str, Key, &[String]) -> f64,
}

#[derive(Clone)]
struct Attempt {
    probe: Probe,
    question: String,
    key: Key,
    said: Vec<String>,
}

impl Episode for Attempt {
    fn step(&mut self, text: &str, stop: Stop) -> Turn {
        self.said.push(text.to_owned());
        if self.said.len() == self.probe.turns || stop == Stop::Context {
            return Turn::End(Verdict::scored((self.probe.judge)(
                &self.question,
                self.key,
                &self.said,
            )));
        }
        Turn::Observation((self.probe.observe)(self.key, &self.said))
    }

    fn fork(&self) -> Result<Box<dyn Episode>, ForkError> {
        Ok(Box::new(self.clone()))
    }
}

impl Environment for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn opening(&self, task: &Task) -> Opening {
        Opening { system: String::new(), user: task.question.clone() }
    }

    fn stop_strings(&self) -> Vec<String> {
        Vec::new()
    }

    fn reward_range(&self) -> (f64, f64) {
        (-2.0, 2.0)
    }

    fn parts(&self) -> Vec<String> {
        Vec::new()
    }

    fn start(&self, task: &Task, key: Key) -> Result<Box<dyn Episode>, UnscoredReason> {
        let (probe, question) = (self.clone(), task.question.clone());
        Ok(Box::new(Attempt { probe, question, key, said: Vec::new() }))
    }

    fn answer(&self, _: &Task, text: &str) -> Option<String> {
        Some(text.to_owned())
    }
}

/// A model of one layer and 16 channels that knows twenty words.
pub(crate) fn learner(seed: u64) -> Learner {
    let words = "red green blue left right look yes no one two three four five six seven eight";
    let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let codec = Codec::new(Tokenizer::from_words(words).unwrap(), None).unwrap();
    let config = Config {
        family: Family::Llama,
        vocabulary: codec.tokenizer().vocabulary(),
        hidden: 16,
        layers: 1,
        heads: 2,
        kv_heads: 2,
        head_dim: 8,
        ffn: 32,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 64,
    };
    Learner::new(Model::random(config, seed), codec, 2)
}

pub(crate) fn settings(objective: Objective) -> Settings {
    Settings {
        objective,
        value: None,
        distillation: None,
        max_tokens: 1,
        temperature: 1.0,
        adamw: AdamWSettings {
            learning_rate: 0.01,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
        },
        gradient_clip: 1.0,
        epochs: 1,
        minibatches: 1,
        tokens_max: 100_000,
        on_policy: true,
    }
}

pub(crate) fn flat() -> Grow {
    Grow::Independent(independent::Config { attempts: 8 })
}

pub(crate) fn forked() -> Grow {
    Grow::Branch(branch::Config { attempts: 4, branches: 2, leaves: 8, tokens: None })
}

/// Step credit against true siblings: the honest method of every rung.
pub(crate) fn siblings(forest: &[StepTree], rewards: &Rewards) -> Vec<Credit> {
    CreditConfig::Sibling(sibling::Config::default()).credit(forest, rewards)
}

/// One tree for each of eight questions.
pub(crate) fn grown(learner: &Learner, probe: &Probe, grow: &Grow, key: Key) -> Vec<StepTree> {
    let tasks = ["one", "two", "three", "four", "five", "six", "seven", "eight"].map(task);
    let tasks: Vec<&Task> = tasks.iter().collect();
    let plan = Plan { grow, sampling: Sampling::FULL, max_tokens: 1, path_tokens: None, key };
    let grown = grow_forest(&mut learner.policy(), probe, &tasks, &plan, |_| {});
    grown.into_iter().map(|grown| grown.tree).collect()
}

/// Trains from fresh weights of a seed.
pub(crate) fn train(
    seed: u64,
    probe: &Probe,
    grow: &Grow,
    updates: u64,
    credit: &dyn Fn(&[StepTree], &Rewards) -> Vec<Credit>,
) -> Learner {
    let aggregation = Aggregation::SequenceMeanTokenSumNorm { length_constant: None };
    let clipped = clipped::Config { aggregation, ..Default::default() };
    let settings = settings(Objective::Clipped(clipped));
    let mut learner = learner(seed);
    for update in 0..updates {
        let key = Key::new(seed, Purpose::Sample).with(update);
        let forest = grown(&learner, probe, grow, key);
        let credits = credit(&forest, &RewardConfig::Outcome.reward(&forest));
        learner.update(&forest, &credits, &settings, key).unwrap();
    }
    learner
}

/// The mean reward of 512 fresh attempts.
pub(crate) fn mean_reward(learner: &Learner, probe: &Probe) -> f64 {
    let grow = Grow::Independent(independent::Config { attempts: 64 });
    let forest = grown(learner, probe, &grow, Key::new(99, Purpose::Control));
    let rewards = RewardConfig::Outcome.reward(&forest);
    let scored: Vec<f64> = (0..forest.len()).flat_map(|tree| rewards.scored(tree)).collect();
    scored.iter().sum::<f64>() / scored.len() as f64
}
