//! P3: the log-probability that is trained is the one that was sampled, bit for bit; where it is
//! not, the run itself notices (INV-6).

mod common;

use common::{learner, learner_in, sampled, settings, state_bits};
use stepwell_model::{Precision, Workspace};
use stepwell_train::{Learner, TrainError, micro_batches};
use stepwell_tree::{Credit, Key, Purpose, StepTree};

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
    caught("weights that moved since", |learner, _, _| {
        let (forest, credit) = sampled(learner, 1.0, 9);
        learner.update(&forest, &credit, &settings(0.01, 1.0), key()).unwrap();
    });
    caught("an observation that the sampler did not see", |_, forest, _| {
        for tree in forest {
            for i in (1..tree.len()).filter(|&i| !tree.origin[i].is_policy()) {
                tree.token[tree.span[i].range()].fill(5);
            }
        }
    });
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
