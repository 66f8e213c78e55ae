//! Do the six hardest methods fit the types (DECISIONS 3)? Small real functions, not features: what
//! is checked here is the shape of `Credit`, `Needs`, `Batch`, `Loss`, `Streams` and `Row`.
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

use stepwell_methods::objective::clipped;
use stepwell_methods::reward::outcome;
use stepwell_methods::{Batch, Loss, Needs, Rewards, Row, RowLoss, Streams};
use stepwell_tree::{Credit, StepTree, parse};

type CreditVerb<Config> = fn(&[StepTree], &Rewards, &Config) -> Vec<Credit>;
type ObjectiveVerb<Config> = fn(&Batch<'_>, &Config) -> Loss;
type RowVerb<Config> = fn(&Row<'_>, &Config) -> RowLoss;

/// Every stub has the verb of its kind.
const GAE: CreditVerb<Gae> = token_gae;
const REINFORCE_PLUS_PLUS: CreditVerb<PlusPlus> = reinforce_plus_plus;
const BELLMAN: CreditVerb<f64> = bellman_target;
const PPO: ObjectiveVerb<Ppo> = ppo_with_value_head;
const ILQL: ObjectiveVerb<Ilql> = ilql;
const CONSERVATIVE: RowVerb<()> = conservative_row;
const DISTIL: RowVerb<f64> = distil_row;

const NEEDS_VALUE: Needs = Needs { step_columns: &[], token_columns: &["value"], attempts_min: 1 };
const NEEDS_REFERENCE: Needs = Needs { token_columns: &["reference_logprob"], ..NEEDS_VALUE };

fn column<'a>(tree: &'a StepTree, name: &str) -> &'a [f32] {
    tree.token_column.get(name).expect("the engine fills what `Needs` declares")
}

/// What a step hands to its parent: the mean over its scored children of two numbers.
struct Carry {
    sum: Vec<(f64, f64)>,
    count: Vec<u32>,
}

impl Carry {
    fn new(steps: usize) -> Carry {
        Carry { sum: vec![(0.0, 0.0); steps], count: vec![0; steps] }
    }

    fn give(&mut self, parent: usize, pair: (f64, f64)) {
        self.sum[parent] = (self.sum[parent].0 + pair.0, self.sum[parent].1 + pair.1);
        self.count[parent] += 1;
    }

    fn take(&self, step: usize) -> Option<(f64, f64)> {
        let count = f64::from(self.count[step]);
        (count > 0.0).then(|| (self.sum[step].0 / count, self.sum[step].1 / count))
    }
}

// ---------------------------------------------------------------- token GAE

struct Gae {
    gamma: f64,
    lambda: f64,
    /// TRL's quirk: the recursion also runs over observation tokens, with value 0 there.
    through_observations: bool,
}

/// δₜ = rₜ + γ·V̄ₜ₊₁ − Vₜ; Aₜ = δₜ + γλ·Āₜ₊₁; a bar is the mean over what follows.
fn token_gae(forest: &[StepTree], rewards: &Rewards, config: &Gae) -> Vec<Credit> {
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        let value = column(tree, "value");
        let mut carry = Carry::new(tree.len());
        let mut credit = Credit::none(tree.len());
        let mut token = vec![0.0; tree.token.len()];
        for i in (1..tree.len()).rev() {
            // A scored leaf ends with its reward; nothing follows it.
            let (mut reward, (mut next_value, mut next)) = match (leaf[i], carry.take(i)) {
                (Some(reward), _) => (reward, (0.0, 0.0)),
                (None, Some(pair)) => (0.0, pair),
                (None, None) => continue,
            };
            let sampled = tree.origin[i].is_policy();
            for t in tree.span[i].range().rev() {
                if !sampled && !config.through_observations {
                    break;
                }
                let own = if sampled { f64::from(value[t]) } else { 0.0 };
                let delta = reward + config.gamma * next_value - own;
                next = delta + config.gamma * config.lambda * next;
                (next_value, reward) = (own, 0.0);
                token[t] = if sampled { next } else { 0.0 };
            }
            if sampled && !tree.span[i].is_empty() {
                let own = &token[tree.span[i].range()];
                credit.step[i] = Some(own.iter().sum::<f64>() / own.len() as f64);
            }
            carry.give(tree.parent[i].index(), (next_value, next));
        }
        Credit { token: Some(token), ..credit }
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

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
    for (through_observations, expected) in
        [(false, [0.5415, 0.7359, 1.0]), (true, [0.0003, 0.0185, 1.0])]
    {
        let config = Gae { gamma: 0.99, lambda: 0.95, through_observations };
        let credit = GAE(&forest, &rewards, &config).remove(0);
        let token = credit.token.as_deref().expect("a refinement per token");
        for (step, expected) in [1, 3, 5].into_iter().zip(expected) {
            let last = forest[0].span[step].end as usize - 1;
            assert!((token[last] - expected).abs() < 5e-5, "{step}: {}", token[last]);
        }
    }
    // One value per turn is the same recursion over turns of one token.
    let forest = [turns(1, 60)];
    let config = Gae { gamma: 0.99, lambda: 0.95, through_observations: false };
    let credit = GAE(&forest, &outcome::reward(&forest), &config).remove(0);
    for (step, expected) in [(1, 0.8845), (3, 0.9405), (5, 1.0)] {
        assert!((credit.step[step].unwrap() - expected).abs() < 5e-5);
    }
    assert_eq!(NEEDS_VALUE.token_columns, ["value"]);
}

#[test]
fn on_a_fork_lambda_one_is_return_less_value() {
    let mut tree = parse(
        "0 - prompt q
         1 0 policy a a
         2 1 environment o
         3 2 policy b      r=1
         4 2 policy c      r=0
         5 2 policy d      unscored=interrupted",
    );
    let value = (0..tree.token.len()).map(|t| 0.125 * t as f32).collect();
    tree.token_column.insert("value".to_owned(), value);
    let forest = [tree];
    let config = Gae { gamma: 1.0, lambda: 1.0, through_observations: false };
    let credit = GAE(&forest, &outcome::reward(&forest), &config).remove(0);
    // Tokens q a a o b c d: return of a is the mean 1/2 of what followed it.
    let expected = [0.0, 0.5 - 0.125, 0.5 - 0.25, 0.0, 1.0 - 0.5, -0.625, 0.0];
    assert_eq!(credit.token, Some(expected.to_vec()));
    assert_eq!(credit.step[5], None);
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
        let mut carry = Carry::new(tree.len());
        let mut credit = Credit::none(tree.len());
        let mut token = vec![0.0; tree.token.len()];
        for i in (1..tree.len()).rev() {
            let Some(mut to_go) = leaf[i].or(carry.take(i).map(|pair| pair.0)) else { continue };
            if tree.origin[i].is_policy() {
                for t in tree.span[i].range().rev() {
                    to_go -= config.kl * f64::from(tree.logprob[t] - reference[t]);
                    token[t] = to_go;
                }
                credit.step[i] = Some(to_go);
            }
            carry.give(tree.parent[i].index(), (to_go, 0.0));
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
    value_coefficient: f64,
    value_clip: f64,
}

/// The surrogate, and ½·max((V−R)², (clip(V, V_old ± ε)−R)²) on the stream `value`.
fn ppo_with_value_head(batch: &Batch<'_>, config: &Ppo) -> Loss {
    let mut loss = clipped::objective(batch, &config.policy);
    let [value, old, target] =
        ["value", "value_behaviour", "value_target"].map(|name| batch.streams.get(name));
    let mut d_value = vec![0.0; batch.len()];
    for i in 0..batch.len() {
        let [v, old, target] = [value[i], old[i], target[i]].map(f64::from);
        let cut = v.clamp(old - config.value_clip, old + config.value_clip);
        let (free, bound) = ((v - target).powi(2), (cut - target).powi(2));
        let weight = batch.weight[i] * config.value_coefficient;
        loss.value += 0.5 * weight * free.max(bound);
        let slope = if free >= bound { v - target } else { 0.0 };
        d_value[i] = (weight * slope) as f32;
    }
    loss.d_streams.insert("value", d_value);
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
    let config =
        Ppo { policy: clipped::Config::default(), value_coefficient: 0.5, value_clip: 0.2 };
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
    let config = clipped::Config { clip_low: 1.0, clip_high: 1e6, ..clipped::Config::default() };
    let logprob: Vec<f32> = p.iter().map(|p| p.ln() as f32).collect();
    let loss_at = |new: &[f64]| {
        let now: Vec<f32> = new.iter().map(|p| p.ln() as f32).collect();
        clipped::objective(
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

struct Ilql {
    expectile: f64,
}

/// Detached targets r + γ·V̄(s') as the refinement of credit: V does not learn through them.
/// `value` is V where the token is chosen; s' is where the next token is chosen.
fn bellman_target(forest: &[StepTree], rewards: &Rewards, gamma: &f64) -> Vec<Credit> {
    // δ + V = r + γ·V̄(s'): λ = 0 and the value added back.
    let config = Gae { gamma: *gamma, lambda: 0.0, through_observations: false };
    let mut credits = token_gae(forest, rewards, &config);
    for (tree, credit) in forest.iter().zip(&mut credits) {
        for i in (0..tree.len()).filter(|&i| credit.step[i].is_some()) {
            for t in tree.span[i].range() {
                let token = credit.token.as_mut().expect("GAE refines");
                token[t] += f64::from(column(tree, "value")[t]);
            }
        }
    }
    credits
}

/// Σ (Qₖ − target)² + expectile(min Q̄ − V); the target arrives as `credit`.
fn ilql(batch: &Batch<'_>, config: &Ilql) -> Loss {
    let mut loss = Loss::zero(batch.len());
    for name in ["q1", "q2"] {
        let rows = batch.streams.get(name).iter().zip(batch.credit).zip(batch.weight);
        let mut d_q = Vec::with_capacity(batch.len());
        for ((q, target), weight) in rows {
            let error = f64::from(*q) - f64::from(*target);
            loss.value += weight * error * error;
            d_q.push((weight * 2.0 * error) as f32);
        }
        loss.d_streams.insert(name, d_q);
    }
    let [q1, q2, value] = ["q1_target", "q2_target", "value"].map(|name| batch.streams.get(name));
    let mut d_value = Vec::with_capacity(batch.len());
    for i in 0..batch.len() {
        let u = f64::from(q1[i].min(q2[i])) - f64::from(value[i]);
        let slope = if u < 0.0 { 1.0 - config.expectile } else { config.expectile };
        loss.value += batch.weight[i] * slope * u * u;
        d_value.push((-batch.weight[i] * slope * 2.0 * u) as f32);
    }
    loss.d_streams.insert("value", d_value);
    loss
}

/// CQL's term: cross-entropy with Q as logits, over the whole row.
fn conservative_row(row: &Row<'_>, _: &()) -> RowLoss {
    let p = softmax(row.logit);
    let taken = row.token as usize;
    let d = |(k, p): (usize, &f64)| row.weight * (p - if k == taken { 1.0 } else { 0.0 });
    let d_logit = p.iter().enumerate().map(|pair| d(pair) as f32).collect();
    RowLoss { value: -row.weight * p[taken].ln(), d_logit }
}

#[test]
fn ilql_fits() {
    let mut tree = parse("0 - prompt q\n1 0 policy a b\n2 1 environment o\n3 2 policy c r=1");
    tree.token_column.insert("value".to_owned(), vec![9.0, 0.25, 0.5, 9.0, 0.75]);
    let forest = [tree];
    let target = BELLMAN(&forest, &outcome::reward(&forest), &0.5).remove(0);
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
        ILQL(&batch, &Ilql { expectile: 0.7 })
    };
    let loss = run(&streams);
    for name in ["q1", "q2", "value"] {
        for i in 0..2 {
            let expected = difference(|s| run(s).value, &streams, (name, i));
            let got = f64::from(loss.d_streams[name][i]);
            assert!((got - expected).abs() < 1e-6, "{name} {i}: {got} {expected}");
        }
    }
    check_row(CONSERVATIVE, &());
}

// ---------------------------------------------------------------- generalised distillation

/// b·KL(p_T‖m) + (1−b)·KL(p_S‖m), m = b·p_T + (1−b)·p_S; gradient p_S⊙(h − p_S·h),
/// h = (1−b)·log(p_S/m).
fn distil_row(row: &Row<'_>, b: &f64) -> RowLoss {
    let (student, teacher) = (softmax(row.logit), softmax(row.target));
    let m: Vec<f64> = student.iter().zip(&teacher).map(|(s, t)| b * t + (1.0 - b) * s).collect();
    let kl = |p: &[f64]| p.iter().zip(&m).map(|(p, m)| p * (p / m).ln()).sum::<f64>();
    let h: Vec<f64> =
        student.iter().zip(&m).map(|(s, m)| row.weight * (1.0 - b) * (s / m).ln()).collect();
    let d_logit = fisher_row(&student, &h).iter().map(|d| *d as f32).collect();
    RowLoss { value: row.weight * (b * kl(&teacher) + (1.0 - b) * kl(&student)), d_logit }
}

fn check_row<Config>(objective: RowVerb<Config>, config: &Config) {
    let mut logit = [0.5f32, -0.25, 0.0, 0.75];
    let target = [0.0f32, 0.5, -1.0, 0.25];
    let run =
        |logit: &[f32]| objective(&Row { logit, target: &target, token: 2, weight: 0.5 }, config);
    let d_logit = run(&logit).d_logit;
    for k in 0..logit.len() {
        let h = 1.0 / 1024.0;
        let at = logit[k];
        let mut shifted = |by: f32| {
            logit[k] = at + by;
            let value = run(&logit).value;
            logit[k] = at;
            value
        };
        let expected = (shifted(h) - shifted(-h)) / (2.0 * f64::from(h));
        assert!((f64::from(d_logit[k]) - expected).abs() < 1e-6, "{k}: {d_logit:?} {expected}");
    }
}

#[test]
fn generalised_distillation_fits() {
    for b in [0.1, 0.5, 0.9] {
        check_row(DISTIL, &b);
    }
    let same = [0.5f32, -0.25, 1.0];
    let row = Row { logit: &same, target: &same, token: 0, weight: 1.0 };
    let loss = DISTIL(&row, &0.5);
    assert!(loss.value.abs() < 1e-12 && loss.d_logit.iter().all(|d| d.abs() < 1e-7));
}
