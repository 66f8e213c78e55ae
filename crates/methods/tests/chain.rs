//! Values from a log: a chain of six tokens out of eight, each of which earns something at once,
//! with noise; a log of a policy that seldom takes the best and hardly ever two others. All tables,
//! all gradients by the methods themselves over the whole log.
//!
//! Imitation earns what the log earned. Q-learning believes the luckiest and is wrong; under a
//! conservative term it is not. Expectiles of what was tried put the best pieces of many attempts
//! together.

use stepwell_methods::offline::{bellman, double_q, ilql};
use stepwell_methods::row::cql;
use stepwell_methods::{Batch, OfflineValue, Rewards, Row, RowObjective, Streams};
use stepwell_tree::{
    Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, TaskHash, Verdict,
};

const LENGTH: usize = 6;
const TOKENS: usize = 8;
const ATTEMPTS: usize = 100;
/// A number for every state and token.
type Table = [[f64; TOKENS]; LENGTH];

fn key(index: u64) -> Key {
    Key::new(11, Purpose::World).with(index)
}

/// The mean of what a token earns: the best 1, others up to a half, those hardly ever tried less.
fn earns(t: usize, a: usize) -> f64 {
    match (a + t) % TOKENS {
        0 => 1.0,
        1 | 2 => -0.5,
        k => 0.1 * k as f64 - 0.2,
    }
}

/// How often the logging policy takes a token.
fn behaviour(t: usize, a: usize) -> f64 {
    match (a + t) % TOKENS {
        0 => 0.1,
        1 | 2 => 0.02,
        _ => 0.172,
    }
}

/// Attempts as lines of single tokens, with noise of up to 1.5 on what each earned.
fn log(seed: u64) -> (Vec<StepTree>, Rewards) {
    let mut rewards = Rewards { leaf: Vec::new(), step: Some(Vec::new()) };
    let attempt = |n: usize| {
        let mut tree = StepTree::new(TaskHash([n as u8; 32]), &[99]);
        let mut earned = vec![0.0];
        for t in 0..LENGTH {
            let key = key(seed).with(n as u64).with(t as u64);
            let mut draw = key.with(0).uniform();
            let token = (0..TOKENS)
                .find(|&a| {
                    draw -= behaviour(t, a);
                    draw < 0.0
                })
                .expect("probabilities add up to 1");
            earned.push(earns(t, token) + 3.0 * (key.with(1).uniform() - 0.5));
            tree.push(NewStep {
                parent: StepId(t as u32),
                child_index: 0,
                origin: Origin::Policy(PolicyVersion(0)),
                stop: Stop::StopString,
                token: &[token as u32],
                logprob: &[behaviour(t, token).ln() as f32],
            });
        }
        tree.judge(StepId(LENGTH as u32), Verdict::scored(0.0));
        let leaf = (0..=LENGTH).map(|i| (i == LENGTH).then_some(0.0)).collect::<Vec<_>>();
        rewards.leaf.push(leaf);
        rewards.step.as_mut().expect("steps earn").push(earned);
        tree
    };
    let forest = (0..ATTEMPTS).map(attempt).collect();
    (forest, rewards)
}

/// One row per token of the log: where it stands and what it is.
fn rows(forest: &[StepTree]) -> Vec<(usize, usize)> {
    let of = |tree: &StepTree| -> Vec<(usize, usize)> {
        tree.token[1..].iter().enumerate().map(|(t, a)| (t, *a as usize)).collect()
    };
    forest.iter().flat_map(of).collect()
}

/// Bellman targets of all rows, given what each state is worth.
fn targets(forest: &mut [StepTree], rewards: &Rewards, value: &[f32; LENGTH]) -> Vec<f32> {
    for tree in forest.iter_mut() {
        let column = std::iter::once(0.0).chain(*value).collect();
        tree.token_column.insert("value".to_owned(), column);
    }
    let credits = bellman::credit(forest, rewards, &bellman::Config { gamma: 1.0 });
    let of = |token: Option<Vec<f64>>| token.expect("targets are per token").split_off(1);
    credits.into_iter().flat_map(|c| of(c.token)).map(|y| y as f32).collect()
}

fn born(seed: u64) -> Table {
    let draw = |t: usize, a: usize| 0.5 * key(1000 + seed).with((t * TOKENS + a) as u64).normal();
    std::array::from_fn(|t| std::array::from_fn(|a| draw(t, a)))
}

fn narrow(row: &[f64; TOKENS]) -> [f32; TOKENS] {
    row.map(|x| x as f32)
}

/// A stream: the table's entry of every row.
fn stream(table: &Table, rows: &[(usize, usize)]) -> Vec<f32> {
    rows.iter().map(|&(t, a)| table[t][a] as f32).collect()
}

fn descend(table: &mut Table, rows: &[(usize, usize)], gradient: &[f32], rate: f64) {
    for (&(t, a), d) in rows.iter().zip(gradient) {
        table[t][a] -= rate * f64::from(*d);
    }
}

/// The conservative term over all rows.
fn hold_down(table: &mut Table, rows: &[(usize, usize)], term: &RowObjective, rate: f64) {
    let at = *table;
    for &(t, a) in rows {
        let row = Row {
            logit: &narrow(&at[t]),
            target: &[],
            token: a as u32,
            weight: 1.0 / ATTEMPTS as f64,
        };
        for (q, d) in table[t].iter_mut().zip(term.row(&row).d_logit) {
            *q -= rate * f64::from(d);
        }
    }
}

fn follow(frozen: &mut Table, table: &Table) {
    for (frozen, q) in frozen.iter_mut().flatten().zip(table.iter().flatten()) {
        *frozen += 0.05 * (q - *frozen);
    }
}

fn best(row: &[f64; TOKENS]) -> usize {
    (1..TOKENS).fold(0, |best, a| if row[a] > row[best] { a } else { best })
}

/// What a choice at every state really earns.
fn worth(choice: impl Fn(usize) -> usize) -> f64 {
    (0..LENGTH).map(|t| earns(t, choice(t))).sum()
}

/// Q-learning on the log: what it believes of the first state, and what its choices really earn.
fn q_learning(seed: u64, next: double_q::Next, conservatism: f64) -> (f64, f64) {
    let config = double_q::Config { next, conservatism };
    let term = RowObjective::Cql(cql::Config { coefficient: conservatism });
    let (mut forest, rewards) = log(seed);
    let rows = rows(&forest);
    let (mut q, mut frozen) = (born(1), born(1));
    let weight = vec![1.0 / ATTEMPTS as f64; rows.len()];
    let believed = |q: &Table, frozen: &Table| -> [f32; LENGTH] {
        std::array::from_fn(|t| double_q::state_value(&narrow(&q[t]), &narrow(&frozen[t]), &config))
    };
    for _ in 0..800 {
        let target = targets(&mut forest, &rewards, &believed(&q, &frozen));
        let own = stream(&q, &rows);
        let loss = OfflineValue::DoubleQ(config).objective(&Batch {
            logprob: &vec![0.0; rows.len()],
            credit: &target,
            weight: &weight,
            streams: Streams { column: [("q", own.as_slice())].into() },
            ..Batch::default()
        });
        descend(&mut q, &rows, &loss.d_streams["q"], 0.5);
        hold_down(&mut q, &rows, &term, 0.5);
        follow(&mut frozen, &q);
    }
    let value = believed(&q, &frozen);
    (f64::from(value[0]), worth(|t| best(&q[t])))
}

/// Logs to learn from.
const SEEDS: std::ops::Range<u64> = 0..8;

#[test]
fn plain_q_learning_overestimates_and_conservative_does_not() {
    for next in [double_q::Next::Max, double_q::Next::Double] {
        // By how much it believes more than it earns, in the mean over logs.
        let over = |conservatism: f64| {
            let one = |seed| {
                let (believed, earned) = q_learning(seed, next, conservatism);
                believed - earned
            };
            SEEDS.map(one).sum::<f64>() / SEEDS.count() as f64
        };
        let (plain, conservative) = (over(0.0), over(0.5));
        assert!(plain > 0.3, "{next:?}: {plain}");
        assert!(conservative < 0.0, "{next:?}: {conservative}");
    }
}

#[test]
fn expectiles_put_the_best_pieces_together_and_imitation_does_not() {
    for seed in SEEDS {
        let (imitated, likeliest, decoded, value) = expectiles(seed);
        assert!(decoded > f64::max(imitated, likeliest) + 1.0, "{decoded} {imitated} {likeliest}");
        assert!(value > imitated + 0.5 && value < LENGTH as f64, "{value}");
    }
}

/// Expectiles on the log: what imitation earns in the mean and by its likeliest tokens, what the
/// decoded tokens earn, and what the first state is believed to be worth.
fn expectiles(seed: u64) -> (f64, f64, f64, f64) {
    let config = ilql::Config { expectile: 0.9, conservatism: 0.05, ..ilql::Config::default() };
    let method = OfflineValue::Ilql(config);
    let term = RowObjective::Cql(cql::Config { coefficient: config.conservatism });
    let (mut forest, rewards) = log(seed);
    let rows = rows(&forest);
    let weight = vec![1.0 / ATTEMPTS as f64; rows.len()];
    let (mut q, mut frozen) = ([born(1), born(2)], [born(1), born(2)]);
    let mut value = [0.0f64; LENGTH];
    let mut policy: Table = [[0.0; TOKENS]; LENGTH];
    let log_policy = |policy: &Table| -> Table {
        policy.map(|row| {
            let all = row.iter().map(|x| x.exp()).sum::<f64>().ln();
            row.map(|x| x - all)
        })
    };
    for _ in 0..800 {
        let now = value.map(|v| v as f32);
        let target = targets(&mut forest, &rewards, &now);
        let value_stream: Vec<f32> = rows.iter().map(|&(t, _)| now[t]).collect();
        let [q1, q2] = [&q[0], &q[1]].map(|q| stream(q, &rows));
        let [f1, f2] = [&frozen[0], &frozen[1]].map(|q| stream(q, &rows));
        let named = [
            ("q1", q1.as_slice()),
            ("q2", &q2),
            ("q1_target", &f1),
            ("q2_target", &f2),
            ("value", &value_stream),
        ];
        let loss = method.objective(&Batch {
            logprob: &stream(&log_policy(&policy), &rows),
            credit: &target,
            weight: &weight,
            streams: Streams { column: named.into() },
            ..Batch::default()
        });
        for ((q, frozen), name) in q.iter_mut().zip(&mut frozen).zip(["q1", "q2"]) {
            descend(q, &rows, &loss.d_streams[name], 0.5);
            hold_down(q, &rows, &term, 0.5);
            follow(frozen, q);
        }
        let p = log_policy(&policy).map(|row| row.map(f64::exp));
        for (i, &(t, a)) in rows.iter().enumerate() {
            value[t] -= 0.5 * f64::from(loss.d_streams["value"][i]);
            let d = f64::from(loss.d_logprob[i]);
            for k in 0..TOKENS {
                policy[t][k] -= d * (if k == a { 1.0 } else { 0.0 } - p[t][k]);
            }
        }
    }
    let log_policy = log_policy(&policy);
    let imitated: f64 = (0..LENGTH)
        .map(|t| (0..TOKENS).map(|a| log_policy[t][a].exp() * earns(t, a)).sum::<f64>())
        .sum();
    let decoded = worth(|t| {
        best(&std::array::from_fn(|a| {
            log_policy[t][a] + 8.0 * (frozen[0][t][a].min(frozen[1][t][a]) - value[t])
        }))
    });
    let likeliest = worth(|t| best(&log_policy[t]));
    (imitated, likeliest, decoded, value[0])
}
