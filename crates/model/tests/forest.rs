//! A path inside a tree is the path alone: the same bits forward, the same gradient backward.

mod support;

use proptest::prelude::*;
use stepwell_model::{Family, Gradients, Model, Scored, TokenScores, Workspace};
use support::{Forest, config, model, unit};

/// Scores of every predicted token of a forest.
fn forward(workspace: &mut Workspace, model: &Model, forest: &Forest) -> TokenScores {
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    workspace.forward(model, &forest.packed(), &scored)
}

/// The gradient of `Σ weight * logprob`, one weight per predicted token.
fn gradient(model: &Model, forest: &Forest, weight: &[f32], threads: usize) -> Vec<f32> {
    let mut workspace = Workspace::new(threads);
    let mut gradients = Gradients::zeros_like(model);
    forward(&mut workspace, model, forest);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let none = vec![0.0; row.len()];
    workspace.backward(model, &forest.packed(), &scored, weight, &none, &mut gradients);
    let values = |parameter: &stepwell_model::ParameterView| {
        gradients.to_row_major(parameter.name()).unwrap()
    };
    model.parameters().iter().flat_map(values).collect()
}

/// One weight per token that has a predecessor.
fn weights(forest: &Forest) -> Vec<f32> {
    let count = forest.predictions().0.len() as u64;
    (0..count).map(|index| (unit(31, index) - 0.4) as f32).collect()
}

/// Compares a forest with its leaf paths as rows of their own; a shared token's weight goes to
/// the first row that holds it.
fn check(model: &Model, forest: &Forest, threads: usize) {
    let rows: Vec<_> = forest.paths().into_iter().map(|tokens| (None, tokens)).collect();
    let flat = Forest::new(&rows);
    let in_tree = forward(&mut Workspace::new(threads), model, forest);
    let in_rows = forward(&mut Workspace::new(threads), model, &flat);
    let leaves: Vec<usize> = (0..forest.parent.len())
        .filter(|segment| !forest.parent.contains(&Some(*segment)))
        .collect();
    // Index of each row's score: every row that is no root's first token has one.
    let score_of = |forest: &Forest| {
        let mut next = 0..;
        let mut index = |row: &usize| (forest.position[*row] > 0).then(|| next.next().unwrap());
        (0..forest.token.len()).map(|row| index(&row)).collect::<Vec<Option<usize>>>()
    };
    let (tree_score, flat_score) = (score_of(forest), score_of(&flat));
    let tree_weight = weights(forest);
    let mut flat_weight = vec![0.0; flat.predictions().0.len()];
    let mut given = vec![false; tree_weight.len()];
    for (path, leaf) in leaves.iter().enumerate() {
        let in_path = forest.visible(forest.rows(*leaf).end - 1);
        for (row, alone) in in_path.into_iter().zip(flat.rows(path)) {
            let (Some(tree), Some(flat)) = (tree_score[row], flat_score[alone]) else { continue };
            let bits = |scores: &TokenScores, at: usize| {
                (scores.logprob[at].to_bits(), scores.entropy[at].to_bits())
            };
            assert_eq!(bits(&in_tree, tree), bits(&in_rows, flat), "row {row} of leaf {leaf}");
            if !std::mem::replace(&mut given[tree], true) {
                flat_weight[flat] = tree_weight[tree];
            }
        }
    }
    assert!(given.iter().all(|given| *given), "every token lies on a path");
    let tree = gradient(model, forest, &tree_weight, threads);
    let flat = gradient(model, &flat, &flat_weight, threads);
    let size = tree.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (index, (tree, flat)) in tree.iter().zip(&flat).enumerate() {
        assert!((tree - flat).abs() <= 2e-5 * size, "weight {index}: {tree} and {flat}");
    }
}

#[test]
fn a_branched_forest_is_its_rows() {
    let forest = support::sample_forest(75);
    for family in [Family::Llama, Family::Qwen2, Family::Qwen3] {
        check(&model(config(family), 21), &forest, 2);
    }
}

/// A root, four children and six children of each: one tree, so large that its attention is cut
/// into parts, and no path of it is.
fn wide_and_deep() -> Forest {
    let tokens = |stream: u64, count: u64| -> Vec<u32> {
        (0..count).map(|index| (unit(stream, index) * 75.0) as u32).collect()
    };
    let mut segments = vec![(None, tokens(1, 40))];
    for child in 0..4 {
        let parent = segments.len();
        segments.push((Some(0), tokens(10 + child, 20)));
        for leaf in 0..6 {
            segments.push((Some(parent), tokens(100 + 10 * child + leaf, 20)));
        }
    }
    Forest::new(&segments)
}

#[test]
fn a_tree_that_threads_share_is_its_rows() {
    check(&model(config(Family::Llama), 23), &wide_and_deep(), 2);
}

#[test]
fn threads_that_share_one_tree_or_one_row_change_no_bit() {
    let row = Forest::new(&[(None, (0..400).map(|index| index * 7 % 75).collect())]);
    let model = model(config(Family::Qwen3), 24);
    for forest in [wide_and_deep(), row] {
        let weight = weights(&forest);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
        let run = |threads| {
            let scores = forward(&mut Workspace::new(threads), &model, &forest);
            let gradient = bits(gradient(&model, &forest, &weight, threads));
            (bits(scores.logprob), bits(scores.entropy), gradient)
        };
        let one = run(1);
        for threads in [2, 7] {
            assert!(one == run(threads), "bits differ between 1 and {threads} threads");
        }
    }
}

prop_compose! {
    /// Up to nine segments; each hangs below an open ancestor of the one before, or is a root.
    fn random_forest()(
        steps in prop::collection::vec((0..4_usize, 1..40_usize), 1..9),
        seed in any::<u64>(),
    ) -> Forest {
        let mut segments: Vec<(Option<usize>, Vec<u32>)> = Vec::new();
        for (up, length) in steps {
            let mut parent = segments.len().checked_sub(1);
            for _ in 0..up {
                parent = parent.and_then(|at: usize| segments[at].0);
            }
            let stream = seed.wrapping_add(segments.len() as u64);
            let token = |index| (unit(stream, index) * 75.0) as u32;
            segments.push((parent, (0..length as u64).map(token).collect()));
        }
        Forest::new(&segments)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn random_forests_are_their_rows(forest in random_forest(), threads in 1..4_usize) {
        check(&model(config(Family::Llama), 22), &forest, threads);
    }
}

#[test]
fn a_second_backward_is_refused() {
    let model = model(config(Family::Llama), 1);
    let forest = support::sample_forest(75);
    let (row, target) = forest.predictions();
    let scored = Scored { row: &row, target: &target, temperature: 1.0 };
    let mut workspace = Workspace::new(1);
    let mut gradients = Gradients::zeros_like(&model);
    let seeds = vec![0.5; row.len()];
    workspace.forward(&model, &forest.packed(), &scored);
    let mut backward = || {
        let packed = forest.packed();
        workspace.backward(&model, &packed, &scored, &seeds, &seeds, &mut gradients);
    };
    backward();
    let second = std::panic::catch_unwind(std::panic::AssertUnwindSafe(backward));
    assert!(second.is_err(), "the activations of the forward are gone");
}
