//! P6: the first rungs of the probe ladder, each with a sabotaged twin that must fail.

mod common;

use common::probe;
use common::world::{World, task};
use stepwell_engine::rollout::{Plan, grow_forest};
use stepwell_methods::credit::{permuted, reinforce, sibling};
use stepwell_methods::grow::{
    branch, continuations, first_pit, greedy_baseline, independent, mcts,
};
use stepwell_methods::objective::clipped;
use stepwell_methods::{Aggregation, CreditConfig, Grow, Objective, RewardConfig};
use stepwell_train::{Learner, Settings};
use stepwell_tree::{Credit, Environment, Key, Purpose, Sampling, StepTree, Task, Verdict};

fn settings() -> Settings {
    let aggregation = Aggregation::SequenceMeanTokenSumNorm { length_constant: None };
    let objective = Objective::Clipped(clipped::Config { aggregation, ..Default::default() });
    probe::settings(objective)
}

fn flat() -> Grow {
    Grow::Independent(independent::Config { attempts: 8 })
}

fn forked() -> Grow {
    Grow::Branch(branch::Config { attempts: 4, branches: 2, leaves: 8, tokens: None })
}

fn sibling() -> CreditConfig {
    CreditConfig::Sibling(sibling::Config::default())
}

/// Trains and returns the mean reward of the first and of the last trees, and the learner.
fn train(
    world: &World,
    grow: &Grow,
    credit: &CreditConfig,
    sabotage: impl Fn(&mut Credit),
    updates: u64,
) -> (f64, f64, Learner) {
    let mut learner = probe::learner(1);
    let tasks: Vec<Task> =
        ["one", "two", "three", "four", "five", "six", "seven", "eight"].map(task).to_vec();
    let tasks: Vec<&Task> = tasks.iter().collect();
    let mut means = Vec::new();
    for update in 0..updates {
        let key = Key::new(7, Purpose::Sample).with(update);
        let sampling = Sampling::FULL;
        let plan = Plan { grow, sampling, max_tokens: 1, path_tokens: None, key };
        let environment: &dyn Environment = world;
        let grown = grow_forest(&mut learner.policy(), environment, &tasks, &plan, |_| {});
        let forest: Vec<StepTree> = grown.into_iter().map(|grown| grown.tree).collect();
        let rewards = RewardConfig::Outcome.reward(&forest);
        let scored: Vec<f64> = (0..forest.len()).flat_map(|t| rewards.scored(t)).collect();
        means.push(scored.iter().sum::<f64>() / scored.len() as f64);
        let mut credits = credit.credit(&forest, &rewards);
        credits.iter_mut().for_each(&sabotage);
        let report = learner.update(&forest, &credits, &settings(), key).unwrap();
        assert_eq!(report.gap, 0.0);
    }
    (means[0], means[means.len() - 1], learner)
}

fn honest(_: &mut Credit) {}

fn flipped(credit: &mut Credit) {
    credit.step.iter_mut().flatten().for_each(|c| *c = -*c);
}

/// The arms: words whose first letter has an even code, and the others.
fn even(word: &str) -> bool {
    word.bytes().next().is_some_and(|byte| byte % 2 == 0)
}

#[test]
fn p06_a_constant_reward_moves_nothing() {
    let world = World::new(2, |_, _| Verdict::scored(0.7));
    let before = probe::learner(1).model().checksum();
    let (_, _, after) = train(&world, &forked(), &sibling(), honest, 5);
    assert_eq!(after.model().checksum(), before);
    // The twin takes nothing off the reward, and drifts.
    let raw = CreditConfig::Reinforce(reinforce::Config::default());
    let (_, _, after) = train(&world, &forked(), &raw, honest, 5);
    assert_ne!(after.model().checksum(), before);
}

#[test]
fn p06_a_bandit_is_learned_and_with_the_sign_flipped_it_is_not() {
    let world = World::new(1, |_, said| Verdict::scored(f64::from(u8::from(even(&said[0])))));
    let (first, last, _) = train(&world, &flat(), &sibling(), honest, 40);
    assert!((0.2..0.8).contains(&first) && last > 0.9, "{first} {last}");
    let (_, last, _) = train(&world, &flat(), &sibling(), flipped, 40);
    assert!(last < 0.1, "{last}");
}

#[test]
fn p06_the_arm_depends_on_what_was_read() {
    // Questions of five letters want even words, the others odd ones.
    let world = World::new(1, |question, said| {
        Verdict::scored(f64::from(u8::from(even(&said[0]) == (question.len() == 5))))
    });
    let (first, last, _) = train(&world, &flat(), &sibling(), honest, 120);
    assert!((0.2..0.8).contains(&first) && last > 0.9, "{first} {last}");
    let dealt = CreditConfig::Permuted(permuted::Config { of: Box::new(sibling()), seed: 1 });
    let (_, last, _) = train(&world, &flat(), &dealt, honest, 120);
    assert!(last < 0.85, "{last}");
}

#[test]
fn p06_a_reward_two_steps_later_is_learned_by_forks() {
    let world = World::new(2, |_, said| {
        Verdict::scored(f64::from(u8::from(even(&said[0]) && !even(&said[1]))))
    });
    let (first, last, _) = train(&world, &forked(), &sibling(), honest, 80);
    assert!(first < 0.5 && last > 0.9, "{first} {last}");
    let (_, last, _) = train(&world, &forked(), &sibling(), flipped, 80);
    assert!(last < 0.1, "{last}");
}

#[test]
fn p06_companions_and_searches_teach_what_comes_two_steps_later() {
    let world = World::new(2, |_, said| {
        Verdict::scored(f64::from(u8::from(even(&said[0]) && !even(&said[1]))))
    });
    let lines = continuations::Config { attempts: 4, rollouts: 2, leaves: 99, tokens: None };
    let pits = first_pit::Config { attempts: 6, rollouts: 2, ..Default::default() };
    let search = mcts::Config { simulations: 8, children: 4, ..Default::default() };
    let monte_carlo = CreditConfig::MonteCarlo(Default::default());
    let remax = CreditConfig::Remax(Default::default());
    let arms = [
        (Grow::Continuations(lines), monte_carlo.clone()),
        (Grow::FirstPit(pits), monte_carlo),
        (Grow::GreedyBaseline(greedy_baseline::Config { attempts: 7 }), remax),
        (Grow::Mcts(search), sibling()),
    ];
    for (grow, credit) in &arms {
        let (first, last, _) = train(&world, grow, credit, honest, 80);
        assert!(first < 0.6 && last > 0.9, "{grow:?}: {first} {last}");
        let (_, last, _) = train(&world, grow, credit, flipped, 80);
        assert!(last < 0.1, "{grow:?} flipped: {last}");
    }
}
