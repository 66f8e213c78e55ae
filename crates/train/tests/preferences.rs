//! An update on pairs: what it starts from, that its gradient is the policy gradient of its two
//! sides, that splitting and sharing change nothing, and that a bad number moves nothing.

mod common;

use common::{learner, sampled, settings};
use stepwell_methods::objective::clipped;
use stepwell_methods::preference::{dpo, kto};
use stepwell_methods::{Aggregation, Objective, PreferenceLoss};
use stepwell_train::{Learner, PreferenceReport, PreferenceSettings, Reference, StepPair};
use stepwell_train::{Settings, TrainError};
use stepwell_tree::{Credit, Key, Purpose, StepId, StepTree, children};

const BETA: f64 = 0.2;

fn preferring(rate: f64) -> PreferenceSettings {
    PreferenceSettings {
        loss: PreferenceLoss::Dpo(dpo::Config { beta: BETA }),
        temperature: 1.0,
        adamw: settings(rate, 1.0).adamw,
        gradient_clip: f64::INFINITY,
        epochs: 1,
        tokens_max: 100_000,
        on_policy: true,
    }
}

/// Sampled trees with the reference's log-probs, and in each the first two steps below the prompt.
fn drawn(learner: &mut Learner) -> (Vec<StepTree>, Vec<StepPair>) {
    let (mut forest, _) = sampled(learner, 1.0, 0);
    let reference = Reference::of(learner.model());
    learner.fill_reference(&mut forest, &reference, 1.0, 100_000).unwrap();
    let pair = |(tree, steps): (usize, &StepTree)| {
        let below = children(steps)[0].clone();
        StepPair { tree, chosen: below[1], rejected: below[0], label: 1.0 }
    };
    let pairs = forest.iter().enumerate().map(pair).collect();
    (forest, pairs)
}

fn weights(learner: &Learner) -> u64 {
    learner.model().checksum()
}

fn tokens(forest: &[StepTree], pairs: &[StepPair]) -> usize {
    let of = |p: &StepPair| {
        [p.chosen, p.rejected].map(|s| forest[p.tree].tokens(s).len()).iter().sum::<usize>()
    };
    pairs.iter().map(of).sum()
}

#[test]
fn at_the_reference_the_loss_is_ln_2_and_then_the_margin_grows() {
    let mut learner = learner(1, 2);
    let (forest, pairs) = drawn(&mut learner);
    let first = learner.prefer(&forest, &pairs, &[], &preferring(1e-2)).unwrap();
    assert_eq!((first.margin, first.accuracy, first.gap), (0.0, 0.0, 0.0));
    assert!((first.loss - std::f64::consts::LN_2).abs() < 1e-12);
    assert_eq!(first.trained_tokens, tokens(&forest, &pairs));
    let later = PreferenceSettings { on_policy: false, epochs: 4, ..preferring(1e-2) };
    let second = learner.prefer(&forest, &pairs, &[], &later).unwrap();
    assert!(second.margin > 0.05, "{second:?}");
    let third = learner.prefer(&forest, &pairs, &[], &later).unwrap();
    assert!(third.margin > second.margin && third.accuracy == 1.0, "{third:?}");
    assert_eq!((second.optimizer_steps, third.trained_tokens), (4, first.trained_tokens));
}

#[test]
fn its_gradient_at_the_reference_is_the_policy_gradient_of_its_two_sides() {
    // −β/(2N)·Σ(∇chosen − ∇rejected) against −1/T·Σ(∇chosen − ∇rejected), credit +1 and −1.
    let mut one = learner(1, 2);
    let (forest, pairs) = drawn(&mut one);
    let got = one.prefer(&forest, &pairs, &[], &preferring(1e-3)).unwrap();
    let mut other = learner(1, 2);
    let credit = |(tree, steps): (usize, &StepTree)| {
        let mut credit = Credit::none(steps.len());
        credit.step[pairs[tree].chosen.index()] = Some(1.0);
        credit.step[pairs[tree].rejected.index()] = Some(-1.0);
        credit
    };
    let credits: Vec<Credit> = forest.iter().enumerate().map(credit).collect();
    let mut plain = Settings { gradient_clip: f64::INFINITY, ..settings(1e-3, 1.0) };
    plain.objective = Objective::Clipped(clipped::Config {
        aggregation: Aggregation::TokenMean,
        ..clipped::Config::default()
    });
    let key = Key::new(1, Purpose::TaskOrder);
    let expected = other.update(&forest, &credits, &plain, key).unwrap();
    let count = tokens(&forest, &pairs) as f64;
    let ratio = got.gradient_norm / expected.gradient_norm;
    let scale = BETA / (2.0 * pairs.len() as f64) * count;
    assert!((ratio / scale - 1.0).abs() < 1e-5, "{ratio} {scale}");
    // Adam's first step is the direction alone: the weights come out the same but for rounding.
    let parameters = |learner: &Learner| -> Vec<f32> {
        learner.model().parameters().iter().flat_map(|p| p.to_row_major()).collect()
    };
    let (a, b) = (parameters(&one), parameters(&other));
    let apart = a.iter().zip(&b).filter(|(a, b)| (*a - *b).abs() > 1e-4).count();
    assert!(apart * 1000 < a.len(), "{apart} of {} weights differ", a.len());
}

#[test]
fn splitting_in_micro_batches_changes_nothing() {
    let of = |tokens_max: usize| -> (PreferenceReport, PreferenceReport) {
        let mut learner = learner(1, 2);
        let (forest, pairs) = drawn(&mut learner);
        let settings = PreferenceSettings { tokens_max, ..preferring(1e-2) };
        let first = learner.prefer(&forest, &pairs, &[], &settings).unwrap();
        let later = PreferenceSettings { on_policy: false, ..settings };
        (first, learner.prefer(&forest, &pairs, &[], &later).unwrap())
    };
    let ((whole, after_whole), (split, after_split)) = (of(100_000), of(1));
    assert!((whole.gradient_norm - split.gradient_norm).abs() < 1e-6 * whole.gradient_norm);
    assert!((after_whole.margin - after_split.margin).abs() < 1e-4 * after_whole.margin);
    assert_eq!(whole.computed_tokens, split.computed_tokens);
}

#[test]
fn kto_reads_how_far_answers_to_other_prompts_have_come() {
    let mut learner = learner(1, 2);
    let (mut forest, pairs) = drawn(&mut learner);
    let config = kto::Config { beta: 1.0, ..kto::Config::default() };
    let loss = PreferenceLoss::Kto(config);
    let settings = PreferenceSettings { loss, on_policy: false, ..preferring(0.0) };
    let at = |learner: &mut Learner, forest: &[StepTree], other: &[StepTree]| {
        learner.prefer(forest, &pairs, other, &settings).unwrap().loss
    };
    assert_eq!(at(&mut learner, &forest, &[]), 0.5);
    // Answers to other prompts a nat per token above the reference: z is their mean sum.
    let other = forest.clone();
    for tree in &mut forest {
        let column = tree.token_column.get_mut("reference_logprob").unwrap();
        column.iter_mut().for_each(|x| *x -= 1.0);
    }
    let (lifted, still) = (forest, other);
    let steps = |tree: &StepTree| (1..tree.len()).map(|i| StepId(i as u32)).collect::<Vec<_>>();
    let mean = |forest: &[StepTree]| {
        let lengths = forest.iter().flat_map(|t| steps(t).into_iter().map(|s| t.tokens(s).len()));
        let lengths: Vec<f64> = lengths.map(|n| n as f64).collect();
        lengths.iter().sum::<f64>() / lengths.len() as f64
    };
    let only: Vec<StepTree> = lifted.iter().map(policy_steps_only).collect();
    let z = mean(&only);
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let got = at(&mut learner, &still, &only);
    let expected = 0.5 * (1.0 - sigmoid(-z) + 1.0 - sigmoid(z));
    assert!((got - expected).abs() < 1e-5, "{got} {expected}");
    assert!(z > 1.0, "the test has no power: {z}");
}

/// The steps below the prompt: all of them sampled.
fn policy_steps_only(tree: &StepTree) -> StepTree {
    let mut kept = StepTree::new(tree.task, tree.tokens(StepId::ROOT));
    let mut column = vec![0.0; tree.tokens(StepId::ROOT).len()];
    for &step in &children(tree)[0] {
        kept.push(stepwell_tree::NewStep {
            parent: StepId::ROOT,
            child_index: tree.child_index[step.index()],
            origin: tree.origin[step.index()],
            stop: tree.stop[step.index()],
            token: tree.tokens(step),
            logprob: tree.logprobs(step),
        });
        let own = &tree.token_column["reference_logprob"];
        column.extend_from_slice(&own[tree.span[step.index()].range()]);
    }
    kept.token_column.insert("reference_logprob".to_owned(), column);
    kept
}

#[test]
fn a_bad_number_or_a_gap_moves_no_weight() {
    let mut learner = learner(1, 2);
    let (forest, pairs) = drawn(&mut learner);
    let before = weights(&learner);
    let mut bad = forest.clone();
    let place = bad[1].span[pairs[1].chosen.index()].range().start;
    bad[1].token_column.get_mut("reference_logprob").unwrap()[place] = f32::NAN;
    let error = learner.prefer(&bad, &pairs, &[], &preferring(1e-2)).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { what: "reference log-prob", .. }), "{error}");
    let mut off = forest.clone();
    off[1].logprob.iter_mut().for_each(|x| *x -= 0.5);
    let error = learner.prefer(&off, &pairs, &[], &preferring(1e-2)).unwrap_err();
    assert!(matches!(error, TrainError::Gap { .. }), "{error}");
    assert_eq!(weights(&learner), before);
    assert_eq!(learner.version().0, 0);
    // No pairs, no step.
    let none = learner.prefer(&forest, &[], &[], &preferring(1e-2)).unwrap();
    assert_eq!((none, weights(&learner)), (PreferenceReport::default(), before));
}

#[test]
fn a_label_of_0_is_the_pair_the_other_way_round_and_one_half_asks_for_no_margin() {
    let after = |told: &dyn Fn(StepPair) -> StepPair| {
        let mut learner = learner(1, 2);
        let (forest, pairs) = drawn(&mut learner);
        let pairs: Vec<StepPair> = pairs.into_iter().map(told).collect();
        let own = PreferenceSettings { epochs: 3, ..preferring(1e-2) };
        let report = learner.prefer(&forest, &pairs, &[], &own).unwrap();
        (weights(&learner), report.gradient_norm)
    };
    let round = |pair: StepPair| StepPair {
        chosen: pair.rejected,
        rejected: pair.chosen,
        label: 1.0 - pair.label,
        ..pair
    };
    let (sure, norm) = after(&|pair| pair);
    assert_eq!(after(&round).0, sure);
    let unsure = |label| move |pair| StepPair { label, ..pair };
    assert_ne!(after(&unsure(0.8)).0, sure);
    let (_, none) = after(&unsure(0.5));
    assert!(norm > 0.0 && none < 1e-6 * norm, "{norm} {none}");
}
