//! The probe of Q-learning from a log: a policy that knows nothing writes attempts, stands still,
//! and heads learn from what it wrote. Led by them, the same policy earns most of what there is,
//! which few attempts of the log did; rewards that were dealt out anew lead nowhere.

mod common;

use common::probe::{Probe, learner};
use common::world::task;
use stepwell_engine::rollout::{Plan, grow_forest};
use stepwell_methods::grow::independent;
use stepwell_methods::offline::{bellman, double_q, ilql};
use stepwell_methods::{Grow, OfflineValue, RewardConfig, Rewards};
use stepwell_model::AdamWSettings;
use stepwell_train::{HeadSettings, Learner, OfflineSettings};
use stepwell_tree::{Key, Purpose, Sampling, StepTree, Task};

/// Two steps, each worth a half where it is one of fifteen words and none of the other tokens,
/// which are some three hundred.
fn probe() -> Probe {
    Probe {
        turns: 2,
        observe: |_, _| "look".to_owned(),
        judge: |_, _, said| {
            let words = "red green blue left right look yes no one two three four five six seven";
            let hit = |text: &&String| words.split(' ').any(|word| word == text.as_str());
            0.5 * said.iter().filter(hit).count() as f64
        },
    }
}

/// Hot, so that a log holds many tokens.
const HOT: Sampling = Sampling { temperature: 3.0, ..Sampling::FULL };

/// Attempts of a policy that is led by so much, `attempts` at each of eight questions.
fn attempts(learner: &Learner, beta: f64, attempts: u32, key: Key) -> Vec<StepTree> {
    let tasks = ["one", "two", "three", "four", "five", "six", "seven", "eight"].map(task);
    let tasks: Vec<&Task> = tasks.iter().collect();
    let grow = Grow::Independent(independent::Config { attempts });
    let plan = Plan { grow: &grow, sampling: HOT, max_tokens: 1, path_tokens: None, key };
    let grown = grow_forest(&mut learner.led(beta), &probe(), &tasks, &plan, |_| {});
    grown.into_iter().map(|grown| grown.tree).collect()
}

fn mean(rewards: &Rewards) -> f64 {
    let all: Vec<f64> = (0..rewards.leaf.len()).flat_map(|tree| rewards.scored(tree)).collect();
    all.iter().sum::<f64>() / all.len() as f64
}

/// The same rewards, dealt out to other attempts.
fn dealt(rewards: &Rewards, key: Key) -> Rewards {
    let all: Vec<f64> = (0..rewards.leaf.len()).flat_map(|tree| rewards.scored(tree)).collect();
    let mut other = key.permutation(all.len()).into_iter().map(|at| all[at]);
    let mut dealt = rewards.clone();
    for reward in dealt.leaf.iter_mut().flatten().flatten() {
        *reward = other.next().expect("as many as there were");
    }
    dealt
}

/// What 512 attempts earn that heads lead, which learned from a log.
fn led(seed: u64, method: &OfflineValue, log: &[StepTree], rewards: &Rewards) -> f64 {
    let adamw = AdamWSettings {
        learning_rate: 0.02,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
    };
    let settings = OfflineSettings {
        method: method.clone(),
        bellman: bellman::Config { gamma: 1.0 },
        head: HeadSettings { adamw, gradient_clip: 1.0, tokens_max: 100_000, frozen_trunk: true },
    };
    let mut learner = learner(seed);
    learner.attach_offline(method, Some(32), seed);
    for _ in 0..150 {
        learner.learn_offline(log, rewards, &settings).unwrap();
        learner.follow(method, 0.05);
    }
    let forest = attempts(&learner, 60.0, 64, Key::new(99, Purpose::Control));
    mean(&RewardConfig::Outcome.reward(&forest))
}

#[test]
fn p06_a_log_teaches_what_to_choose_and_a_dealt_one_does_not() {
    let methods = [
        OfflineValue::Ilql(ilql::Config {
            expectile: 0.9,
            conservatism: 0.01,
            awac: 0.0,
            ..ilql::Config::default()
        }),
        OfflineValue::DoubleQ(double_q::Config { conservatism: 0.01, ..Default::default() }),
    ];
    let mut means = [0.0; 3];
    for seed in [1, 2] {
        let key = Key::new(seed, Purpose::Sample);
        let log = attempts(&learner(seed), 0.0, 96, key);
        let rewards = RewardConfig::Outcome.reward(&log);
        let behaviour = mean(&rewards);
        for method in &methods {
            let name = method.name();
            let honest = led(seed, method, &log, &rewards);
            let sabotaged = led(seed, method, &log, &dealt(&rewards, key));
            println!("{name}, seed {seed}: {behaviour:.3} {honest:.3}, dealt {sabotaged:.3}");
            assert!(honest > behaviour + 0.25, "{name}, seed {seed}: {honest} {behaviour}");
            for (sum, own) in means.iter_mut().zip([behaviour, honest, sabotaged]) {
                *sum += own / 4.0;
            }
        }
    }
    // Heads that follow chance take one word for another now and then.
    let [behaviour, honest, sabotaged] = means;
    assert!(sabotaged < behaviour + 0.15 && honest > sabotaged + 0.25, "{means:?}");
}
