//! The whole loss of a log, through policy, heads and targets, against a second writing of its
//! formula in `f64`: its value, and its gradient by differences, with what has no gradient held.

use stepwell_methods::credit::uniform;
use stepwell_methods::offline::{bellman, double_q, ilql};
use stepwell_methods::{OfflineValue, Rewards};
use stepwell_model::tokenizer::Tokenizer;
use stepwell_model::{AdamWSettings, Config, Family, Head, Model, RopeScaling};
use stepwell_tree::{Key, Purpose, StepTree, parse};

use crate::{
    Codec, HeadSettings, Learner, MicroBatch, OfflineReport, OfflineSettings, VALUE, micro_batches,
};

const GAMMA: f64 = 0.9;

fn learner(vocabulary: usize) -> Learner {
    let words = ["one".to_owned(), "two".to_owned()];
    let codec = Codec::new(Tokenizer::from_words(words.to_vec()).unwrap(), None).unwrap();
    let config = Config {
        family: Family::Llama,
        vocabulary,
        hidden: 16,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 8,
        ffn: 24,
        rope_base: 10_000.0,
        rope_scaling: RopeScaling::None,
        norm_epsilon: 1e-5,
        tied: true,
        context: 96,
    };
    Learner::new(Model::random(config, 5), codec, 2)
}

/// Forked attempts, one of them never judged, and long enough for several tiles of a wide head.
fn log(vocabulary: usize) -> (Vec<StepTree>, Rewards) {
    let tree = |stream: u64| {
        let mut tree = parse(
            "0 - prompt q q
             1 0 policy a a a
             2 1 environment o
             3 2 policy b b    r=1
             4 2 policy c      r=0
             5 0 policy d d d  r=0
             6 0 policy e      unscored=lost",
        );
        let key = Key::new(stream, Purpose::Sample);
        for (at, token) in tree.token.iter_mut().enumerate() {
            *token = (key.with(at as u64).uniform() * vocabulary as f64) as u32;
        }
        tree
    };
    let forest: Vec<StepTree> = (0..4).map(tree).collect();
    let leaf = |tree: &StepTree| tree.verdict.iter().map(|v| v.reward()).collect();
    let leaf = forest.iter().map(leaf).collect();
    (forest, Rewards::of_leaves(leaf))
}

fn normal(stream: u64, at: usize) -> f32 {
    Key::new(stream, Purpose::Control).with(at as u64).normal() as f32
}

/// Heads of draws, the frozen ones others than those that they follow.
fn attach(learner: &mut Learner, method: &OfflineValue) {
    learner.attach_offline(method, Some(8), 3);
    let fill = |head: &mut Head, stream: u64| {
        for (index, (name, _, values)) in head.parameters().into_iter().enumerate() {
            let draw = |i| 0.4 * normal(stream + index as u64, i);
            head.set_parameter(&name, &(0..values.len()).map(draw).collect::<Vec<_>>()).unwrap();
        }
    };
    for (k, (name, target)) in method.q_heads().iter().enumerate() {
        let stream = 100 * k as u64;
        let mut other = learner.heads[*name].clone();
        fill(learner.heads.get_mut(*name).unwrap(), 10 + stream);
        fill(&mut other, 20 + stream);
        learner.frozen.insert((*target).to_owned(), other.frozen());
    }
    if method.learns_value() {
        fill(learner.heads.get_mut(VALUE).unwrap(), 30);
    }
}

fn settings(method: OfflineValue, tokens_max: usize) -> OfflineSettings {
    let adamw = AdamWSettings {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
    };
    let head = HeadSettings { adamw, gradient_clip: 1.0, tokens_max, frozen_trunk: false };
    OfflineSettings { method, bellman: bellman::Config { gamma: GAMMA }, head }
}

/// What the loss reads and has no gradient by.
struct Held {
    target: Vec<f64>,
    frozen: Vec<f64>,
    advantage: Vec<f64>,
}

/// What policy and heads say at the rows of the log: log-probabilities, `[head][M][V]` Q of those
/// that learn and of the frozen ones, values.
struct Said {
    logprob: Vec<f64>,
    q: Vec<Vec<Vec<f64>>>,
    frozen: Vec<Vec<Vec<f64>>>,
    value: Vec<f64>,
}

fn said(learner: &mut Learner, method: &OfflineValue, batch: &MicroBatch) -> Said {
    let scores = learner.machine.forward(&batch.packed(), &batch.scored(1.0)).unwrap();
    let states = learner.machine.states(&batch.row).unwrap();
    let wide = |numbers: &[f32]| numbers.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let vocabulary = learner.model().config().vocabulary;
    let rows = |all: Vec<f32>| all.chunks_exact(vocabulary).map(wide).collect::<Vec<_>>();
    let names = method.q_heads();
    let q = names
        .iter()
        .map(|(own, _)| rows(learner.heads.get_mut(*own).expect("attached").forward(&states)));
    let q: Vec<_> = q.collect();
    let frozen: Vec<_> =
        names.iter().map(|(_, target)| rows(learner.frozen[*target].forward(&states))).collect();
    let value = match (method, learner.heads.get_mut(VALUE)) {
        (OfflineValue::DoubleQ(config), _) => {
            let best = |row: &[f64]| {
                (1..row.len()).fold(0, |best, k| if row[k] > row[best] { k } else { best })
            };
            let by = if config.next == double_q::Next::Double { &q[0] } else { &frozen[0] };
            by.iter().zip(&frozen[0]).map(|(by, frozen)| frozen[best(by)]).collect()
        }
        (OfflineValue::Ilql(_), head) => wide(&head.expect("attached").forward(&states)),
    };
    Said { logprob: wide(&scores.logprob), q, frozen, value }
}

/// Targets by hand: a last token earns its verdict, whatever is said of what follows; a token
/// inside a step sees the next; at the fork behind `a a a` the mean of both ways on.
fn targets(batch: &MicroBatch, value: &[f64]) -> Vec<f64> {
    let at = |tree: usize, arena: usize| {
        value[batch.place.iter().position(|place| *place == (tree, arena)).unwrap()]
    };
    let of = |&(t, arena): &(usize, usize)| match arena {
        2 | 3 => GAMMA * at(t, arena + 1),
        4 => GAMMA * (at(t, 6) + at(t, 8)) / 2.0,
        6 => GAMMA * at(t, 7),
        7 => 1.0,
        8 => 0.0,
        9 | 10 => GAMMA * at(t, arena + 1),
        11 => 0.0,
        other => panic!("token {other} is not trained"),
    };
    batch.place.iter().map(of).collect()
}

fn held(batch: &MicroBatch, said: &Said) -> Held {
    let taken = |rows: &[Vec<f64>], i: usize| rows[i][batch.target[i] as usize];
    let least = |i| said.frozen.iter().map(|rows| taken(rows, i)).fold(f64::INFINITY, f64::min);
    let frozen: Vec<f64> = (0..batch.trained()).map(least).collect();
    let advantage = frozen.iter().zip(&said.value).map(|(q, v)| q - v).collect();
    Held { target: targets(batch, &said.value), frozen, advantage }
}

/// The loss: all trained tokens alike.
fn exact(batch: &MicroBatch, method: &OfflineValue, said: &Said, held: &Held) -> f64 {
    let mut sum = 0.0;
    let conservatism = match method {
        OfflineValue::DoubleQ(config) => config.conservatism,
        OfflineValue::Ilql(config) => config.conservatism,
    };
    for i in 0..batch.trained() {
        for rows in &said.q {
            let row = &rows[i];
            let own = row[batch.target[i] as usize];
            sum += (own - held.target[i]).powi(2);
            sum += conservatism * (row.iter().map(|q| q.exp()).sum::<f64>().ln() - own);
        }
        if let OfflineValue::Ilql(config) = method {
            let u = held.frozen[i] - said.value[i];
            sum += (config.expectile - f64::from(u8::from(u < 0.0))).abs() * u * u;
            sum -= config.awac * (config.beta * held.advantage[i]).exp() * said.logprob[i];
        }
    }
    sum / batch.trained() as f64
}

fn one_batch(learner: &Learner, method: &OfflineValue) -> (MicroBatch, OfflineSettings) {
    let (forest, rewards) = log(learner.model().config().vocabulary);
    let settings = settings(method.clone(), 10_000);
    let marks = uniform::credit(&forest, &rewards, &uniform::Config::default());
    let count: usize = 9 * forest.len();
    let weight: Vec<Vec<f64>> =
        forest.iter().map(|tree| vec![1.0 / count as f64; tree.token.len()]).collect();
    let mut batches = micro_batches(&forest, &marks, &weight, 10_000);
    assert_eq!((batches.len(), batches[0].trained()), (1, count), "the lost attempt is left out");
    (batches.remove(0), settings)
}

/// Length 1, at random.
fn direction(stream: u64, count: usize) -> Vec<f64> {
    let draws: Vec<f64> = (0..count).map(|i| f64::from(normal(stream, i))).collect();
    let norm = draws.iter().map(|x| x * x).sum::<f64>().sqrt();
    draws.into_iter().map(|x| x / norm).collect()
}

/// Along itself and at random: the gradient against differences of `loss` of moved weights.
fn agrees(what: &str, gradient: &[f32], random: u64, mut loss: impl FnMut(&[f64]) -> f64) {
    let gradient: Vec<f64> = gradient.iter().copied().map(f64::from).collect();
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    assert!(norm > 1e-4, "{what}: {norm}");
    let along = (4e-3, gradient.iter().map(|g| g / norm).collect());
    let random = (0..random).map(|k| (3e-4, direction(70 + k, gradient.len())));
    for (share, way) in std::iter::once(along).chain(random) {
        // Small, because a rectifier bends the loss: along itself a gradient is steep.
        let step = 2.5e-4;
        let mut at = |by: f64| loss(&way.iter().map(|x| by * x).collect::<Vec<_>>());
        let got = (at(step) - at(-step)) / (2.0 * step);
        let expected: f64 = way.iter().zip(&gradient).map(|(x, g)| x * g).sum();
        assert!((got - expected).abs() < share * norm, "{what}: {expected} {got} of {norm}");
    }
}

fn check(vocabulary: usize, method: &OfflineValue, random: u64) {
    let mut learner = learner(vocabulary);
    attach(&mut learner, method);
    let (batch, settings) = one_batch(&learner, method);
    let (forest, rewards) = log(vocabulary);
    let base = said(&mut learner, method, &batch);
    let held = held(&batch, &base);
    let mut report = OfflineReport::default();
    learner.clear_gradients().unwrap();
    learner.accumulate_offline(&batch, (&forest, &rewards), &settings, &mut report).unwrap();
    let expected = exact(&batch, method, &base, &held);
    assert!((report.loss - expected).abs() < 1e-4 * expected.abs(), "{report:?} {expected}");
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    assert!((report.target - mean(&held.target)).abs() < 1e-5, "{report:?}");
    assert!((report.value - mean(&base.value)).abs() < 1e-5, "{report:?}");
    // The trunk.
    let gradient = learner.machine.gradient().unwrap();
    let weights = learner.machine.trained().unwrap();
    agrees(&format!("trunk under {method:?}"), &gradient, random, |by| {
        let moved = weights.iter().zip(by).map(|(w, by)| (f64::from(*w) + by) as f32);
        learner.machine.set_trained(&moved.collect::<Vec<_>>()).unwrap();
        exact(&batch, method, &said(&mut learner, method, &batch), &held)
    });
    learner.machine.set_trained(&weights).unwrap();
    // Every head that learns, all of its parameters together.
    let names: Vec<String> = learner.heads.keys().cloned().collect();
    assert_eq!(names.len(), method.q_heads().len() + usize::from(method.learns_value()));
    for name in names {
        let own = learner.heads[&name].clone();
        let parameters = own.parameters();
        let of = |(name, _, _): &(String, _, _)| own.gradients().to_row_major(name).unwrap();
        let gradient: Vec<f32> = parameters.iter().flat_map(of).collect();
        agrees(&name, &gradient, random, |by| {
            let mut rest = by.iter();
            let head = learner.heads.get_mut(&name).unwrap();
            for (name, _, values) in &parameters {
                let moved = values.iter().zip(&mut rest).map(|(w, by)| (f64::from(*w) + by) as f32);
                head.set_parameter(name, &moved.collect::<Vec<_>>()).unwrap();
            }
            exact(&batch, method, &said(&mut learner, method, &batch), &held)
        });
        learner.heads.insert(name, own);
    }
}

fn ilql() -> ilql::Config {
    ilql::Config { expectile: 0.8, conservatism: 0.3, awac: 0.7, beta: 0.5 }
}

#[test]
fn the_loss_and_every_gradient_are_those_of_the_formula() {
    check(24, &OfflineValue::Ilql(ilql()), 3);
    check(24, &OfflineValue::Ilql(ilql::Config { conservatism: 0.0, awac: 0.0, ..ilql() }), 1);
    for next in [double_q::Next::Double, double_q::Next::Max] {
        check(24, &OfflineValue::DoubleQ(double_q::Config { next, conservatism: 0.3 }), 3);
    }
}

#[test]
fn a_vocabulary_that_takes_several_tiles_changes_nothing() {
    let vocabulary = 100_000;
    let method = OfflineValue::Ilql(ilql());
    let mut probe = learner(vocabulary);
    attach(&mut probe, &method);
    let rows = probe.heads["q1"].shape().rows_at_once();
    assert!(rows < 36 / 2, "{rows} rows at once: one tile, and nothing is shown");
    check(vocabulary, &method, 0);
    let next = double_q::Next::Double;
    check(vocabulary, &OfflineValue::DoubleQ(double_q::Config { next, conservatism: 0.0 }), 0);
}

#[test]
fn splitting_an_update_changes_nothing_and_what_is_not_finite_moves_nothing() {
    let method = OfflineValue::Ilql(ilql());
    let (forest, rewards) = log(24);
    let run = |tokens_max: usize| {
        let mut learner = learner(24);
        attach(&mut learner, &method);
        let settings = settings(method.clone(), tokens_max);
        learner.learn_offline(&forest, &rewards, &settings).unwrap()
    };
    let (whole, split) = (run(10_000), run(1));
    assert_eq!((whole.trained_tokens, split.trained_tokens), (36, 36));
    for (a, b) in [
        (whole.loss, split.loss),
        (whole.gradient_norm, split.gradient_norm),
        (whole.q, split.q),
        (whole.value, split.value),
        (whole.target, split.target),
        (whole.conservatism, split.conservatism),
    ] {
        assert!((a - b).abs() < 1e-5 * a.abs().max(0.1), "{whole:?} {split:?}");
    }
    // A Q of a token that nobody took.
    let mut learner = learner(24);
    attach(&mut learner, &method);
    let head = learner.heads.get_mut("q2").unwrap();
    let mut bias = vec![0.0; 24];
    let taken: Vec<u32> = forest.iter().flat_map(|tree| tree.token.clone()).collect();
    let free = (0..24).find(|token| !taken.contains(token)).expect("not all tokens are taken");
    bias[free as usize] = f32::INFINITY;
    head.set_parameter("out.bias", &bias).unwrap();
    let before = learner.machine.trained().unwrap();
    let heads = learner.heads["q1"].parameters();
    let error = learner.learn_offline(&forest, &rewards, &settings(method.clone(), 10_000));
    let error = error.unwrap_err().to_string();
    assert!(error.contains("q2") && error.contains("no weight was changed"), "{error}");
    assert_eq!(learner.machine.trained().unwrap(), before);
    assert_eq!(learner.heads["q1"].parameters(), heads);
    // A log without a verdict teaches nothing.
    let none = Rewards::of_leaves(forest.iter().map(|tree| vec![None; tree.len()]).collect());
    let report = learner.learn_offline(&forest, &none, &settings(method, 10_000)).unwrap();
    assert_eq!(report, OfflineReport::default());
}
