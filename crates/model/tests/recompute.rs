//! Layers that keep nothing and compute their activations again in the backward change no bit of
//! any score or gradient: the backward runs the functions of the forward (INV-6).

mod support;

use stepwell_model::{ActivationPlan, Config, Family, Gradients, Model, Precision, Scored};
use stepwell_model::{Target, Workspace};
use support::{Forest, adapted, config, model, sample_forest, unit};

const LAYERS: usize = 6;

/// Bits of all scores and of every gradient.
fn train(workspace: &mut Workspace, model: &Model, forest: &Forest) -> (Vec<u32>, Vec<Vec<u32>>) {
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 0.8 };
    let seeds = |stream| -> Vec<f32> {
        (0..row.len() as u64).map(|index| (unit(stream, index) - 0.4) as f32).collect()
    };
    let packed = forest.packed();
    let mut gradients = Gradients::zeros_like(model);
    let scores = workspace.forward(model, &packed, &scored);
    workspace.backward(model, &packed, &scored, &seeds(1), &seeds(2), &mut gradients);
    assert!(gradients.norm() > 0.0, "a gradient of zeros compares with nothing");
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    let names = model.parameters();
    let values = names.iter().filter_map(|view| gradients.to_row_major(view.name()));
    (bits([scores.logprob, scores.entropy].concat()), values.map(bits).collect())
}

/// Shares of what all layers need, in percent, and how many layers keep their activations.
const BUDGETS: [(Option<usize>, usize); 6] = [
    (Some(0), 0),
    (Some(30), 0),
    (Some(60), 2),
    (None, LAYERS),
    (Some(90), 4),
    (Some(100), LAYERS),
];

fn check(model: &Model) {
    let forest = sample_forest(75);
    let all = ActivationPlan::new(model.config(), forest.token.len(), None);
    assert_eq!((all.kept, all.recomputed, all.tokens), (LAYERS, 0, forest.token.len()));
    let expected = train(&mut Workspace::new(2), model, &forest);
    for threads in [1, 2, 7] {
        // One workspace serves all budgets, as a run's does when its forests differ in size.
        let mut workspace = Workspace::new(threads);
        for (share, kept) in BUDGETS {
            let budget = share.map(|percent| all.bytes * percent / 100);
            let plan = ActivationPlan::new(model.config(), forest.token.len(), budget);
            assert_eq!((plan.kept, plan.recomputed), (kept, LAYERS - kept), "{share:?} %: {plan}");
            assert!(budget.is_none_or(|budget| kept == 0 || plan.bytes <= budget), "{plan}");
            workspace.set_activation_budget(budget);
            let got = train(&mut workspace, model, &forest);
            assert!(got == expected, "bits differ at {share:?} %, {threads} threads: {plan}");
        }
    }
}

#[test]
fn no_budget_changes_a_bit_in_either_precision() {
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        let mut model = model(Config { layers: LAYERS, ..config(family) }, 5);
        for precision in [Precision::F32, Precision::Bf16] {
            model.set_precision(precision);
            check(&model);
        }
    }
}

#[test]
fn no_budget_changes_a_bit_beside_an_adapter() {
    let shape = Config { layers: LAYERS, ..config(Family::Qwen3) };
    let mut model = adapted(shape, &Target::ALL);
    for precision in [Precision::F32, Precision::Bf16] {
        model.set_precision(precision);
        check(&model);
    }
}
