//! P1: a learner goes on only from a checkpoint of its own shape, and says whose is whose.

mod common;

use common::{codec, learner, sampled, settings, shape, state_bits};
use stepwell_model::{Adapter, Family, LoraSettings, Model};
use stepwell_train::Learner;
use stepwell_tree::{Key, Purpose};

#[test]
fn p01_a_checkpoint_of_another_architecture_is_refused_and_both_are_named() {
    let mut own = learner(1, 1);
    let before = state_bits(&own);
    let mut config = shape(codec().tokenizer().vocabulary());
    config.family = Family::Qwen3;
    let other = Learner::new(Model::random(config, 2), codec(), 1);
    let said = own.restore(other.model().clone(), other.state()).unwrap_err();
    assert!(said.contains("family: Qwen3") && said.contains("family: Llama"), "{said}");
    assert_eq!(state_bits(&own), before, "a refused checkpoint leaves the learner as it was");
}

#[test]
fn p01_an_adapter_of_other_settings_is_refused_and_both_are_named() {
    let adapted = |rank| {
        let config = shape(codec().tokenizer().vocabulary());
        let mut model = Model::random(config.clone(), 1);
        let settings = LoraSettings { rank, ..LoraSettings::default() };
        model.attach(Adapter::new(&config, settings, 3)).unwrap();
        Learner::new(model, codec(), 1)
    };
    let (mut own, other) = (adapted(2), adapted(3));
    let before = state_bits(&own);
    let adapter = other.model().adapter().unwrap().clone();
    let said = own.restore_adapter(adapter, other.state()).unwrap_err();
    assert!(said.contains("rank: 3") && said.contains("rank: 2"), "{said}");
    assert_eq!(state_bits(&own), before);
}

/// What a checkpoint holds is enough for the next updates to be those that would have come.
#[test]
fn p01_a_restored_learner_goes_on_bit_for_bit() {
    let key = Key::new(2, Purpose::TaskOrder);
    let updated = |learner: &mut Learner, update: u64| {
        let (forest, credit) = sampled(learner, 1.0, update);
        learner.update(&forest, &credit, &settings(1e-2, 1.0), key).unwrap();
    };
    let mut own = learner(1, 1);
    (0..2).for_each(|update| updated(&mut own, update));
    let mut other = learner(9, 2);
    other.restore(own.model().clone(), own.state()).unwrap();
    assert_eq!(state_bits(&other), state_bits(&own));
    for update in 2..4 {
        updated(&mut own, update);
        updated(&mut other, update);
        assert_eq!(state_bits(&other), state_bits(&own), "update {update}");
    }
}
