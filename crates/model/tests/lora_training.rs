//! A model with an adapter: one forward, gradients of the adapter only, frozen weights.

mod support;

use stepwell_model::{
    AdamW, AdamWSettings, Adapter, Config, Decoder, Family, Gradients, Halt, Model, Precision,
    SampleRequest, Sampling, Scored, Target, TokenScores, Workspace,
};
use support::{
    Forest, Weights, adapted, config, lora_settings, model, reference, sample_forest, unit, weights,
};

fn seeds(count: usize) -> (Vec<f32>, Vec<f32>) {
    let draw = |stream, index| (unit(stream, index) * 2.0 - 1.0) as f32;
    let count = count as u64;
    ((0..count).map(|i| draw(1, i)).collect(), (0..count).map(|i| 0.3 * draw(2, i)).collect())
}

fn train(model: &Model, forest: &Forest, threads: usize) -> (TokenScores, Gradients) {
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 0.8 };
    let (d_logprob, d_entropy) = seeds(row.len());
    let mut workspace = Workspace::new(threads);
    let mut gradients = Gradients::zeros_like(model);
    let scores = workspace.forward(model, &forest.packed(), &scored);
    workspace.backward(model, &forest.packed(), &scored, &d_logprob, &d_entropy, &mut gradients);
    (scores, gradients)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Base and adapter as the weights of one model, in `f64`, after `element` of `name` has moved.
fn merged(model: &Model, name: &str, element: usize, by: f64) -> Weights {
    let mut all = weights(model);
    if let Some(values) = all.get_mut(name) {
        values[element] += by;
    }
    let adapter = model.adapter().unwrap();
    let (rank, scale) = (adapter.settings().rank, f64::from(adapter.settings().scale()));
    for view in adapter.parameters().iter().filter(|view| view.name().contains("lora_A")) {
        let columns = view.shape()[1];
        let a = all.remove(view.name()).unwrap();
        let b = all.remove(&view.name().replace("lora_A", "lora_B")).unwrap();
        let plain = view.name().replace("base_model.model.", "").replace(".lora_A", "");
        let weight = all.get_mut(&plain).unwrap();
        for (row, factors) in weight.chunks_exact_mut(columns).zip(b.chunks_exact(rank)) {
            for (factor, from) in factors.iter().zip(a.chunks_exact(columns)) {
                row.iter_mut().zip(from).for_each(|(w, from)| *w += scale * factor * from);
            }
        }
    }
    all
}

fn check(config: &Config, targets: &[Target]) {
    let forest = sample_forest(75);
    let model = adapted(config.clone(), targets);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 0.8 };
    let (d_logprob, d_entropy) = seeds(row.len());
    let (scores, gradients) = train(&model, &forest, 2);
    let exact = reference(config, &merged(&model, "", 0, 0.0), &forest, &scored);
    for (index, (logprob, entropy)) in exact.into_iter().enumerate() {
        assert!((f64::from(scores.logprob[index]) - logprob).abs() < 2e-5, "logprob {index}");
        assert!((f64::from(scores.entropy[index]) - entropy).abs() < 2e-5, "entropy {index}");
    }
    let loss = |name: &str, element: usize, by: f64| -> f64 {
        let values = reference(config, &merged(&model, name, element, by), &forest, &scored);
        let term = |(index, (logprob, entropy)): (usize, (f64, f64))| {
            f64::from(d_logprob[index]) * logprob + f64::from(d_entropy[index]) * entropy
        };
        values.into_iter().enumerate().map(term).sum()
    };
    for parameter in model.adapter().unwrap().parameters() {
        let name = parameter.name();
        let gradient = gradients.to_row_major(name).unwrap();
        let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(largest > 0.0, "{name} has no gradient");
        let at_most = gradient.iter().position(|value| value.abs() == largest).unwrap();
        let drawn = (unit(11, 3) * gradient.len() as f64) as usize;
        for element in [at_most, drawn] {
            let step = 1e-5;
            let difference =
                (loss(name, element, step) - loss(name, element, -step)) / (2.0 * step);
            let error = (f64::from(gradient[element]) - difference).abs();
            let allowed = 2e-4 * f64::from(largest).max(difference.abs());
            let got = gradient[element];
            assert!(error < allowed, "{name} [{element}]: got {got}, expected {difference}");
        }
    }
}

#[test]
fn gradients_are_differences_of_the_merged_model_llama_everywhere() {
    check(&config(Family::Llama), &Target::ALL);
}

#[test]
fn gradients_are_differences_of_the_merged_model_qwen2_attention() {
    let shape = Config { tied: false, ..config(Family::Qwen2) };
    check(&shape, &[Target::Value, Target::Query]);
}

#[test]
fn gradients_are_differences_of_the_merged_model_qwen3_feed_forward() {
    check(&config(Family::Qwen3), &[Target::Key, Target::Output, Target::Up, Target::Down]);
}

#[test]
fn no_number_depends_on_the_number_of_threads() {
    let forest = sample_forest(75);
    let model = adapted(config(Family::Qwen3), &Target::ALL);
    let run = |threads| {
        let (scores, gradients) = train(&model, &forest, threads);
        let values: Vec<Vec<u32>> = model
            .adapter()
            .unwrap()
            .parameters()
            .iter()
            .map(|view| bits(&gradients.to_row_major(view.name()).unwrap()))
            .collect();
        (bits(&scores.logprob), values)
    };
    let one = run(1);
    assert!(one == run(2) && one == run(7), "bits differ between 1, 2 and 7 threads");
}

/// Gradients of every parameter of the adapter, in its order.
fn all(model: &Model, gradients: &Gradients) -> Vec<Vec<f32>> {
    let views = model.adapter().unwrap().parameters();
    views.iter().map(|view| gradients.to_row_major(view.name()).unwrap()).collect()
}

#[test]
fn layers_that_compute_again_give_the_same_bits() {
    let forest = sample_forest(75);
    let model = adapted(config(Family::Qwen3), &Target::ALL);
    let (scores, gradients) = train(&model, &forest, 2);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 0.8 };
    let (d_logprob, d_entropy) = seeds(row.len());
    let mut workspace = Workspace::new(2);
    workspace.set_activation_budget(Some(0));
    let mut again = Gradients::zeros_like(&model);
    let packed = forest.packed();
    assert_eq!(workspace.forward(&model, &packed, &scored), scores);
    workspace.backward(&model, &packed, &scored, &d_logprob, &d_entropy, &mut again);
    assert_eq!(all(&model, &again), all(&model, &gradients));
}

#[test]
fn beside_a_base_in_bf16_the_gradients_are_near_those_in_f32() {
    let forest = sample_forest(75);
    let mut model = adapted(config(Family::Qwen2), &Target::ALL);
    let exact = all(&model, &train(&model, &forest, 2).1);
    let (base, sum) = (model.base_checksum(), model.checksum());
    model.set_precision(Precision::Bf16);
    assert_eq!((model.base_checksum(), model.checksum()), (base, sum), "masters are kept");
    let (_, gradients) = train(&model, &forest, 2);
    for (rough, exact) in all(&model, &gradients).iter().zip(&exact) {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let size: f64 = exact.iter().map(|x| square(*x)).sum();
        let error: f64 = rough.iter().zip(exact).map(|(a, b)| square(a - b)).sum();
        let relative = (error / size).sqrt();
        assert!(relative < 0.05 && relative > 0.0, "{relative}");
    }
    // The frozen pairs stay bit for bit while the adapter's f32 moves.
    AdamW::new(&model).step(&mut model, &gradients, &SETTINGS, 2);
    assert_eq!(model.base_checksum(), base);
    assert_ne!(model.checksum(), sum);
}

#[test]
fn a_fresh_adapter_changes_no_bit_and_a_trained_one_is_its_merged_model() {
    let forest = sample_forest(75);
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        let mut base = model(config(family), 5);
        for precision in [Precision::Bf16, Precision::F32] {
            base.set_precision(precision);
            let mut fresh = base.clone();
            fresh.attach(Adapter::new(base.config(), lora_settings(&Target::ALL), 3)).unwrap();
            let (alone, _) = train(&base, &forest, 2);
            let (with, _) = train(&fresh, &forest, 2);
            assert_eq!(bits(&with.logprob), bits(&alone.logprob), "{family:?} {precision:?}");
            assert_eq!(bits(&with.entropy), bits(&alone.entropy), "{family:?} {precision:?}");
        }
        let (alone, _) = train(&base, &forest, 2);
        let trained = adapted(config(family), &Target::ALL);
        let (beside, _) = train(&trained, &forest, 2);
        let (inside, _) = train(&trained.merged(), &forest, 2);
        assert!(trained.merged().adapter().is_none());
        let pairs = beside.logprob.iter().zip(&inside.logprob);
        let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-5, "{family:?}: {largest}");
        assert_ne!(bits(&beside.logprob), bits(&alone.logprob), "the adapter says something");
    }
}

/// INV-6: a prompt, three sampled steps behind it, and the trainer's forward over the tree.
#[test]
fn sampled_and_trained_logprobs_are_the_same_bits() {
    let shapes = [
        (Family::Llama, Precision::F32),
        (Family::Qwen2, Precision::Bf16),
        (Family::Qwen3, Precision::F32),
        (Family::Llama, Precision::Bf16),
    ];
    for (family, precision) in shapes {
        let mut model = adapted(config(family), &Target::ALL);
        model.set_precision(precision);
        for threads in [1, 2, 7] {
            let mut decoder = Decoder::new(threads);
            let prompt: Vec<u32> = (0..37).map(|i| (unit(3, i) * 75.0) as u32).collect();
            let root = decoder.extend(&model, None, &prompt);
            for id in 0..3 {
                let sampling = Sampling { temperature: 0.8, top_k: 0, top_p: 1.0 };
                let max_tokens = 10 + 9 * id as usize;
                decoder.begin(
                    id,
                    &root,
                    SampleRequest { sampling, max_tokens, end_tokens: vec![] },
                );
            }
            let mut finished = Vec::new();
            while decoder.live() > 0 {
                let draw = |id: u64, position: u32| unit(id, u64::from(position));
                finished.extend(decoder.advance(&model, &draw, &|_, _| Halt::Continue));
            }
            finished.sort_by_key(|step| step.id);
            let mut segments = vec![(None, prompt)];
            segments.extend(finished.iter().map(|step| (Some(0), step.tokens.clone())));
            let forest = Forest::new(&segments);
            let (row, target) = forest.predictions();
            let scored = Scored { row: &row, target: &target, temperature: 0.8 };
            let scores = Workspace::new(2).forward(&model, &forest.packed(), &scored);
            let sampled: Vec<f32> = finished.iter().flat_map(|s| s.logprobs.clone()).collect();
            // The prompt's own tokens are scored first.
            let trained = &scores.logprob[scores.logprob.len() - sampled.len()..];
            assert_eq!(bits(&sampled), bits(trained), "{family:?} {precision:?} {threads}");
        }
    }
}

const SETTINGS: AdamWSettings = AdamWSettings {
    learning_rate: 0.01,
    beta1: 0.9,
    beta2: 0.99,
    epsilon: 1e-8,
    weight_decay: 0.1,
};

#[test]
fn training_moves_the_adapter_and_no_other_weight() {
    let forest = sample_forest(75);
    let mut model = adapted(config(Family::Qwen2), &[Target::Query, Target::Down]);
    let (base, all) = (model.base_checksum(), model.checksum());
    let mut optimizer = AdamW::new(&model);
    let mut sums = vec![all];
    for _ in 0..3 {
        let (_, gradients) = train(&model, &forest, 2);
        optimizer.step(&mut model, &gradients, &SETTINGS, 2);
        assert_eq!(model.base_checksum(), base, "a frozen weight moved");
        assert!(!sums.contains(&model.checksum()), "the adapter did not move");
        sums.push(model.checksum());
    }
    // From the state between the second and the third step, the third is the same bits.
    let mut twin = model.clone();
    let mut copy = AdamW::new(&twin);
    copy.restore(optimizer.step_count(), &optimizer.tensors()).unwrap();
    let (_, gradients) = train(&model, &forest, 1);
    optimizer.step(&mut model, &gradients, &SETTINGS, 1);
    copy.step(&mut twin, &gradients, &SETTINGS, 3);
    assert_eq!(model.checksum(), twin.checksum());
    assert!(optimizer.tensors().iter().all(|(name, ..)| name.contains("lora_")));
    model.detach().unwrap();
    assert_eq!(model.checksum(), base);
}

#[test]
fn frozen_weights_have_no_gradient_and_no_moments() {
    let base = model(config(Family::Llama), 5);
    let mut adapted = base.clone();
    let targets = [Target::Query, Target::Value];
    let adapter = Adapter::new(base.config(), lora_settings(&targets), 3);
    let count = adapter.parameter_count();
    adapted.attach(adapter).unwrap();
    // Each matrix is padded to whole panels of 32 lanes.
    let padded = base.config().layers * (32 * 40 + 64 * 3 + 32 * 40 + 32 * 3);
    assert_eq!(count, base.config().layers * 3 * (40 + 40 + 40 + 20));
    assert_eq!(Gradients::zeros_like(&adapted).stored(), padded);
    assert_eq!(AdamW::new(&adapted).stored(), 2 * padded);
    assert!(Gradients::zeros_like(&base).stored() > 4 * padded, "the base is far larger");
    let gradients = Gradients::zeros_like(&adapted);
    for view in base.parameters() {
        assert!(gradients.to_row_major(view.name()).is_none(), "{}", view.name());
    }
    assert_eq!(adapted.trained_count(), count);
    assert_eq!(adapted.parameter_count(), base.parameter_count() + count);
}

#[test]
fn an_adapter_of_another_shape_is_refused_and_a_nan_in_one_is_named() {
    let mut base = model(config(Family::Llama), 5);
    let other = Config { ffn: 60, ..config(Family::Llama) };
    let wrong = base.attach(Adapter::new(&other, lora_settings(&[Target::Up]), 3)).unwrap_err();
    assert!(wrong.to_string().contains("`base_model.model.model.layers.0.mlp.up_proj.lora_B"));
    assert!(base.adapter().is_none());
    base.attach(Adapter::new(base.config(), lora_settings(&[Target::Up]), 3)).unwrap();
    let name = "base_model.model.model.layers.1.mlp.up_proj.lora_A.weight";
    assert_eq!(base.non_finite(), None);
    base.set_parameter(name, &[f32::NAN; 120]).unwrap();
    assert_eq!(base.non_finite().as_deref(), Some(name));
}
