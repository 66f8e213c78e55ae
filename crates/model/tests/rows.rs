//! Losses of whole distributions through the model: their gradients against central differences
//! of an independent `f64` forward, for any cut into tiles and any number of threads.

mod support;

use stepwell_model::{
    Config, Family, Gradients, Model, OtherModel, Precision, RowSeeds, Scored, StateSeeds, Target,
    Workspace,
};
use support::{
    Forest, Weights, adapted, config, model, reference_states, sample_forest, unit, weights,
};

/// The mixture of a generalised Jensen-Shannon divergence.
const B: f64 = 0.3;

/// A weight per position; some positions do not count.
fn weight(at: usize) -> f64 {
    if at.is_multiple_of(7) { 0.0 } else { unit(31, at as u64) }
}

fn softmax(logits: &[f64]) -> Vec<f64> {
    let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (x - top).exp()).sum();
    logits.iter().map(|x| (x - top).exp() / sum).collect()
}

/// JSD of two rows of logits, and the derivatives by the first.
fn divergence(own: &[f64], other: &[f64]) -> (f64, Vec<f64>) {
    let (p, q) = (softmax(own), softmax(other));
    let mean: Vec<f64> = p.iter().zip(&q).map(|(p, q)| B * q + (1.0 - B) * p).collect();
    let kl = |a: &[f64]| a.iter().zip(&mean).map(|(a, m)| a * (a / m).ln()).sum::<f64>();
    let h: Vec<f64> = p.iter().zip(&mean).map(|(p, m)| (1.0 - B) * (p / m).ln()).collect();
    let centre: f64 = p.iter().zip(&h).map(|(p, h)| p * h).sum();
    let slopes = p.iter().zip(&h).map(|(p, h)| p * (h - centre)).collect();
    (B * kl(&q) + (1.0 - B) * kl(&p), slopes)
}

/// The same as the model asks for it.
fn of_row(at: usize, own: &mut [f32], other: &[f32]) -> f64 {
    let wide = |row: &[f32]| row.iter().copied().map(f64::from).collect::<Vec<_>>();
    let (value, slopes) = divergence(&wide(own), &wide(other));
    for (to, slope) in own.iter_mut().zip(slopes) {
        *to = (weight(at) * slope) as f32;
    }
    weight(at) * value
}

/// What the other model makes of the positions, then the loss and all gradients.
fn run(
    model: &Model,
    other: &Model,
    seeds: (&[f32], &[f32]),
    threads: usize,
) -> (Vec<f64>, Gradients) {
    let forest = sample_forest(75);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 0.7 };
    let packed = forest.packed();
    let mut workspace = Workspace::new(threads);
    workspace.forward(other, &packed, &scored);
    let states = workspace.states(other, &row);
    workspace.forward(model, &packed, &scored);
    let mut gradients = Gradients::zeros_like(model);
    let other = Some(OtherModel { model: other, states: &states });
    let of_rows = Some(RowSeeds { of_row: &of_row, other });
    let none = StateSeeds::default();
    let scores = (seeds, of_rows);
    let value = workspace.backward_with_rows(model, &packed, &scored, scores, none, &mut gradients);
    (value, gradients)
}

/// Zeros for log-probabilities and entropies of the sample.
fn nothing() -> Vec<f32> {
    vec![0.0; sample_forest(75).predictions().0.len()]
}

/// A model of another shape with the same vocabulary.
fn other() -> Model {
    let shape = Config { hidden: 24, layers: 1, tied: false, ..config(Family::Qwen2) };
    model(shape, 9)
}

fn exact_logits(config: &Config, weights: &Weights, forest: &Forest) -> Vec<Vec<f64>> {
    let head = if config.tied { "model.embed_tokens.weight" } else { "lm_head.weight" };
    let states = reference_states(config, weights, forest);
    let product = |state: &Vec<f64>| {
        let rows = weights[head].chunks_exact(config.hidden);
        rows.map(|row| row.iter().zip(state).map(|(w, x)| w * x).sum()).collect()
    };
    states.iter().map(product).collect()
}

#[test]
fn the_loss_and_every_gradient_are_those_of_the_reference() {
    let forest = sample_forest(75);
    let (row, _) = forest.predictions();
    let other = other();
    let theirs = exact_logits(other.config(), &weights(&other), &forest);
    for tied in [true, false] {
        let config = Config { tied, ..config(Family::Llama) };
        let model = model(config.clone(), 5);
        let zeros = nothing();
        let (value, gradients) = run(&model, &other, (&zeros, &zeros), 2);
        assert!(value.len() > 64, "one tile would hold them all");
        let mut exact = weights(&model);
        let of = |weights: &Weights| -> Vec<f64> {
            let own = exact_logits(&config, weights, &forest);
            let one = |(at, row): (usize, &u32)| {
                let row = *row as usize;
                weight(at) * divergence(&own[row], &theirs[row]).0
            };
            row.iter().enumerate().map(one).collect()
        };
        for (at, (got, expected)) in value.iter().zip(of(&exact)).enumerate() {
            assert!((got - expected).abs() < 2e-5, "position {at}: {got} {expected}");
        }
        for parameter in model.parameters() {
            let name = parameter.name();
            let gradient = gradients.to_row_major(name).unwrap();
            let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            assert!(largest > 0.0, "{name} has no gradient");
            let at_most = gradient.iter().position(|value| value.abs() == largest).unwrap();
            let drawn = (unit(11, 3) * gradient.len() as f64) as usize;
            for element in [at_most, drawn] {
                let mut loss = |by: f64| -> f64 {
                    exact.get_mut(name).unwrap()[element] += by;
                    let sum = of(&exact).iter().sum();
                    exact.get_mut(name).unwrap()[element] -= by;
                    sum
                };
                let difference = (loss(1e-5) - loss(-1e-5)) / 2e-5;
                let error = (f64::from(gradient[element]) - difference).abs();
                let allowed = 3e-4 * f64::from(largest).max(difference.abs());
                assert!(error < allowed, "{name} [{element}]: {} {difference}", gradient[element]);
            }
        }
    }
}

#[test]
fn it_stands_beside_log_probabilities_and_the_same_model_is_at_rest() {
    let (model, other) = (model(config(Family::Qwen3), 5), other());
    let zeros = nothing();
    let seeds: Vec<f32> = (0..zeros.len() as u64).map(|i| unit(21, i) as f32 - 0.5).collect();
    let name = "model.layers.0.mlp.up_proj.weight";
    let of = |model: &Model, other: &Model, seeds: (&[f32], &[f32])| {
        run(model, other, seeds, 1).1.to_row_major(name).unwrap()
    };
    let both = of(&model, &other, (&seeds, &zeros));
    let rows = of(&model, &other, (&zeros, &zeros));
    let at_rest = of(&model, &model, (&zeros, &zeros));
    let scores = of(&model, &model, (&seeds, &zeros));
    assert!(at_rest.iter().all(|g| g.abs() < 1e-7), "{at_rest:?}");
    for ((both, scores), rows) in both.iter().zip(scores).zip(rows) {
        assert!((both - scores - rows).abs() < 1e-5 * both.abs().max(1.0));
    }
}

#[test]
fn threads_change_no_bit_and_an_adapter_gets_its_gradients() {
    let other = other();
    for model in [model(config(Family::Qwen2), 3), adapted(config(Family::Qwen2), &Target::ALL)] {
        let zeros = nothing();
        let bits = |threads| {
            let (value, gradients) = run(&model, &other, (&zeros, &zeros), threads);
            let of = |name: &str| gradients.to_row_major(name).unwrap_or_default();
            let own: Vec<Vec<f32>> = model.parameters().iter().map(|p| of(p.name())).collect();
            (value, own)
        };
        let one = bits(1);
        assert!(one == bits(2) && one == bits(7));
        assert!(one.1.iter().flatten().any(|g| *g != 0.0));
    }
}

#[test]
fn in_bf16_it_is_the_same_to_rounding() {
    let (mut student, mut teacher) = (model(config(Family::Llama), 5), other());
    let zeros = nothing();
    let (value, gradients) = run(&student, &teacher, (&zeros, &zeros), 1);
    student.set_precision(Precision::Bf16);
    teacher.set_precision(Precision::Bf16);
    let (rounded, coarse) = run(&student, &teacher, (&zeros, &zeros), 2);
    let (sum, other) = (value.iter().sum::<f64>(), rounded.iter().sum::<f64>());
    assert!(sum != other && (sum - other).abs() < 2e-2 * sum, "{sum} {other}");
    for parameter in student.parameters() {
        let read = |own: &Gradients| own.to_row_major(parameter.name()).unwrap();
        let (fine, coarse) = (read(&gradients), read(&coarse));
        let largest = fine.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (a, b) in fine.iter().zip(&coarse) {
            assert!((a - b).abs() < 5e-2 * largest, "{}: {a} {b}", parameter.name());
        }
    }
}

#[test]
#[should_panic(expected = "one vocabulary")]
fn two_vocabularies_are_a_bug() {
    let shape = Config { vocabulary: 80, ..config(Family::Llama) };
    let zeros = nothing();
    run(&model(config(Family::Llama), 5), &model(shape, 1), (&zeros, &zeros), 1);
}
