//! Hidden states at chosen rows and the gradients that flow back from them, against central
//! differences of an independent `f64` forward.

mod support;

use stepwell_model::{Family, Gradients, Model, Scored, StateSeeds, Workspace};
use support::{adapted, config, model, reference_states, sample_forest, unit, weights};

const NOTHING: Scored = Scored { row: &[], target: &[], temperature: 1.0 };

/// One derivative per number of each state, of both signs.
fn seeds(count: usize) -> Vec<f32> {
    (0..count as u64).map(|i| (unit(21, i) * 2.0 - 1.0) as f32).collect()
}

fn gradients(model: &Model, row: &[u32], d_state: &[f32], threads: usize) -> (Vec<f32>, Gradients) {
    let forest = sample_forest(75);
    let mut workspace = Workspace::new(threads);
    let mut gradients = Gradients::zeros_like(model);
    workspace.forward(model, &forest.packed(), &NOTHING);
    let states = workspace.states(model, row);
    let seeds = StateSeeds { row, d_state };
    let none: (&[f32], &[f32]) = (&[], &[]);
    let packed = forest.packed();
    workspace.backward_with_states(model, &packed, &NOTHING, none, seeds, &mut gradients);
    (states, gradients)
}

#[test]
fn states_and_their_gradients_are_those_of_the_reference() {
    for family in [Family::Llama, Family::Qwen3] {
        let config = config(family);
        let model = model(config.clone(), 5);
        let forest = sample_forest(75);
        // Leaves, inner rows, the root, and one row twice.
        let last = forest.token.len() as u32 - 1;
        let row = [last, 0, 3, last / 2, 3];
        let d_state = seeds(row.len() * config.hidden);
        let (states, gradients) = gradients(&model, &row, &d_state, 2);
        let mut exact = weights(&model);
        let all = reference_states(&config, &exact, &forest);
        for (at, own) in row.iter().zip(states.chunks_exact(config.hidden)) {
            for (got, expected) in own.iter().zip(&all[*at as usize]) {
                assert!((f64::from(*got) - expected).abs() < 5e-5, "row {at}: {got} {expected}");
            }
        }
        let mut loss = |name: &str, element: usize, by: f64| -> f64 {
            exact.get_mut(name).unwrap()[element] += by;
            let all = reference_states(&config, &exact, &forest);
            exact.get_mut(name).unwrap()[element] -= by;
            let read = row.iter().flat_map(|at| all[*at as usize].clone());
            read.zip(&d_state).map(|(x, d)| x * f64::from(*d)).sum()
        };
        for parameter in model.parameters() {
            let gradient = gradients.to_row_major(parameter.name()).unwrap();
            let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            assert!(largest > 0.0, "{} has no gradient", parameter.name());
            let at_most = gradient.iter().position(|value| value.abs() == largest).unwrap();
            let drawn = (unit(11, 3) * gradient.len() as f64) as usize;
            for element in [at_most, drawn] {
                let step = 1e-5;
                let name = parameter.name();
                let difference =
                    (loss(name, element, step) - loss(name, element, -step)) / (2.0 * step);
                let error = (f64::from(gradient[element]) - difference).abs();
                let allowed = 3e-4 * f64::from(largest).max(difference.abs());
                assert!(error < allowed, "{name} [{element}]: {} {difference}", gradient[element]);
            }
        }
    }
}

#[test]
fn log_probs_and_states_seed_one_backward() {
    let model = model(config(Family::Llama), 5);
    let forest = sample_forest(75);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let (d_logprob, zeros) = (seeds(row.len()), vec![0.0; row.len()]);
    let at = [2, 7];
    let d_state = seeds(at.len() * model.config().hidden);
    let run = |d_logprob: &[f32], d_state: &[f32]| {
        let mut workspace = Workspace::new(1);
        let mut gradients = Gradients::zeros_like(&model);
        workspace.forward(&model, &forest.packed(), &scored);
        let seeds = (d_logprob, &zeros[..]);
        let states = StateSeeds { row: &at, d_state };
        let packed = forest.packed();
        workspace.backward_with_states(&model, &packed, &scored, seeds, states, &mut gradients);
        let name = "model.layers.0.mlp.up_proj.weight";
        gradients.to_row_major(name).unwrap()
    };
    let both = run(&d_logprob, &d_state);
    let scores = run(&d_logprob, &vec![0.0; d_state.len()]);
    let states = run(&zeros, &d_state);
    for ((both, scores), states) in both.iter().zip(scores).zip(states) {
        assert!((both - scores - states).abs() < 1e-5 * both.abs().max(1.0));
    }
}

#[test]
fn threads_change_no_bit_and_an_adapter_gets_its_gradients() {
    use stepwell_model::Target;
    for model in [model(config(Family::Qwen2), 3), adapted(config(Family::Qwen2), &Target::ALL)] {
        let row = [1, 4, 4];
        let d_state = seeds(row.len() * model.config().hidden);
        let bits = |threads| {
            let (states, gradients) = gradients(&model, &row, &d_state, threads);
            let of = |name: &str| gradients.to_row_major(name).unwrap_or_default();
            let own: Vec<Vec<f32>> = model.parameters().iter().map(|p| of(p.name())).collect();
            (states, own)
        };
        let one = bits(1);
        assert!(one == bits(2) && one == bits(7));
        assert!(one.1.iter().flatten().any(|g| *g != 0.0));
    }
}
