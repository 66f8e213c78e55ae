//! A teacher's distributions in an update: by their share beside the objective, and what they say
//! is what they push.

mod common;

use std::sync::Arc;

use common::{codec, learner, sampled, settings, shape};
use stepwell_methods::row::distill;
use stepwell_methods::{Objective, RowObjective};
use stepwell_model::{Adapter, Config, LoraSettings, Model, Target};
use stepwell_train::{
    Beside, Distillation, Learner, Measured, Reference, Settings, TrainError, UpdateReport,
};
use stepwell_tree::{Credit, Key, Purpose, StepTree};

/// Another shape with the same vocabulary.
fn teacher() -> Model {
    let vocabulary = codec().tokenizer().vocabulary();
    Model::random(Config { hidden: 8, layers: 1, ffn: 12, head_dim: 4, ..shape(vocabulary) }, 9)
}

fn by(teacher: Model, beta: f64, share: f64) -> Distillation {
    let objective = RowObjective::Distill(distill::Config { beta, temperature: 1.0 });
    Distillation { teacher: Arc::new(Reference::Weights(Box::new(teacher))), objective, share }
}

/// A step is the gradient times a constant: no moments, no clip, and epsilon rules.
fn plain(distillation: Option<Distillation>) -> Settings {
    let mut own = Settings { distillation, ..settings(1.0, 1.0) };
    own.gradient_clip = f64::INFINITY;
    (own.adamw.beta1, own.adamw.beta2, own.adamw.epsilon) = (0.0, 0.0, 1e3);
    own
}

fn flat(learner: &Learner) -> Vec<f32> {
    learner.model().parameters().iter().flat_map(|view| view.to_row_major()).collect()
}

fn key() -> Key {
    Key::new(1, Purpose::TaskOrder)
}

type Sampled = (Vec<StepTree>, Vec<Credit>);

/// What one step did to every weight.
fn moved(settings: &Settings, threads: usize) -> (Vec<f32>, UpdateReport) {
    let mut learner = learner(6, threads);
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let before = flat(&learner);
    let report = learner.update(&forest, &credit, settings, key()).unwrap();
    assert_eq!(report.gap, 0.0, "the teacher's forward is not the policy's");
    (flat(&learner).iter().zip(&before).map(|(a, b)| a - b).collect(), report)
}

#[test]
fn a_step_is_the_objectives_and_the_teachers_by_their_shares() {
    let (own, without) = moved(&plain(None), 2);
    let (taught, alone) = moved(&plain(Some(by(teacher(), 0.5, 1.0))), 2);
    assert!(taught.iter().any(|d| *d != 0.0) && alone.distillation > 0.0);
    assert_eq!(alone.loss, alone.distillation);
    assert_eq!(without.distillation, 0.0);
    let share = 0.25;
    let (both, mixed) = moved(&plain(Some(by(teacher(), 0.5, share))), 2);
    assert!((mixed.distillation - alone.distillation).abs() < 1e-9);
    let sum = (1.0 - share) * without.loss + share * alone.loss;
    assert!((mixed.loss - sum).abs() < 1e-9, "{} {sum}", mixed.loss);
    let largest = both.iter().fold(0f32, |most, d| most.max(d.abs()));
    for ((both, own), taught) in both.iter().zip(&own).zip(&taught) {
        let expected = 0.75 * own + 0.25 * taught;
        // Weights are near 1: their last bit is what a difference of two is known to.
        assert!((both - expected).abs() < 1e-3 * largest + 2e-7, "{both} {expected}");
    }
}

#[test]
fn its_gradient_is_how_its_loss_falls_for_every_divergence() {
    for (beta, temperature) in [(0.0, 1.0), (0.3, 2.0), (1.0, 0.5)] {
        let objective = RowObjective::Distill(distill::Config { beta, temperature });
        let settings = plain(Some(Distillation { objective, ..by(teacher(), beta, 1.0) }));
        let mut learner = learner(6, 2);
        let (forest, credit) = sampled(&learner, 1.0, 0);
        let measure = |learner: &mut Learner| -> Measured {
            let off_policy = Settings { on_policy: false, ..settings.clone() };
            learner.measure(&forest, &credit, &off_policy).unwrap()
        };
        let before = measure(&mut learner);
        learner.update(&forest, &credit, &settings, key()).unwrap();
        let after = measure(&mut learner);
        // A step of g / (|g| + 1e3) per weight along the gradient; its norm at both ends.
        let ends = 0.5 * (before.gradient_norm.powi(2) + after.gradient_norm.powi(2));
        let (fell, expected) = (before.loss - after.loss, 1e-3 * ends);
        let apart = (fell - expected).abs();
        assert!(apart < 0.02 * expected, "\u{3b2} {beta}: {fell} {expected}");
    }
}

#[test]
fn the_policy_as_its_own_teacher_is_at_rest() {
    let own = learner(6, 1).model().clone();
    for beta in [0.0, 0.5, 1.0] {
        let (moved, report) = moved(&plain(Some(by(own.clone(), beta, 1.0))), 1);
        assert!(report.distillation.abs() < 1e-9, "{}", report.distillation);
        assert!(moved.iter().all(|d| d.abs() < 1e-7));
    }
}

#[test]
fn it_comes_closer_in_a_few_steps() {
    let mut learner = learner(6, 2);
    let mut settings =
        Settings { distillation: Some(by(teacher(), 0.5, 1.0)), ..settings(0.02, 1.0) };
    settings.on_policy = false;
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let apart = |learner: &mut Learner| {
        learner.update(&forest, &credit, &settings, key()).unwrap().distillation
    };
    let first = apart(&mut learner);
    let last = (0..40).map(|_| apart(&mut learner)).last().unwrap();
    assert!(last < 0.3 * first, "{first} {last}");
}

#[test]
fn threads_change_no_bit_and_a_cut_of_the_forest_only_rounds() {
    let settings = plain(Some(by(teacher(), 0.5, 0.5)));
    let (one, _) = moved(&settings, 1);
    assert_eq!(one, moved(&settings, 3).0);
    let small = Settings { tokens_max: 60, ..settings };
    let (cut, _) = moved(&small, 1);
    let largest = one.iter().fold(0f32, |most, d| most.max(d.abs()));
    assert!(one.iter().zip(&cut).all(|(a, b)| (a - b).abs() < 1e-3 * largest + 2e-7));
}

#[test]
fn a_loss_beside_is_distilled_by_its_own_settings() {
    let mut learner = learner(6, 2);
    let (forest, shown): (Sampled, Sampled) =
        (sampled(&learner, 1.0, 0), sampled(&learner, 1.0, 1));
    let objective = Objective::CrossEntropy(Default::default());
    let distillation = Some(by(teacher(), 0.0, 1.0));
    let supervised = Settings { objective, on_policy: false, ..plain(distillation) };
    let beside = Beside {
        forest: &shown.0,
        credit: &shown.1,
        settings: &supervised,
        weight: 0.5,
        share: 0.5,
    };
    let alone = learner.measure(&shown.0, &shown.1, &supervised).unwrap();
    assert_eq!(alone.loss, alone.distillation);
    let (forest, credit) = forest;
    let report =
        learner.update_beside(&forest, &credit, &plain(None), key(), Some(&beside)).unwrap();
    assert_eq!(report.beside.unwrap().distillation, alone.distillation);
    assert_eq!(report.distillation, 0.0);
}

#[test]
fn a_teacher_that_says_no_number_or_is_no_whole_model_moves_nothing() {
    let mut broken = teacher();
    broken.set_parameter("model.norm.weight", &[f32::NAN; 8]).unwrap();
    let mut learner = learner(6, 1);
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let before = flat(&learner);
    let mut refused = |distillation: Distillation| {
        learner.update(&forest, &credit, &plain(Some(distillation)), key()).err().unwrap()
    };
    let error = refused(by(broken, 0.5, 1.0));
    let TrainError::NotFinite { what, place, .. } = &error else { panic!("{error}") };
    assert_eq!(*what, "a teacher's log-prob");
    assert!(place.starts_with("tree 0 (task "), "{place}");
    // Logits that overflow, and a divergence that is a number and far too large a one.
    for (weight, beta) in [(f32::MAX, 0.5), (1e38, 1.0)] {
        let mut far = teacher();
        far.set_parameter("model.norm.weight", &[weight; 8]).unwrap();
        assert!(matches!(refused(by(far, beta, 1.0)), TrainError::NotFinite { .. }));
    }
    let settings = LoraSettings { rank: 1, alpha: 1.0, targets: vec![Target::ALL[0]] };
    let adapter = Adapter::new(teacher().config(), settings, 1);
    let whole = by(teacher(), 0.5, 1.0);
    let teacher = Arc::new(Reference::Adapter(Box::new(adapter)));
    let error = refused(Distillation { teacher, ..whole });
    assert!(error.to_string().contains("all weights"), "{error}");
    assert_eq!(flat(&learner), before);
}
