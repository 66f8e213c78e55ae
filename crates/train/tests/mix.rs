//! Two losses in one optimizer step: each by its weight, their norms apart.

mod common;

use common::{learner, sampled, settings, state_bits};
use stepwell_methods::Objective;
use stepwell_methods::objective::cross_entropy;
use stepwell_train::{Beside, Settings, UpdateReport};
use stepwell_tree::{Credit, Key, Purpose, StepTree};

fn key() -> Key {
    Key::new(1, Purpose::TaskOrder)
}

/// Weights that a step of almost no size would show: AdamW is scale-free, so the clip is off and
/// epsilon rules, and a step is the gradient times a constant.
fn plain() -> Settings {
    let mut own = settings(1.0, 1.0);
    own.gradient_clip = f64::INFINITY;
    (own.adamw.beta1, own.adamw.beta2, own.adamw.epsilon) = (0.0, 0.0, 1e3);
    own
}

fn demonstrations() -> Settings {
    Settings {
        objective: Objective::CrossEntropy(cross_entropy::Config::default()),
        on_policy: false,
        ..plain()
    }
}

/// What a step did to every weight.
fn moved(
    act: impl FnOnce(&mut stepwell_train::Learner) -> UpdateReport,
) -> (Vec<f32>, UpdateReport) {
    let mut learner = learner(6, 2);
    let flat = |learner: &stepwell_train::Learner| -> Vec<f32> {
        learner.model().parameters().iter().flat_map(|view| view.to_row_major()).collect()
    };
    let before = flat(&learner);
    let report = act(&mut learner);
    let after = flat(&learner);
    (after.iter().zip(&before).map(|(a, b)| a - b).collect(), report)
}

struct Two {
    forest: (Vec<StepTree>, Vec<Credit>),
    shown: (Vec<StepTree>, Vec<Credit>),
}

fn two() -> Two {
    let learner = learner(6, 2);
    let (forest, shown) = (sampled(&learner, 1.0, 0), sampled(&learner, 1.0, 1));
    Two { forest, shown }
}

#[test]
fn a_mixed_step_is_the_weighted_sum_of_two() {
    let Two { forest, shown } = two();
    let supervised = demonstrations();
    let (own, report) =
        moved(|learner| learner.update(&forest.0, &forest.1, &plain(), key()).unwrap());
    assert!(report.beside.is_none());
    let (other, alone) =
        moved(|learner| learner.update(&shown.0, &shown.1, &supervised, key()).unwrap());
    for weight in [0.0, 0.3, 1.0] {
        let beside = Beside {
            forest: &shown.0,
            credit: &shown.1,
            settings: &supervised,
            weight,
            share: 1.0 - weight,
        };
        let (both, mixed) = moved(|learner| {
            learner.update_beside(&forest.0, &forest.1, &plain(), key(), Some(&beside)).unwrap()
        });
        // The norm beside is that of its loss alone, whatever its weight.
        let measured = mixed.beside.unwrap();
        assert_eq!(measured.gradient_norm, alone.gradient_norm, "weight {weight}");
        assert_eq!((measured.loss, measured.trained_tokens), (alone.loss, alone.trained_tokens));
        let scale = own.iter().chain(&other).fold(0.0_f32, |m, x| m.max(x.abs()));
        assert!(scale > 0.0);
        for ((both, own), other) in both.iter().zip(&own).zip(&other) {
            let expected = (1.0 - weight as f32) * own + weight as f32 * other;
            assert!((both - expected).abs() < 1e-3 * scale, "{both} and {expected} of {scale}");
        }
    }
}

#[test]
fn the_norm_is_taken_before_clipping_and_measuring_moves_nothing() {
    let Two { forest, shown } = two();
    let supervised = demonstrations();
    let mut learner = learner(6, 2);
    learner.update(&forest.0, &forest.1, &settings(1e-3, 1.0), key()).unwrap();
    let before = state_bits(&learner);
    let measured = learner.measure(&shown.0, &shown.1, &supervised).unwrap();
    assert_eq!(state_bits(&learner), before);
    // SASR, invariant 4: with a tiny clip the norm that is told exceeds it.
    let tiny = Settings { gradient_clip: 1e-6, ..supervised.clone() };
    let report = learner.update(&shown.0, &shown.1, &tiny, key()).unwrap();
    assert_eq!(report.gradient_norm, measured.gradient_norm);
    assert!(measured.gradient_norm > 1e-3);
}

#[test]
fn splitting_the_demonstrations_does_not_change_their_norm() {
    // SASR, invariant 6: accumulated over micro-batches, or of one batch.
    let Two { shown, .. } = two();
    let norm = |tokens_max| {
        let settings = Settings { tokens_max, ..demonstrations() };
        learner(6, 2).measure(&shown.0, &shown.1, &settings).unwrap().gradient_norm
    };
    let (whole, split) = (norm(100_000), norm(1));
    assert!((whole - split).abs() < 1e-5 * whole, "{whole} and {split}");
}

/// SASR, invariant 8: rewards that are all equal pull at nothing; what moves the weights then is
/// the optimizer's momentum, and no step is taken where the trees are dropped instead.
#[test]
fn equal_rewards_move_nothing_but_by_momentum() {
    let Two { forest, .. } = two();
    let zero: Vec<Credit> = forest
        .1
        .iter()
        .map(|credit| Credit {
            step: credit.step.iter().map(|c| c.map(|_| 0.0)).collect(),
            token: None,
        })
        .collect();
    let mut fresh = learner(6, 2);
    let weights = fresh.model().checksum();
    let report = fresh.update(&forest.0, &zero, &settings(1e-2, 1.0), key()).unwrap();
    assert_eq!((report.optimizer_steps, fresh.model().checksum()), (1, weights));
    let mut moving = learner(6, 2);
    moving.update(&forest.0, &forest.1, &settings(1e-2, 1.0), key()).unwrap();
    let weights = moving.model().checksum();
    let off_policy = Settings { on_policy: false, ..settings(1e-2, 1.0) };
    moving.update(&forest.0, &zero, &off_policy, key()).unwrap();
    assert_ne!(moving.model().checksum(), weights);
    let (dropped, before) = (vec![Credit::none(forest.0[0].len()); 1], state_bits(&moving));
    let report = moving.update(&forest.0[..1], &dropped, &off_policy, key()).unwrap();
    assert_eq!((report.optimizer_steps, state_bits(&moving)), (0, before));
}

#[test]
fn weights_return_to_a_reference_with_a_fresh_optimizer_under_a_new_version() {
    let Two { forest, .. } = two();
    let mut learner = learner(6, 2);
    let base = stepwell_train::Reference::of(learner.model());
    let (weights, fresh) = (learner.model().checksum(), state_bits(&learner).3);
    for update in 0..2 {
        let off_policy = Settings { on_policy: update == 0, ..settings(1e-2, 1.0) };
        learner.update(&forest.0, &forest.1, &off_policy, key()).unwrap();
    }
    let moved = state_bits(&learner);
    assert!(moved.0 != weights && moved.3 != fresh);
    learner.return_to(&base).unwrap();
    let (checksum, version, steps, moments) = state_bits(&learner);
    assert_eq!((checksum, version, steps), (weights, 3, 0));
    assert_eq!(moments, fresh);
    // What comes now is what came then.
    let again = learner.update(
        &forest.0,
        &forest.1,
        &Settings { on_policy: false, ..settings(1e-2, 1.0) },
        key(),
    );
    let mut other = common::learner(6, 2);
    let first = other.update(&forest.0, &forest.1, &settings(1e-2, 1.0), key()).unwrap();
    assert_eq!(again.unwrap().loss, first.loss);
    assert_eq!(learner.model().checksum(), other.model().checksum());
}

#[test]
fn where_nothing_has_credit_the_loss_beside_still_steps() {
    let Two { forest, shown } = two();
    let none: Vec<Credit> = forest.0.iter().map(|tree| Credit::none(tree.len())).collect();
    let supervised = demonstrations();
    let beside = Beside {
        forest: &shown.0,
        credit: &shown.1,
        settings: &supervised,
        weight: 0.5,
        share: 0.5,
    };
    let (moved, report) = moved(|learner| {
        learner.update_beside(&forest.0, &none, &plain(), key(), Some(&beside)).unwrap()
    });
    assert_eq!((report.optimizer_steps, report.trained_tokens), (1, 0));
    assert!(moved.iter().any(|x| *x != 0.0));
    // Without it, nothing does.
    let mut still = learner(6, 2);
    let before = state_bits(&still);
    let report = still.update(&forest.0, &none, &plain(), key()).unwrap();
    assert_eq!((report.optimizer_steps, state_bits(&still)), (0, before));
}
