//! The GPU keeps the learner's promises: what was sampled is what is trained, a fault changes
//! nothing, and a learner that was stopped goes on bit for bit. Where this machine has no GPU each
//! test is counted as skipped, with the reason.

mod common;

use std::io::Write as _;

use common::{codec, sampled, settings, shape, state_bits};
use stepwell_methods::Objective;
use stepwell_methods::objective::clipped;
use stepwell_model::{Adapter, LoraSettings, Model, Precision};
use stepwell_train::{Device, Learner, Reference, TrainError};
use stepwell_tree::{Key, Purpose};

/// Whether the test cannot run here; whoever counts the tests counts this too.
fn skipped(name: &str) -> bool {
    let Err(reason) = Device::Cuda.probe() else { return false };
    if let Some(list) = std::env::var_os("STEPWELL_SKIPPED") {
        let list = std::fs::File::options().create(true).append(true).open(list);
        list.unwrap().write_all(format!("{name}: {reason}\n").as_bytes()).unwrap();
    }
    true
}

fn learner(device: Device, precision: Precision, adapter: bool) -> Learner {
    let codec = codec();
    let config = shape(codec.tokenizer().vocabulary());
    let mut model = Model::random(config.clone(), 6);
    if adapter {
        let settings = LoraSettings { rank: 3, alpha: 6.0, ..LoraSettings::default() };
        model.attach(Adapter::new(&config, settings, 2)).unwrap();
    }
    model.set_precision(precision);
    Learner::on(device, model, codec, 2).unwrap()
}

fn key() -> Key {
    Key::new(1, Purpose::TaskOrder)
}

const CASES: [(Precision, bool); 4] = [
    (Precision::F32, false),
    (Precision::Bf16, false),
    (Precision::F32, true),
    (Precision::Bf16, true),
];

/// Mean difference of a sampled log-prob from the trained one on this small model; in `bf16` a
/// number near the middle of two rounds to the other one now and then.
fn gap_most(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 5e-6,
        Precision::Bf16 => 5e-3,
    }
}

#[test]
fn updates_see_what_was_sampled_and_move_what_trains() {
    if skipped("updates_see_what_was_sampled_and_move_what_trains") {
        return;
    }
    for (precision, adapter) in CASES {
        let mut learner = learner(Device::Cuda, precision, adapter);
        let mut sum = learner.model().checksum();
        let base = learner.model().base_checksum();
        for update in 0..3 {
            let (forest, credit) = sampled(&learner, 0.7, update);
            let report = learner.update(&forest, &credit, &settings(0.01, 0.7), key()).unwrap();
            assert!(report.gap <= gap_most(precision), "{precision:?}: {}", report.gap);
            let now = learner.model().checksum();
            assert_ne!(now, sum, "the host's copy follows");
            assert_eq!(learner.model().base_checksum() == base, adapter);
            sum = now;
        }
        assert_eq!(learner.version().0, 3);
    }
}

#[test]
fn a_fault_is_named_and_changes_nothing() {
    if skipped("a_fault_is_named_and_changes_nothing") {
        return;
    }
    let mut learner = learner(Device::Cuda, Precision::F32, false);
    let (forest, credit) = sampled(&learner, 1.0, 0);
    learner.update(&forest, &credit, &settings(1e-3, 1.0), key()).unwrap();
    let (forest, credit) = sampled(&learner, 1.0, 1);
    let before = state_bits(&learner);
    let first = (0..forest[0].len()).find(|&i| forest[0].origin[i].is_policy()).unwrap();
    let mut huge = credit.clone();
    huge[0].step[first] = Some(1e30);
    let error = learner.update(&forest, &huge, &settings(1e-3, 1.0), key()).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { what: "gradient", .. }), "{error}");
    assert_eq!(state_bits(&learner), before);
    let error = learner.update(&forest, &credit, &settings(1e-3, 0.6), key()).unwrap_err();
    assert!(matches!(error, TrainError::Gap { mean, .. } if mean > 1e-3), "{error}");
    assert_eq!(state_bits(&learner), before);
    let mut broken = learner.model().clone();
    let norm: Vec<f32> = (0..16).map(|at| if at == 3 { f32::NAN } else { 1.0 }).collect();
    broken.set_parameter("model.norm.weight", &norm).unwrap();
    let (whole, state) = (learner.model().clone(), learner.state());
    learner.restore(broken, state).unwrap();
    let error = learner.update(&forest, &credit, &settings(1e-3, 1.0), key()).unwrap_err();
    assert!(matches!(error, TrainError::NotFinite { what: "log-prob", .. }), "{error}");
    let state = learner.state();
    learner.restore(whole, state).unwrap();
    assert_eq!(state_bits(&learner), before);
    learner.update(&forest, &credit, &settings(1e-3, 1.0), key()).unwrap();
}

#[test]
fn a_learner_that_was_stopped_goes_on_bit_for_bit() {
    if skipped("a_learner_that_was_stopped_goes_on_bit_for_bit") {
        return;
    }
    for (precision, adapter) in CASES {
        let mut whole = learner(Device::Cuda, precision, adapter);
        let (forest, credit) = sampled(&whole, 1.0, 0);
        whole.update(&forest, &credit, &settings(0.01, 1.0), key()).unwrap();
        let mut second = learner(Device::Cuda, precision, adapter);
        match whole.model().adapter() {
            Some(own) => second.restore_adapter(own.clone(), whole.state()).unwrap(),
            None => second.restore(whole.model().clone(), whole.state()).unwrap(),
        }
        for learner in [&mut whole, &mut second] {
            let (forest, credit) = sampled(learner, 1.0, 1);
            learner.update(&forest, &credit, &settings(0.01, 1.0), key()).unwrap();
        }
        assert_eq!(state_bits(&whole), state_bits(&second), "{precision:?}");
    }
}

/// The reference's log-probs are the CPU's, of a whole model and of an adapter, and stay what they
/// were when the policy has moved.
#[test]
fn a_reference_stands_still() {
    if skipped("a_reference_stands_still") {
        return;
    }
    for adapter in [false, true] {
        let mut learner = learner(Device::Cuda, Precision::F32, adapter);
        let reference = Reference::of(learner.model());
        let (forest, credit) = sampled(&learner, 1.0, 0);
        let column = |learner: &mut Learner| {
            let mut own = forest.clone();
            learner.fill_reference(&mut own, &reference, 1.0, 10_000).unwrap();
            own.iter().map(|tree| tree.token_column["reference_logprob"].clone()).collect()
        };
        let before: Vec<Vec<f32>> = column(&mut learner);
        for (tree, column) in forest.iter().zip(&before) {
            for i in (0..tree.len()).filter(|&i| tree.origin[i].is_policy()) {
                for at in tree.span[i].range() {
                    assert!((column[at] - tree.logprob[at]).abs() < 5e-5);
                }
            }
        }
        let mut with = settings(0.01, 1.0);
        let kl = clipped::Kl { coefficient: 0.1, ..clipped::Kl::default() };
        with.objective = Objective::Clipped(clipped::Config { kl, ..Default::default() });
        let mut own = forest.clone();
        learner.fill_reference(&mut own, &reference, 1.0, 10_000).unwrap();
        learner.update(&own, &credit, &with, key()).unwrap();
        assert!(column(&mut learner) == before, "adapter {adapter}");
    }
}
