//! What TRL and verl compute on one random batch, and what we compute where the definition is the
//! same. The fixtures name the versions; `tools/compare_trl.py` and `tools/compare_verl.py` write
//! them by calling those libraries.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;

use serde::Deserialize;
use stepwell_methods::credit::{
    Rewards, gae, gpg, group_mean, leave_one_out, length_weighted, pass_at_k, reinforce_plus_plus,
};
use stepwell_methods::objective::{
    Estimator, Kl, Part, RowSequence, cispo, clipped, gmpo, gspo, sequences, value_loss,
};
use stepwell_methods::preference::{
    Answer, Pair, Term, cdpo, dpo, ipo, kto, nca, orpo, robust_dpo, simpo,
};
use stepwell_methods::row::distill;
use stepwell_methods::{
    Aggregation, Batch, CreditConfig, Objective, RewardConfig, Row, RowObjective, token_weights,
};
use stepwell_tree::{
    Credit, NewStep, Origin, PolicyVersion, StepId, StepTree, Stop, TaskHash, Verdict,
};

/// Of 64-bit numbers on both sides.
const CLOSE: f64 = 1e-10;
/// Of gradients, which we return as 32-bit numbers.
const GRADIENT: f64 = 1e-6;

/// Of whitened numbers: verl adds 1e-8 to the number of tokens where it whitens.
const WHITENED: f64 = 1e-8;

type Rows = Vec<Vec<f64>>;

#[derive(Deserialize)]
struct Inputs {
    length: Vec<usize>,
    group: Vec<usize>,
    reward: Vec<f64>,
    /// One per row, for the losses; not what any estimator makes of the rewards.
    advantage: Vec<f64>,
    old: Rows,
    logprob: Rows,
    reference: Rows,
    /// What a critic says, and what it says after a step.
    #[serde(default)]
    value: Rows,
    #[serde(default)]
    new_value: Rows,
}

#[derive(Deserialize)]
struct Expected {
    objective: String,
    aggregation: String,
    clip_low: f64,
    clip_high: f64,
    dual_clip: Option<f64>,
    length_constant: Option<usize>,
    #[serde(default)]
    kl: f64,
    value: f64,
    gradient: Rows,
}

#[derive(Deserialize)]
struct Preferred {
    loss: String,
    value: f64,
    gradient: Vec<f64>,
    bits: Option<u32>,
}

/// Estimates with values: of sampled tokens alone, and of rows that observe some.
#[derive(Deserialize)]
struct Estimated {
    mask: Rows,
    returns: Rows,
    advantage: Rows,
    whitened: Rows,
}

#[derive(Deserialize)]
struct Regressed {
    clip: f64,
    value: f64,
    gradient: Rows,
}

#[derive(Deserialize)]
struct Estimates {
    gamma: f64,
    lambda: f64,
    /// One per token.
    reward: Rows,
    sampled: Estimated,
    with_observations: Estimated,
    loss: Regressed,
    masked_whiten: Rows,
}

/// Whole distributions, and what a divergence of every position's two is on average.
#[derive(Deserialize)]
struct Distilled {
    student: Rows,
    teacher: Rows,
    masked: Vec<bool>,
    losses: Vec<Divergence>,
}

#[derive(Deserialize)]
struct Divergence {
    beta: f64,
    temperature: f64,
    value: f64,
    gradient: Rows,
}

#[derive(Deserialize)]
struct Fixture {
    batch: Inputs,
    losses: Vec<Expected>,
    #[serde(default)]
    preferences: Vec<Preferred>,
    #[serde(default)]
    advantages: BTreeMap<String, Rows>,
    #[serde(default)]
    divergences: BTreeMap<String, Rows>,
    values: Option<Estimates>,
    distillations: Option<Distilled>,
}

fn trl() -> Fixture {
    serde_json::from_str(include_str!("fixtures/trl.json")).unwrap()
}

fn verl() -> Fixture {
    serde_json::from_str(include_str!("fixtures/verl.json")).unwrap()
}

#[track_caller]
fn same(got: f64, expected: f64, tolerance: f64, what: &str) {
    let error = (got - expected).abs();
    assert!(error <= tolerance * (1.0 + expected.abs()), "{what}: got {got}, expected {expected}");
}

impl Inputs {
    /// A tree per group, an attempt of one step per row.
    fn forest(&self) -> Vec<StepTree> {
        let groups = self.group.last().unwrap() + 1;
        let mut forest: Vec<StepTree> =
            (0..groups).map(|group| StepTree::new(TaskHash([group as u8; 32]), &[1])).collect();
        for (row, group) in self.group.iter().enumerate() {
            let tree = &mut forest[*group];
            let logprob: Vec<f32> = self.old[row].iter().map(|x| *x as f32).collect();
            let step = tree.push(NewStep {
                parent: StepId::ROOT,
                child_index: tree.len() as u32 - 1,
                origin: Origin::Policy(PolicyVersion(0)),
                stop: Stop::EndOfText,
                token: &vec![2; self.length[row]],
                logprob: &logprob,
            });
            tree.judge(step, Verdict::scored(self.reward[row]));
        }
        forest
    }

    /// Tree and step of each row.
    fn places(&self) -> Vec<(usize, usize)> {
        let mut seen = vec![0; self.group.len()];
        let place = |group: &usize| {
            seen[*group] += 1;
            (*group, seen[*group])
        };
        self.group.iter().map(place).collect()
    }

    /// The given advantages as credit.
    fn credits(&self, forest: &[StepTree]) -> Vec<Credit> {
        let mut credits: Vec<Credit> = forest.iter().map(|t| Credit::none(t.len())).collect();
        for ((tree, step), advantage) in self.places().into_iter().zip(&self.advantage) {
            credits[tree].step[step] = Some(*advantage);
        }
        credits
    }

    fn flat(&self, rows: &Rows) -> Vec<f32> {
        rows.iter().flatten().map(|x| *x as f32).collect()
    }
}

fn aggregation(expected: &Expected) -> Aggregation {
    match expected.aggregation.as_str() {
        "token_mean" => Aggregation::TokenMean,
        "sequence_mean_token_mean" => Aggregation::SequenceMeanTokenMean,
        "sequence_mean_token_sum_norm" => {
            Aggregation::SequenceMeanTokenSumNorm { length_constant: expected.length_constant }
        }
        other => panic!("unknown aggregation {other}"),
    }
}

fn objective(expected: &Expected) -> Objective {
    let Expected { clip_low, clip_high, dual_clip, .. } = *expected;
    let aggregation = aggregation(expected);
    let kl = Kl { estimator: Estimator::K3, coefficient: expected.kl };
    match expected.objective.as_str() {
        "clipped" => Objective::Clipped(clipped::Config {
            clip_low,
            clip_high,
            dual_clip,
            kl,
            aggregation,
            ..Default::default()
        }),
        "cispo" => Objective::Cispo(cispo::Config {
            clip_low,
            clip_high,
            aggregation,
            ..Default::default()
        }),
        "gspo" => {
            Objective::Gspo(gspo::Config { clip_low, clip_high, aggregation, ..Default::default() })
        }
        "gmpo" => {
            Objective::Gmpo(gmpo::Config { clip_low, clip_high, aggregation, ..Default::default() })
        }
        other => panic!("unknown objective {other}"),
    }
}

/// Loss and gradient of every objective of a fixture.
fn losses_agree(fixture: &Fixture, horizon: usize) {
    let inputs = &fixture.batch;
    let forest = inputs.forest();
    let credits = inputs.credits(&forest);
    // Rows of the batch are attempts in order, each its tokens in order.
    let begin: Vec<usize> = inputs
        .length
        .iter()
        .scan(0, |at, length| {
            *at += length;
            Some(*at - length)
        })
        .collect();
    let row_of = |tree: usize, step: StepId| {
        inputs.places().iter().position(|place| *place == (tree, step.index())).unwrap()
    };
    let credit: Vec<f32> = inputs
        .advantage
        .iter()
        .zip(&inputs.length)
        .flat_map(|(advantage, length)| vec![*advantage as f32; *length])
        .collect();
    for expected in &fixture.losses {
        let name = format!("{} {}", expected.objective, expected.aggregation);
        let objective = objective(expected);
        let weights = token_weights(&forest, &credits, objective.aggregation(), horizon);
        let weight: Vec<f64> = inputs
            .places()
            .iter()
            .flat_map(|(tree, step)| weights[*tree][forest[*tree].span[*step].range()].to_vec())
            .collect();
        let mut sequence: Vec<RowSequence> = Vec::new();
        if let Some(unit) = objective.sequence() {
            for (t, (tree, credit)) in forest.iter().zip(&credits).enumerate() {
                for own in sequences(tree, credit, objective.aggregation(), unit) {
                    let part = |part: Part<StepId>| {
                        let row = row_of(t, part.of);
                        Part { of: begin[row]..begin[row] + inputs.length[row], share: part.share }
                    };
                    sequence.push(own.into_iter().map(part).collect());
                }
            }
        }
        let reference = inputs.flat(&inputs.reference);
        let loss = objective.objective(&Batch {
            logprob: &inputs.flat(&inputs.logprob),
            behaviour: &inputs.flat(&inputs.old),
            reference: Some(&reference),
            credit: &credit,
            weight: &weight,
            sequence: &sequence,
            ..Batch::default()
        });
        same(loss.value, expected.value, CLOSE, &name);
        let gradient: Vec<f64> = expected.gradient.iter().flatten().copied().collect();
        assert_eq!(gradient.len(), loss.d_logprob.len(), "{name}");
        // The bounds bind, or nothing is compared of them; CISPO's take no gradient away.
        let binds = gradient.contains(&0.0);
        assert!(binds || expected.kl > 0.0 || expected.objective == "cispo", "{name}: no clip");
        for (at, (got, expected)) in loss.d_logprob.iter().zip(gradient).enumerate() {
            same(f64::from(*got), expected, GRADIENT, &format!("{name}, token {at}"));
        }
    }
}

#[test]
fn losses_of_policies_agree_with_verl() {
    let fixture = verl();
    assert_eq!(fixture.losses.len(), 6);
    losses_agree(&fixture, 7);
}

#[test]
fn losses_of_policies_agree_with_trl() {
    let fixture = trl();
    assert_eq!(fixture.losses.len(), 7);
    losses_agree(&fixture, 9);
}

#[test]
fn advantages_agree_with_verl() {
    use group_mean::Deviation;
    let fixture = verl();
    let forest = fixture.batch.forest();
    let rewards = RewardConfig::Outcome.reward(&forest);
    let without = group_mean::Config { std: Deviation::None, ..Default::default() };
    let lead = pass_at_k::Config { std: Deviation::None, ..Default::default() };
    let baseline = reinforce_plus_plus::Config {
        baseline: reinforce_plus_plus::Baseline::GroupMean,
        ..Default::default()
    };
    let nonzero = gpg::Config { alpha: gpg::Alpha::NonzeroRewards, ..Default::default() };
    let methods = [
        ("group_mean", CreditConfig::GroupMean(group_mean::Config::default())),
        ("group_mean_without_std", CreditConfig::GroupMean(without)),
        ("leave_one_out", CreditConfig::LeaveOneOut(leave_one_out::Config::default())),
        ("length_weighted", CreditConfig::LengthWeighted(length_weighted::Config::default())),
        ("pass_at_k", CreditConfig::PassAtK(pass_at_k::Config::default())),
        ("pass_at_k_without_std", CreditConfig::PassAtK(lead)),
        ("gpg", CreditConfig::Gpg(nonzero)),
        (
            "reinforce_plus_plus",
            CreditConfig::ReinforcePlusPlus(reinforce_plus_plus::Config::default()),
        ),
        ("reinforce_plus_plus_baseline", CreditConfig::ReinforcePlusPlus(baseline)),
    ];
    let names: Vec<&str> = methods.iter().map(|(name, _)| *name).collect();
    assert!(fixture.advantages.keys().all(|name| names.contains(&name.as_str())));
    for (name, method) in methods {
        let credits = method.credit(&forest, &rewards);
        let whitened = name.starts_with("reinforce_plus_plus");
        let tolerance = if whitened { WHITENED } else { CLOSE };
        for ((tree, step), row) in fixture.batch.places().into_iter().zip(&fixture.advantages[name])
        {
            let got = credits[tree].step[step].unwrap();
            let what = format!("{name}, tree {tree}, step {step}");
            row.iter().for_each(|expected| same(got, *expected, tolerance, &what));
        }
    }
}

/// Each estimator alone: a batch of one token with weight 1, credit 0 and coefficient 1.
#[test]
fn divergences_agree_with_verl() {
    let fixture = verl();
    let inputs = &fixture.batch;
    for (name, estimator) in [("k1", Estimator::K1), ("k2", Estimator::K2), ("k3", Estimator::K3)] {
        let (logprob, reference) = (inputs.flat(&inputs.logprob), inputs.flat(&inputs.reference));
        let expected = fixture.divergences[name].iter().flatten();
        for ((logprob, reference), expected) in logprob.iter().zip(&reference).zip(expected) {
            let kl = Kl { estimator, coefficient: 1.0 };
            let alone = Objective::Clipped(clipped::Config { kl, ..Default::default() });
            let loss = alone.objective(&Batch {
                logprob: &[*logprob],
                behaviour: &[*logprob],
                reference: Some(&[*reference]),
                credit: &[0.0],
                weight: &[1.0],
                ..Batch::default()
            });
            same(loss.value, *expected, CLOSE, name);
        }
    }
}

/// A tree per row with a step per token, so that every token can earn: the policy's where the mask
/// is 1, the environment's elsewhere. Beside it what its tokens earn.
fn chains(inputs: &Inputs, mask: &Rows, reward: &Rows) -> (Vec<StepTree>, Rewards) {
    let (mut forest, mut leaf, mut step) = (Vec::new(), Vec::new(), Vec::new());
    for (row, mask) in mask.iter().enumerate() {
        let mut tree = StepTree::new(TaskHash([row as u8; 32]), &[1]);
        let (mut parent, mut earned, mut value) = (StepId::ROOT, vec![0.0], vec![0.0]);
        for (at, mask) in mask.iter().enumerate() {
            let policy = *mask == 1.0;
            parent = tree.push(NewStep {
                parent,
                child_index: 0,
                origin: match policy {
                    true => Origin::Policy(PolicyVersion(0)),
                    false => Origin::Environment,
                },
                stop: if policy { Stop::EndOfText } else { Stop::NotSampled },
                token: &[2],
                logprob: if policy { &[-1.0] } else { &[] },
            });
            earned.push(if policy { reward[row][at] } else { 0.0 });
            value.push(inputs.value[row][at] as f32);
        }
        tree.judge(parent, Verdict::scored(0.0));
        leaf.push(tree.verdict.iter().map(Verdict::reward).collect());
        tree.token_column.insert("value".to_owned(), value);
        forest.push(tree);
        step.push(earned);
    }
    (forest, Rewards { leaf, step: Some(step) })
}

/// Advantages of every token, the prompt of one token left out.
fn estimated(forest: &[StepTree], rewards: &Rewards, config: &gae::Config) -> Rows {
    let credits = gae::credit(forest, rewards, config);
    credits.into_iter().map(|credit| credit.token.unwrap()[1..].to_vec()).collect()
}

#[track_caller]
fn same_rows(got: &Rows, expected: &Rows, tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (row, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got.len(), expected.len(), "{what}, row {row}");
        for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
            same(*got, *expected, tolerance, &format!("{what}, row {row}, token {at}"));
        }
    }
}

#[test]
fn estimates_with_values_agree_with_verl() {
    let fixture = verl();
    let inputs = &fixture.batch;
    let values = fixture.values.unwrap();
    let plain = gae::Config {
        mode: gae::Mode::TokenCompact,
        gamma: values.gamma,
        lambda: values.lambda,
        whiten: false,
        kl: 0.0,
    };
    let both = [("sampled", &values.sampled), ("with_observations", &values.with_observations)];
    for (name, expected) in both {
        let (forest, rewards) = chains(inputs, &expected.mask, &values.reward);
        let advantage = estimated(&forest, &rewards, &plain);
        same_rows(&advantage, &expected.advantage, CLOSE, name);
        let returns: Rows = gae::value_targets(&forest, &rewards, &plain)
            .into_iter()
            .map(|target| target[1..].to_vec())
            .collect();
        same_rows(&returns, &expected.returns, CLOSE, &format!("{name}, returns"));
        let white = estimated(&forest, &rewards, &gae::Config { whiten: true, ..plain });
        same_rows(&white, &expected.whitened, WHITENED, &format!("{name}, whitened"));
    }
    // Where nothing is earned and γ is 0, the surprise is the value with its sign turned.
    let nothing = values.reward.iter().map(|row| vec![0.0; row.len()]).collect();
    let (forest, rewards) = chains(inputs, &values.sampled.mask, &nothing);
    let blind = gae::Config { gamma: 0.0, whiten: true, ..plain };
    let mut white = estimated(&forest, &rewards, &blind);
    white.iter_mut().flatten().for_each(|x| *x = -*x);
    same_rows(&white, &values.masked_whiten, WHITENED, "masked_whiten");
}

/// verl's loss is the mean over tokens of half the square: our coefficient 1.
#[test]
fn the_loss_of_values_agrees_with_verl() {
    let fixture = verl();
    let inputs = &fixture.batch;
    let expected = fixture.values.unwrap().loss;
    // The log-probabilities stand for the returns: any numbers will do.
    let (value, target) = (inputs.flat(&inputs.new_value), inputs.flat(&inputs.old));
    let behaviour = inputs.flat(&inputs.value);
    let config = value_loss::Config { coefficient: 1.0, clip: Some(expected.clip) };
    let weight = vec![1.0 / value.len() as f64; value.len()];
    let values = value_loss::Values { value: &value, behaviour: &behaviour, target: &target };
    let loss = value_loss::value_loss(&values, &weight, &config);
    same(loss.value, expected.value, CLOSE, "loss of values");
    let gradient: Vec<f64> = expected.gradient.into_iter().flatten().collect();
    assert_eq!(gradient.len(), loss.d_value.len());
    assert!(gradient.contains(&0.0), "the clip holds nothing");
    for (at, (got, expected)) in loss.d_value.iter().zip(gradient).enumerate() {
        same(f64::from(*got), expected, GRADIENT, &format!("loss of values, token {at}"));
    }
}

fn answer(inputs: &Inputs, row: usize) -> Answer {
    Answer {
        logprob: inputs.logprob[row].iter().sum(),
        reference: inputs.reference[row].iter().sum(),
        tokens: inputs.length[row],
    }
}

fn term(name: &str, pair: &Pair) -> Term {
    const BETA: f64 = 0.3;
    let label_smoothing = 0.1;
    match name {
        "dpo" => dpo::loss(pair, &dpo::Config { beta: BETA }),
        "ipo" => ipo::loss(pair, &ipo::Config { tau: BETA, length_normalised: true }),
        "nca" => nca::loss(pair, &nca::Config { beta: BETA }),
        "robust_dpo" => robust_dpo::loss(pair, &robust_dpo::Config { beta: BETA, label_smoothing }),
        "kto" => {
            let config = kto::Config { beta: BETA, desirable: 1.0, undesirable: 1.5 };
            kto::loss(pair, 0.2, &config)
        }
        "cdpo" => {
            // CPO's file has no reference.
            let bare = |answer: Answer| Answer { reference: 0.0, ..answer };
            let pair = Pair { chosen: bare(pair.chosen), rejected: bare(pair.rejected) };
            cdpo::loss(&pair, &cdpo::Config { beta: BETA, label_smoothing })
        }
        "simpo" => simpo::loss(pair, &simpo::Config { beta: BETA, gamma: 0.5 }),
        "orpo" => {
            let config = orpo::Config { lambda: BETA, ..Default::default() };
            orpo::loss(pair, &config)
        }
        other => panic!("unknown loss {other}"),
    }
}

#[test]
fn losses_of_preferences_agree_with_trl() {
    let fixture = trl();
    let inputs = &fixture.batch;
    assert_eq!(fixture.preferences.len(), 8);
    for expected in &fixture.preferences {
        let name = &expected.loss;
        let pairs = (0..6)
            .map(|i| Pair { chosen: answer(inputs, 2 * i), rejected: answer(inputs, 2 * i + 1) });
        let terms: Vec<Term> = pairs.map(|pair| term(name, &pair)).collect();
        let tolerance = if expected.bits == Some(32) { 1e-6 } else { CLOSE };
        let mean = terms.iter().map(|term| term.value).sum::<f64>() / 6.0;
        same(mean, expected.value, tolerance, name);
        for (i, term) in terms.iter().enumerate() {
            let slopes = [(2 * i, term.d_chosen), (2 * i + 1, term.d_rejected)];
            for (row, slope) in slopes {
                same(slope / 6.0, expected.gradient[row], tolerance, &format!("{name}, row {row}"));
            }
        }
    }
}

#[test]
fn distillation_agrees_with_trl() {
    let Distilled { student, teacher, masked, losses } = trl().distillations.unwrap();
    assert_eq!(losses.len(), 5);
    let narrow = |row: &Vec<f64>| row.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let counted = masked.iter().filter(|masked| !**masked).count() as f64;
    for Divergence { beta, temperature, value, gradient } in losses {
        let objective = RowObjective::Distill(distill::Config { beta, temperature });
        let what = format!("\u{3b2} {beta}, temperature {temperature}");
        let mut sum = 0.0;
        for (at, (own, other)) in student.iter().zip(&teacher).enumerate() {
            let (logit, target) = (narrow(own), narrow(other));
            let weight = if masked[at] { 0.0 } else { 1.0 / counted };
            let loss = objective.row(&Row { logit: &logit, target: &target, token: 0, weight });
            sum += loss.value;
            for (got, expected) in loss.d_logit.iter().zip(&gradient[at]) {
                same(f64::from(*got), *expected, GRADIENT, &format!("{what}, position {at}"));
            }
        }
        same(sum, value, CLOSE, &what);
    }
}
