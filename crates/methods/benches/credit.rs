//! Milliseconds of reward and credit for the forest of a large update: about 10,000 steps, four
//! attempts a task that fork at every observation. Every method of the registry must stay below
//! [`MILLISECONDS_MAX`]: beside sampling and training, credit is to cost nothing.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde::de::value::{Error, MapDeserializer};
use stepwell_methods::{CreditConfig, RewardConfig, Rewards};
use stepwell_tree::{
    Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, TaskHash, Verdict,
};

const STEPS: usize = 10_000;
const MILLISECONDS_MAX: u64 = 10;

fn push(tree: &mut StepTree, parent: StepId, child_index: u32, sampled: bool, key: Key) -> StepId {
    // Observations repeat, so that states do.
    let words = if sampled { 256 } else { 2 };
    let token: Vec<u32> = (0..8).map(|t| key.with(t / 3).below(words) as u32).collect();
    let origin = if sampled { Origin::Policy(PolicyVersion(1)) } else { Origin::Environment };
    let stop = if sampled { Stop::StopString } else { Stop::NotSampled };
    let logprob = if sampled { vec![-1.0; token.len()] } else { Vec::new() };
    tree.push(NewStep { parent, child_index, origin, stop, token: &token, logprob: &logprob })
}

/// Four attempts of up to four turns, each observation continued twice.
fn grow(key: Key) -> StepTree {
    let mut tree = StepTree::new(TaskHash([key.with(0).below(256) as u8; 32]), &[1, 2, 3]);
    let mut open = vec![(StepId::ROOT, key, 0)];
    while let Some((parent, key, depth)) = open.pop() {
        for k in 0..if depth == 0 { 4 } else { 2 } {
            let key = key.with(1 + u64::from(k));
            let step = push(&mut tree, parent, k, true, key.with(0));
            if depth == 3 || key.with(1).below(4) == 0 {
                tree.judge(step, Verdict::scored([0.0, 0.25, 1.0][key.with(2).below(3)]));
            } else {
                let observation = push(&mut tree, step, 0, false, key.with(3));
                open.push((observation, key.with(4), depth + 1));
            }
        }
    }
    tree
}

/// The tree with every column that a method may declare.
fn filled(mut tree: StepTree) -> StepTree {
    let number = |i: usize| (i % 7) as f32 / 7.0 - 0.5;
    for name in ["value", "reference_logprob", "teacher_logprob"] {
        let column = (0..tree.token.len()).map(number).collect();
        tree.token_column.insert(name.to_owned(), column);
    }
    for name in ["score", "contribution", "grounded"] {
        let column = (0..tree.len()).map(|i| number(i) + 0.5).collect();
        tree.step_column.insert(name.to_owned(), column);
    }
    tree
}

fn forest() -> Vec<StepTree> {
    let mut forest = Vec::new();
    let mut steps = 0;
    while steps < STEPS {
        forest.push(filled(grow(Key::new(forest.len() as u64, Purpose::Sample))));
        steps += forest[forest.len() - 1].len();
    }
    forest
}

/// The method with its defaults.
fn named<T>(read: impl Fn(&str, Empty) -> Result<Option<T>, Error>, name: &str) -> T {
    read(name, MapDeserializer::new([].into_iter())).expect("defaults").expect("a known name")
}

type Empty = MapDeserializer<'static, std::array::IntoIter<(&'static str, f64), 0>, Error>;

/// The median of 21 runs.
fn median<T>(mut run: impl FnMut() -> T) -> Duration {
    let mut times: Vec<Duration> = (0..21)
        .map(|_| {
            let start = Instant::now();
            black_box(run());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn measure<T>(bench: &mut Criterion, kind: &str, name: &str, mut run: impl FnMut() -> T) {
    let took = median(&mut run);
    let limit = Duration::from_millis(MILLISECONDS_MAX);
    assert!(took < limit, "{kind} `{name}` takes {took:?} for {STEPS} steps, at most {limit:?}");
    let mut group = bench.benchmark_group(kind);
    group.sample_size(20).measurement_time(Duration::from_secs(1));
    group
        .bench_function(BenchmarkId::from_parameter(name), |timer| timer.iter(|| black_box(run())));
    group.finish();
}

fn methods(bench: &mut Criterion) {
    let forest = forest();
    let rewards: Rewards = RewardConfig::Outcome.reward(&forest);
    for name in RewardConfig::NAMES {
        let method = named(RewardConfig::from_type, name);
        measure(bench, "reward", name, || method.reward(&forest));
    }
    for name in CreditConfig::NAMES {
        let method = named(CreditConfig::from_type, name);
        measure(bench, "credit", name, || method.credit(&forest, &rewards));
    }
}

criterion_group!(benches, methods);
criterion_main!(benches);
