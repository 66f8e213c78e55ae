//! The written-out backward against central differences of an independent `f64` forward.

mod support;

use stepwell_model::{Config, Family, Gradients, Model, Scored, Workspace};
use support::{Forest, config, model, reference, sample_forest, unit, weights};

/// Seeds of both signs, some zero.
fn seeds(count: usize) -> (Vec<f32>, Vec<f32>) {
    let draw = |stream, index| (unit(stream, index) * 2.0 - 1.0) as f32;
    let count = count as u64;
    let logprob = (0..count).map(|i| if i % 5 == 0 { 0.0 } else { draw(1, i) }).collect();
    (logprob, (0..count).map(|i| 0.3 * draw(2, i)).collect())
}

fn check(config: &Config, forest: &Forest, temperature: f32) {
    let model = model(config.clone(), 5);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature };
    let (d_logprob, d_entropy) = seeds(row.len());
    let mut workspace = Workspace::new(2);
    let mut gradients = Gradients::zeros_like(&model);
    let scores = workspace.forward(&model, &forest.packed(), &scored);
    workspace.backward(&model, &forest.packed(), &scored, &d_logprob, &d_entropy, &mut gradients);
    let mut exact = weights(&model);
    for (index, (logprob, entropy)) in
        reference(config, &exact, forest, &scored).into_iter().enumerate()
    {
        assert!((f64::from(scores.logprob[index]) - logprob).abs() < 2e-5, "logprob {index}");
        assert!((f64::from(scores.entropy[index]) - entropy).abs() < 2e-5, "entropy {index}");
    }
    let mut loss = |name: &str, element: usize, by: f64| -> f64 {
        exact.get_mut(name).unwrap()[element] += by;
        let values = reference(config, &exact, forest, &scored);
        exact.get_mut(name).unwrap()[element] -= by;
        let term = |(index, (logprob, entropy)): (usize, (f64, f64))| {
            f64::from(d_logprob[index]) * logprob + f64::from(d_entropy[index]) * entropy
        };
        values.into_iter().enumerate().map(term).sum()
    };
    for parameter in model.parameters() {
        let gradient = gradients.to_row_major(parameter.name()).unwrap();
        let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        assert!(largest > 0.0, "{} has no gradient", parameter.name());
        // The largest element and two drawn ones.
        let at_most = gradient.iter().position(|value| value.abs() == largest).unwrap();
        let drawn = |stream| (unit(stream, 3) * gradient.len() as f64) as usize;
        for element in [at_most, drawn(11), drawn(12)] {
            let step = 1e-5;
            let difference = (loss(parameter.name(), element, step)
                - loss(parameter.name(), element, -step))
                / (2.0 * step);
            let error = (f64::from(gradient[element]) - difference).abs();
            let allowed = 2e-4 * f64::from(largest).max(difference.abs());
            assert!(
                error < allowed,
                "{} [{element}]: got {}, expected {difference}",
                parameter.name(),
                gradient[element]
            );
        }
    }
}

#[test]
fn llama_on_a_branched_forest() {
    check(&config(Family::Llama), &sample_forest(75), 1.0);
}

#[test]
fn qwen2_biases_and_an_untied_head_at_another_temperature() {
    check(&Config { tied: false, ..config(Family::Qwen2) }, &sample_forest(75), 0.7);
}

#[test]
fn qwen3_head_norms_and_wide_heads() {
    let shape = Config { head_dim: 34, kv_heads: 1, heads: 2, ..config(Family::Qwen3) };
    check(&shape, &sample_forest(75), 1.3);
}

#[test]
fn gradients_do_not_depend_on_the_number_of_threads() {
    let forest = sample_forest(75);
    let model: Model = model(config(Family::Qwen3), 2);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let (d_logprob, d_entropy) = seeds(row.len());
    let run = |threads| {
        let mut workspace = Workspace::new(threads);
        let mut gradients = Gradients::zeros_like(&model);
        let packed = forest.packed();
        let scores = workspace.forward(&model, &packed, &scored);
        workspace.backward(&model, &packed, &scored, &d_logprob, &d_entropy, &mut gradients);
        let values = |parameter: &stepwell_model::ParameterView| {
            let row_major = gradients.to_row_major(parameter.name()).unwrap();
            row_major.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        (scores, model.parameters().iter().map(values).collect::<Vec<_>>())
    };
    let one = run(1);
    assert!(one == run(2) && one == run(7), "bits differ between 1, 2 and 7 threads");
}
