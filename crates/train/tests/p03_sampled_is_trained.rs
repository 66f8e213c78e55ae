//! P3: the log-probability that is trained is the one that was sampled, bit for bit; where it is
//! not, the run itself notices (INV-6).

mod common;

use common::{learner, learner_in, sampled, settings, state_bits};
use stepwell_model::{Precision, Workspace};
use stepwell_mutant::plant;
use stepwell_train::{Learner, TrainError, micro_batches};
use stepwell_tree::{Credit, Key, Origin, Purpose, StepId, StepTree};

/// The number of a planted bug: weights that change between two updates.
const WEIGHT_FLIPS: u32 = 33;

fn key() -> Key {
    Key::new(5, Purpose::TaskOrder)
}

/// Log-probs of all trained tokens as sampled and as the trainer sees them.
fn both(learner: &Learner, forest: &[StepTree], credit: &[Credit], t: f32) -> Vec<(u32, u32)> {
    let weight: Vec<Vec<f64>> = forest.iter().map(|tree| vec![1.0; tree.token.len()]).collect();
    let mut pairs = Vec::new();
    for threads in [1, 3] {
        for tokens_max in [1, 100_000] {
            for batch in micro_batches(forest, credit, &weight, tokens_max) {
                let mut workspace = Workspace::new(threads);
                let scores = workspace.forward(learner.model(), &batch.packed(), &batch.scored(t));
                let sampled = batch.behaviour.iter().map(|x| x.to_bits());
                pairs.extend(sampled.zip(scores.logprob.iter().map(|x| x.to_bits())));
            }
        }
    }
    pairs
}

#[test]
fn p03_trainer_and_sampler_agree_bit_for_bit() {
    let cases = [(Precision::F32, 1.0), (Precision::F32, 0.7), (Precision::Bf16, 0.7)];
    for (precision, temperature) in cases {
        let mut forests = Vec::new();
        for threads in [1, 2, 7] {
            let mut learner = learner_in(precision, 1, threads);
            for update in 0..2 {
                let (forest, credit) = sampled(&learner, temperature, update);
                let pairs = both(&learner, &forest, &credit, temperature);
                assert!(pairs.len() > 400, "too few tokens to mean anything: {}", pairs.len());
                assert!(pairs.iter().all(|(sampled, trained)| sampled == trained));
                let report =
                    learner.update(&forest, &credit, &settings(0.01, temperature), key()).unwrap();
                assert_eq!(report.gap.to_bits(), 0.0_f64.to_bits());
                let ratio = report.diagnostics.ratio_sum / report.diagnostics.tokens as f64;
                assert_eq!((ratio, report.diagnostics.ratio_max), (1.0, 1.0));
                forests.push((update, forest));
            }
        }
        // The trees, too, are the same for every number of threads, before and after an update.
        for (update, forest) in &forests[2..] {
            assert_eq!(forest, &forests[*update as usize].1);
        }
    }
}

/// Plants a fault and expects the run to notice and to change nothing.
fn caught(name: &str, fault: impl FnOnce(&mut Learner, &mut [StepTree], &mut f32)) {
    let mut learner = learner(1, 2);
    let (mut forest, credit) = sampled(&learner, 1.0, 0);
    let mut temperature = 1.0;
    fault(&mut learner, &mut forest, &mut temperature);
    let before = state_bits(&learner);
    let got = learner.update(&forest, &credit, &settings(0.01, temperature), key());
    assert!(matches!(got, Err(TrainError::Gap { mean, .. }) if mean > 1e-3), "{name}: {got:?}");
    assert_eq!(state_bits(&learner), before, "{name}");
}

#[test]
fn p03_planted_faults_are_caught_by_the_run() {
    caught("another temperature", |_, _, temperature| *temperature = 0.7);
    caught("log-probs shifted by one", |_, forest, _| {
        for tree in forest {
            for i in (0..tree.len()).filter(|&i| tree.origin[i].is_policy()) {
                tree.logprob[tree.span[i].range()].rotate_left(1);
            }
        }
    });
    caught("an observation that the sampler did not see", |_, forest, _| {
        for tree in forest {
            for i in (1..tree.len()).filter(|&i| !tree.origin[i].is_policy()) {
                tree.token[tree.span[i].range()].fill(5);
            }
        }
    });
}

#[test]
fn p03_trees_of_other_weights_are_refused_by_their_version_and_by_their_numbers() {
    let mut learner = learner(1, 2);
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let (other, marks) = sampled(&learner, 1.0, 9);
    learner.update(&other, &marks, &settings(0.01, 1.0), key()).unwrap();
    let before = state_bits(&learner);
    let error = learner.update(&forest, &credit, &settings(0.01, 1.0), key()).unwrap_err();
    let stale = matches!(&error, TrainError::Version { got: 0, expected: 1, place }
        if place.contains("tree 0") && place.contains("step 1"));
    assert!(stale, "{error:?}");
    // Under a forged version the numbers tell, whatever the size of the difference.
    let mut forged = forest.clone();
    for origin in forged.iter_mut().flat_map(|tree| tree.origin.iter_mut()) {
        if origin.is_policy() {
            *origin = Origin::Policy(learner.version());
        }
    }
    let error = learner.update(&forged, &credit, &settings(0.01, 1.0), key()).unwrap_err();
    assert!(matches!(error, TrainError::Gap { .. }), "{error:?}");
    assert_eq!(state_bits(&learner), before);
    let (mut forest, credit) = sampled(&learner, 1.0, 1);
    let (tree, at) = (2, forest[2].span[1].range().start);
    let one = &mut forest[tree].logprob[at];
    *one = f32::from_bits(one.to_bits() + 1);
    let error = learner.update(&forest, &credit, &settings(0.01, 1.0), key()).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("tree 2 (task ") && text.contains("), step 1, token 0"), "{text}");
    assert_eq!(state_bits(&learner), before);
}

#[test]
fn p03_a_weight_that_changes_between_two_updates_stops_the_next_one() {
    for threads in [1, 2, 3] {
        let mut learner = learner(1, threads);
        let (forest, credit) = sampled(&learner, 1.0, 0);
        learner.update(&forest, &credit, &settings(0.01, 1.0), key()).unwrap();
        learner.seal();
        learner.require_unmoved().unwrap();
        let sum = learner.fingerprint();
        // The lowest bit of one weight turns over after the sum was taken.
        plant(WEIGHT_FLIPS);
        learner.seal();
        plant(0);
        let (forest, credit) = sampled(&learner, 1.0, 1);
        let before = state_bits(&learner);
        let error = learner.update(&forest, &credit, &settings(0.01, 1.0), key()).unwrap_err();
        let named = matches!(error, TrainError::Weights { version: 1, expected, .. }
            if Some(expected) == sum);
        assert!(named && state_bits(&learner) == before, "{error:?}");
        assert!(error.to_string().contains("`resume` goes on from it"), "{error}");
    }
}

/// INV-10: position and child are parts of a draw's key. Weights as they are at first make almost
/// every word as likely as every other, so that equal draws would be equal words.
#[test]
fn p02_tokens_of_a_step_and_siblings_have_draws_of_their_own() {
    let learner = learner(1, 2);
    let (mut steps, mut repeated, mut pairs, mut alike) = (0, 0, 0, 0);
    for update in 0..4 {
        for tree in sampled(&learner, 1.0, update).0 {
            let own: Vec<StepId> = (0..tree.len() as u32).map(StepId).collect();
            let long =
                |s: &&StepId| tree.origin[s.index()].is_policy() && tree.tokens(**s).len() > 2;
            for step in own.iter().filter(long) {
                steps += 1;
                let tokens = tree.tokens(*step);
                repeated += usize::from(tokens.iter().all(|token| *token == tokens[0]));
                let beside = |s: &&StepId| {
                    **s > *step && tree.parent[s.index()] == tree.parent[step.index()]
                };
                for other in own.iter().filter(long).filter(beside) {
                    pairs += 1;
                    alike += usize::from(tree.tokens(*other)[..3] == tokens[..3]);
                }
            }
        }
    }
    assert!(steps > 100 && pairs > 30, "{steps} {pairs}");
    assert!(20 * repeated < steps && 10 * alike < pairs, "{repeated} {alike} of {steps} {pairs}");
}

/// P3: 50 optimizer steps at rate 0, in either precision. The moments move, no weight does, and
/// the sampler goes on saying what the trainer says.
#[test]
fn p03_without_learning_rate_nothing_drifts() {
    for precision in [Precision::F32, Precision::Bf16] {
        let mut learner = learner_in(precision, 2, 2);
        let (before, start) = (learner.model().checksum(), state_bits(&learner));
        for update in 0..50 {
            let (forest, credit) = sampled(&learner, 1.0, update);
            let mut settings = settings(0.0, 1.0);
            settings.adamw.weight_decay = 0.1;
            let report = learner.update(&forest, &credit, &settings, key()).unwrap();
            assert_eq!(report.optimizer_steps, 1);
            assert_eq!(report.gap.to_bits(), 0.0_f64.to_bits(), "{precision:?} {update}");
            assert!(report.gradient_norm > 0.0, "an update without gradient proves nothing");
            assert_eq!(learner.model().checksum(), before, "{precision:?} {update}");
        }
        let end = state_bits(&learner);
        assert_eq!((end.0, end.2), (start.0, 50));
        assert_ne!(end.3, start.3, "the moments of 50 gradients are not zero");
        // The same updates with a learning rate do move them.
        let (forest, credit) = sampled(&learner, 1.0, 0);
        learner.update(&forest, &credit, &settings(1e-3, 1.0), key()).unwrap();
        assert_ne!(learner.model().checksum(), before);
    }
}
