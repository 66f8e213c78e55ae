//! Do the six hardest methods fit the types (DECISIONS 3)? What is checked here is the shape of
//! `Credit`, `Needs`, `Batch`, `Loss`, `Streams` and `Row`; REINFORCE++ with a KL per token, PPO
//! with its head in one loss and TRPO's step are small functions of this file.
//!
//! | method | kind | what it needs of the types |
//! |---|---|---|
//! | token GAE | credit | a column `value` over tokens; a refinement of credit per token |
//! | REINFORCE++ | credit | a column `reference_logprob`; the whole forest, to whiten over |
//! | PPO with a value head | objective | streams in, a gradient per stream out |
//! | TRPO | optimizer | an unclipped surrogate; the Fisher product of one row's distribution |
//! | ILQL | credit, objective | detached targets as token credit; streams q1, q2, value; Q rows |
//! | generalised distillation | objective | two whole distributions per row, one row at a time |

use std::collections::BTreeMap;

use stepwell_methods::credit::gae::{self, Mode};
use stepwell_methods::objective::value_loss::{self, Values};
use stepwell_methods::objective::{clipped, surrogate};
use stepwell_methods::offline::{bellman, ilql};
use stepwell_methods::reward::outcome;
use stepwell_methods::row::{cql, distill};
use stepwell_methods::{Batch, CreditConfig, Loss, Needs, Rewards, Row, RowLoss, Streams};
use stepwell_tree::{Credit, StepTree, parse};

type CreditVerb<Config> = fn(&[StepTree], &Rewards, &Config) -> Vec<Credit>;
type ObjectiveVerb<Config> = fn(&Batch<'_>, &Config) -> Loss;
type RowVerb<Config> = fn(&Row<'_>, &Config) -> RowLoss;

/// Each has the verb of its kind.
const GAE: CreditVerb<gae::Config> = gae::credit;
const REINFORCE_PLUS_PLUS: CreditVerb<PlusPlus> = reinforce_plus_plus;
const BELLMAN: CreditVerb<bellman::Config> = bellman::credit;
const PPO: ObjectiveVerb<Ppo> = ppo_with_value_head;
const ILQL: ObjectiveVerb<ilql::Config> = ilql::objective;
const CONSERVATIVE: RowVerb<cql::Config> = cql::row;
const DISTIL: RowVerb<distill::Config> = distill::row;

const NEEDS_VALUE: Needs = Needs { step_columns: &[], token_columns: &["value"], attempts_min: 1 };
const NEEDS_REFERENCE: Needs = Needs { token_columns: &["reference_logprob"], ..NEEDS_VALUE };

fn column<'a>(tree: &'a StepTree, name: &str) -> &'a [f32] {
    tree.token_column.get(name).expect("the engine fills what `Needs` declares")
}

// ---------------------------------------------------------------- token GAE

/// Turns of `turn` tokens apart by observations of `gap`.
fn turns(turn: usize, gap: usize) -> StepTree {
    let tokens = |n: usize| "t ".repeat(n);
    let mut tree = parse(&format!(
        "0 - prompt q
         1 0 policy {a}
         2 1 environment {o}
         3 2 policy {a}
         4 3 environment {o}
         5 4 policy {a} r=1",
        a = tokens(turn),
        o = tokens(gap)
    ));
    tree.token_column.insert("value".to_owned(), vec![0.0; tree.token.len()]);
    tree
}

#[test]
fn token_gae_fits() {
    // DECISIONS 16 and primitives.md, section 4.
    let forest = [turns(5, 60)];
    let rewards = outcome::reward(&forest);
    let plain = gae::Config { gamma: 0.99, whiten: false, ..gae::Config::default() };
    for (mode, expected) in [
        (Mode::TokenCompact, [0.5415, 0.7359, 1.0]),
        (Mode::TokenTrl, [0.0003, 0.0185, 1.0]),
        (Mode::Turn, [0.8845, 0.9405, 1.0]),
    ] {
        let credit = GAE(&forest, &rewards, &gae::Config { mode, ..plain }).remove(0);
        for (step, expected) in [1, 3, 5].into_iter().zip(expected) {
            let last = forest[0].span[step].end as usize - 1;
            let token = credit.token.as_ref().map(|token| token[last]);
            let got = token.or(credit.step[step]).expect("a scored step");
            assert!((got - expected).abs() < 5e-5, "{mode:?} {step}: {got}");
        }
    }
    let one = gae::Config { mode: Mode::Turn, gamma: 1.0, lambda: 1.0, ..plain };
    let credit = GAE(&forest, &rewards, &one).remove(0);
    assert_eq!([1, 3, 5].map(|i| credit.step[i]), [Some(1.0); 3]);
    // One value per turn is the same recursion over turns of one token.
    let short = [turns(1, 60)];
    let of = |mode| GAE(&short, &rewards, &gae::Config { mode, ..plain }).remove(0).step;
    assert_eq!(of(Mode::Turn), of(Mode::TokenCompact));
    assert_eq!(CreditConfig::Gae(plain).needs().token_columns, ["value"]);
}

// ---------------------------------------------------------------- REINFORCE++

struct PlusPlus {
    kl: f64,
}

/// Return to go of rₜ = −β·(log π_behaviour − log π_ref) + R at the end, whitened over the update.
fn reinforce_plus_plus(forest: &[StepTree], rewards: &Rewards, config: &PlusPlus) -> Vec<Credit> {
    let mut credits: Vec<Credit> = Vec::new();
    for (tree, leaf) in forest.iter().zip(&rewards.leaf) {
        let reference = column(tree, "reference_logprob");
        let (mut sum, mut count) = (vec![0.0; tree.len()], vec![0u32; tree.len()]);
        let mut credit = Credit::none(tree.len());
        let mut token = vec![0.0; tree.token.len()];
        for i in (1..tree.len()).rev() {
            let below = (count[i] > 0).then(|| sum[i] / f64::from(count[i]));
            let Some(mut to_go) = leaf[i].or(below) else { continue };
            if tree.origin[i].is_policy() {
                for t in tree.span[i].range().rev() {
                    to_go -= config.kl * f64::from(tree.logprob[t] - reference[t]);
                    token[t] = to_go;
                }
                credit.step[i] = Some(to_go);
            }
            sum[tree.parent[i].index()] += to_go;
            count[tree.parent[i].index()] += 1;
        }
        credits.push(Credit { token: Some(token), ..credit });
    }
    whiten(forest, &mut credits);
    credits
}

/// Mean 0 and deviation 1 over the trained tokens of all trees.
fn whiten(forest: &[StepTree], credits: &mut [Credit]) {
    let mut trained: Vec<&mut f64> = Vec::new();
    for (tree, credit) in forest.iter().zip(credits) {
        let token = credit.token.iter_mut().flatten();
        let step = tree.span.iter().zip(&credit.step);
        let mask = step.flat_map(|(span, c)| std::iter::repeat_n(c.is_some(), span.len()));
        trained.extend(token.zip(mask).filter(|(_, trains)| *trains).map(|(number, _)| number));
    }
    let count = trained.len().max(1) as f64;
    let mean = trained.iter().map(|x| **x).sum::<f64>() / count;
    let variance = trained.iter().map(|x| (**x - mean).powi(2)).sum::<f64>() / count;
    for number in trained {
        *number = (*number - mean) / (variance.sqrt() + 1e-8);
    }
}

#[test]
fn reinforce_plus_plus_fits() {
    let table = "0 - prompt q\n1 0 policy a a r=1\n2 0 policy b r=0";
    let mut forest = [parse(table), parse("0 - prompt q\n1 0 policy a r=1")];
    for tree in &mut forest {
        let reference = vec![-1.5; tree.token.len()];
        tree.token_column.insert("reference_logprob".to_owned(), reference);
    }
    let credit = REINFORCE_PLUS_PLUS(&forest, &outcome::reward(&forest), &PlusPlus { kl: 0.1 });
    // To go: a a = 0.90, 0.95; b = -0.05; the other tree 0.95. Whitened over all four.
    let raw = [0.90, 0.95, -0.05, 0.95];
    let mean = raw.iter().sum::<f64>() / 4.0;
    let deviation = (raw.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / 4.0).sqrt();
    let token: Vec<f64> = credit.iter().flat_map(|c| c.token.clone().unwrap()).collect();
    for (t, expected) in [(1, raw[0]), (2, raw[1]), (3, raw[2]), (5, raw[3])] {
        assert!((token[t] - (expected - mean) / deviation).abs() < 1e-6);
    }
    assert_eq!(NEEDS_REFERENCE.token_columns, ["reference_logprob"]);
}

// ---------------------------------------------------------------- PPO with a value head

struct Ppo {
    policy: clipped::Config,
    value: value_loss::Config,
}

/// The surrogate, and the value loss on the stream `value`.
fn ppo_with_value_head(batch: &Batch<'_>, config: &Ppo) -> Loss {
    let mut loss = clipped::objective(batch, &config.policy);
    let [value, behaviour, target] =
        ["value", "value_behaviour", "value_target"].map(|name| batch.streams.get(name));
    let values = Values { value, behaviour, target };
    let own = value_loss::value_loss(&values, batch.weight, &config.value);
    loss.value += own.value;
    loss.d_streams.insert("value", own.d_value);
    loss
}

/// The derivative of a loss with respect to entry `i` of a stream, by differences.
fn difference(
    loss: impl Fn(&BTreeMap<&'static str, Vec<f32>>) -> f64,
    streams: &BTreeMap<&'static str, Vec<f32>>,
    (name, i): (&'static str, usize),
) -> f64 {
    let h = 1.0 / 4096.0;
    let shifted = |by: f32| {
        let mut moved = streams.clone();
        moved.get_mut(name).expect("a stream of the example")[i] += by;
        loss(&moved)
    };
    (shifted(h) - shifted(-h)) / (2.0 * f64::from(h))
}

fn borrow<'a>(streams: &'a BTreeMap<&'static str, Vec<f32>>) -> Streams<'a> {
    Streams { column: streams.iter().map(|(name, c)| (*name, c.as_slice())).collect() }
}

#[test]
fn ppo_with_a_value_head_fits() {
    let streams = BTreeMap::from([
        ("value", vec![0.5, 1.0, -0.25]),
        ("value_behaviour", vec![0.5, 0.25, 0.0]),
        ("value_target", vec![1.0, 0.0, 1.0]),
    ]);
    let value = value_loss::Config { coefficient: 0.5, clip: Some(0.2) };
    let config = Ppo { policy: clipped::Config::default(), value };
    let run = |streams: &BTreeMap<&'static str, Vec<f32>>| {
        let batch = Batch {
            logprob: &[-1.0; 3],
            behaviour: &[-1.0; 3],
            credit: &[1.0; 3],
            weight: &[0.5; 3],
            streams: borrow(streams),
            ..Batch::default()
        };
        PPO(&batch, &config)
    };
    let loss = run(&streams);
    assert_eq!(loss.d_logprob, [-0.5; 3]);
    for i in 0..3 {
        let expected = difference(|s| run(s).value, &streams, ("value", i));
        assert!((f64::from(loss.d_streams["value"][i]) - expected).abs() < 1e-6, "row {i}");
    }
}

// ---------------------------------------------------------------- TRPO

fn softmax(logit: &[f32]) -> Vec<f64> {
    let top = logit.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let power: Vec<f64> = logit.iter().map(|x| f64::from(x - top).exp()).collect();
    let sum: f64 = power.iter().sum();
    power.iter().map(|p| p / sum).collect()
}

/// Fisher matrix of one row's softmax times a direction in logits: p⊙(v − p·v). With the model's
/// Jacobian around it, this is all that an optimizer in `train` asks of a distribution.
fn fisher_row(p: &[f64], v: &[f64]) -> Vec<f64> {
    let mean: f64 = p.iter().zip(v).map(|(p, v)| p * v).sum();
    p.iter().zip(v).map(|(p, v)| p * (v - mean)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// (F + damping·I)⁻¹·g by conjugate gradients.
fn conjugate_gradient(p: &[f64], g: &[f64], damping: f64) -> Vec<f64> {
    let (mut x, mut r, mut d) = (vec![0.0; g.len()], g.to_vec(), g.to_vec());
    for _ in 0..10 {
        let rr = dot(&r, &r);
        if rr < 1e-20 {
            break;
        }
        let mut fd = fisher_row(p, &d);
        fd.iter_mut().zip(&d).for_each(|(f, d)| *f += damping * d);
        let alpha = rr / dot(&d, &fd);
        x.iter_mut().zip(&d).for_each(|(x, d)| *x += alpha * d);
        r.iter_mut().zip(&fd).for_each(|(r, f)| *r -= alpha * f);
        let beta = dot(&r, &r) / rr;
        d.iter_mut().zip(&r).for_each(|(d, r)| *d = r + beta * *d);
    }
    x
}

#[test]
fn trpo_fits_as_an_optimizer_over_the_unclipped_surrogate() {
    // A bandit: logits are the parameters, so the Jacobian is the score. The gradient comes through
    // `Objective` on tokens 0..4, each drawn once, weighted by its probability.
    let logit = [0.5f32, -0.25, 0.0, 0.75];
    let credit = [1.0f32, -0.5, 0.25, -0.75];
    let p = softmax(&logit);
    let config = surrogate::Config::default();
    let logprob: Vec<f32> = p.iter().map(|p| p.ln() as f32).collect();
    let loss_at = |new: &[f64]| {
        let now: Vec<f32> = new.iter().map(|p| p.ln() as f32).collect();
        surrogate::objective(
            &Batch {
                logprob: &now,
                behaviour: &logprob,
                credit: &credit,
                weight: &p,
                ..Batch::default()
            },
            &config,
        )
    };
    let loss = loss_at(&p);
    let ascent: Vec<f64> = loss.d_logprob.iter().map(|d| -f64::from(*d)).collect();
    let total: f64 = ascent.iter().sum();
    let gradient: Vec<f64> = ascent.iter().zip(&p).map(|(a, p)| a - total * p).collect();
    let (delta, damping) = (0.01, 1e-3);
    let direction = conjugate_gradient(&p, &gradient, damping);
    let curvature = dot(&direction, &fisher_row(&p, &direction));
    let mut scale = (2.0 * delta / curvature).sqrt();
    let accepted = (0..20).any(|_| {
        let step = |(l, d): (&f32, &f64)| (f64::from(*l) + scale * d) as f32;
        let new = softmax(&logit.iter().zip(&direction).map(step).collect::<Vec<_>>());
        let kl: f64 = p.iter().zip(&new).map(|(p, q)| p * (p / q).ln()).sum();
        scale *= 0.8;
        kl <= delta && loss_at(&new).value < loss.value
    });
    assert!(accepted, "a step within the region that improves the surrogate");
}

// ---------------------------------------------------------------- ILQL

#[test]
fn ilql_fits() {
    let mut tree = parse("0 - prompt q\n1 0 policy a b\n2 1 environment o\n3 2 policy c r=1");
    tree.token_column.insert("value".to_owned(), vec![9.0, 0.25, 0.5, 9.0, 0.75]);
    let forest = [tree];
    let config = bellman::Config { gamma: 0.5 };
    let target = BELLMAN(&forest, &outcome::reward(&forest), &config).remove(0);
    // a sees V(b); b sees V(c) across the observation; c is terminal: the reward, and no V.
    assert_eq!(target.token, Some(vec![0.0, 0.25, 0.375, 0.0, 1.0]));

    let streams = BTreeMap::from([
        ("q1", vec![0.5, 0.25]),
        ("q2", vec![-0.5, 1.0]),
        ("q1_target", vec![0.5, 0.25]),
        ("q2_target", vec![1.0, 0.75]),
        ("value", vec![0.0, 1.0]),
    ]);
    let run = |streams: &BTreeMap<&'static str, Vec<f32>>| {
        let batch = Batch {
            logprob: &[-1.0; 2],
            credit: &[0.375, 1.0],
            weight: &[0.5, 0.25],
            streams: borrow(streams),
            ..Batch::default()
        };
        ILQL(&batch, &ilql::Config { awac: 0.0, ..ilql::Config::default() })
    };
    let loss = run(&streams);
    for name in ["q1", "q2", "value"] {
        for i in 0..2 {
            let expected = difference(|s| run(s).value, &streams, (name, i));
            let got = f64::from(loss.d_streams[name][i]);
            assert!((got - expected).abs() < 1e-6, "{name} {i}: {got} {expected}");
        }
    }
    let row = Row { logit: &[0.0, 1.0], target: &[], token: 0, weight: 1.0 };
    let conservative = CONSERVATIVE(&row, &cql::Config::default());
    assert!(conservative.d_logit[0] < 0.0 && conservative.d_logit[1] > 0.0);
}

// ---------------------------------------------------------------- generalised distillation

#[test]
fn generalised_distillation_fits() {
    let same = [0.5f32, -0.25, 1.0];
    let row = Row { logit: &same, target: &same, token: 0, weight: 1.0 };
    let loss = DISTIL(&row, &distill::Config::default());
    assert!(loss.value.abs() < 1e-12 && loss.d_logit.iter().all(|d| d.abs() < 1e-7));
    let other = Row { target: &[0.0, 0.5, -1.0], ..row };
    let loss = DISTIL(&other, &distill::Config::default());
    assert!(loss.value > 0.0 && loss.d_logit.iter().sum::<f32>().abs() < 1e-6);
}
