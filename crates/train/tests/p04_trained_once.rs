//! P4: every sampled token is trained exactly once and nothing else is: the packed tree's gradient
//! is that of its paths computed one by one, each shared token owned by the first (INV-3).

mod common;

use std::collections::BTreeSet;

use common::{learner, sampled, settings};
use stepwell_methods::{Batch, token_weights};
use stepwell_model::{Gradients, Workspace};
use stepwell_train::{Learner, micro_batches};
use stepwell_tree::{Credit, Key, NewStep, Origin, Purpose, StepId, StepTree, leaves, path_to};

type Weights = Vec<Vec<f64>>;

/// Loss and gradients of trees with these weights.
fn gradients(
    learner: &Learner,
    (trees, credit, weight): (&[StepTree], &[Credit], &Weights),
    tokens_max: usize,
) -> (f64, usize, Gradients) {
    let mut sum = Gradients::zeros_like(learner.model());
    let (mut loss, mut trained) = (0.0, 0);
    let mut workspace = Workspace::new(2);
    // Away from where it was sampled, so that ratios differ from 1.
    let temperature = 0.9;
    for batch in micro_batches(trees, credit, weight, tokens_max) {
        let (packed, scored) = (batch.packed(), batch.scored(temperature));
        let scores = workspace.forward(learner.model(), &packed, &scored);
        let got = settings(0.0, temperature).objective.objective(&Batch {
            logprob: &scores.logprob,
            entropy: &scores.entropy,
            behaviour: &batch.behaviour,
            credit: &batch.credit,
            weight: &batch.weight,
            ..Batch::default()
        });
        loss += got.value;
        trained += batch.weight.iter().filter(|weight| **weight != 0.0).count();
        let (logprob, entropy) = (&got.d_logprob, &got.d_entropy);
        workspace.backward(learner.model(), &packed, &scored, logprob, entropy, &mut sum);
    }
    (loss, trained, sum)
}

/// Every root-to-leaf path as its own tree; a step is trained by the first path that contains it.
fn flat(
    forest: &[StepTree],
    credit: &[Credit],
    weight: &Weights,
) -> (Vec<StepTree>, Vec<Credit>, Weights) {
    let mut out = (Vec::new(), Vec::new(), Vec::new());
    for ((tree, credit), weight) in forest.iter().zip(credit).zip(weight) {
        let mut owned = BTreeSet::new();
        for leaf in leaves(tree) {
            let mut path = StepTree::new(tree.task, tree.tokens(StepId::ROOT));
            let mut own = Credit::none(1);
            let mut factor = vec![0.0; path.token.len()];
            for step in path_to(tree, leaf).into_iter().skip(1) {
                let i = step.index();
                let sampled = tree.origin[i].is_policy();
                path.push(NewStep {
                    parent: StepId(path.len() as u32 - 1),
                    child_index: 0,
                    origin: tree.origin[i],
                    stop: tree.stop[i],
                    token: tree.tokens(step),
                    logprob: if sampled { tree.logprobs(step) } else { &[] },
                });
                let first = owned.insert(step);
                own.step.push(credit.step[i].filter(|_| first));
                factor.extend_from_slice(&weight[tree.span[i].range()]);
            }
            out.0.push(path);
            out.1.push(own);
            out.2.push(factor);
        }
    }
    out
}

fn assert_close(learner: &Learner, got: &Gradients, expected: &Gradients) {
    let norm = expected.norm();
    assert!(norm > 1e-4, "no gradient to compare: {norm}");
    for parameter in learner.model().parameters() {
        let name = parameter.name();
        let (got, expected) =
            (got.to_row_major(name).unwrap(), expected.to_row_major(name).unwrap());
        for (got, expected) in got.iter().zip(&expected) {
            let error = f64::from((got - expected).abs());
            assert!(error < 2e-6 * norm, "{name}: {got} {expected} of {norm}");
        }
    }
}

fn example() -> (Learner, Vec<StepTree>, Vec<Credit>, Weights) {
    let learner = learner(3, 2);
    let (forest, mut credit) = sampled(&learner, 1.0, 0);
    // One branch was never judged: it trains nowhere.
    let unjudged = leaves(&forest[0])[1];
    credit[0].step[unjudged.index()] = None;
    let aggregation = settings(0.0, 1.0).objective.aggregation();
    let weight = token_weights(&forest, &credit, aggregation, 6);
    (learner, forest, credit, weight)
}

#[test]
fn p04_the_tree_is_its_paths_with_shared_tokens_once() {
    let (learner, forest, credit, weight) = example();
    let (loss, trained, tree) = gradients(&learner, (&forest, &credit, &weight), 100_000);
    let with_credit = |(tree, credit): (&StepTree, &Credit)| -> usize {
        let own = tree.span.iter().zip(&credit.step);
        own.filter(|(_, c)| c.is_some()).map(|(span, _)| span.len()).sum()
    };
    let sampled: usize = forest.iter().zip(&credit).map(with_credit).sum();
    assert_eq!(trained, sampled, "INV-3");
    let (paths, own, factor) = flat(&forest, &credit, &weight);
    assert!(paths.len() == 36 && paths.iter().all(|path| leaves(path).len() == 1));
    let (flat_loss, flat_trained, rows) = gradients(&learner, (&paths, &own, &factor), 100_000);
    assert_eq!(flat_trained, sampled);
    assert!((loss - flat_loss).abs() < 1e-9, "{loss} {flat_loss}");
    assert_close(&learner, &tree, &rows);
    // The comparison has power: a shared step trained by every path is another gradient.
    let twice: Vec<Credit> = paths
        .iter()
        .map(|path| Credit {
            step: path.origin.iter().map(|o| o.is_policy().then_some(0.5)).collect(),
            token: None,
        })
        .collect();
    let (_, more, _) = gradients(&learner, (&paths, &twice, &factor), 100_000);
    assert!(more > sampled);
}

#[test]
fn p04_splitting_changes_no_gradient() {
    let (learner, forest, credit, weight) = example();
    let whole = gradients(&learner, (&forest, &credit, &weight), 100_000);
    for tokens_max in [64, 1] {
        let split = gradients(&learner, (&forest, &credit, &weight), tokens_max);
        assert!((whole.0 - split.0).abs() < 1e-9);
        assert_eq!(whole.1, split.1);
        assert_close(&learner, &split.2, &whole.2);
    }
    // Siblings in another order, and so another arena: the same tokens, the same gradient.
    let aggregation = settings(0.0, 1.0).objective.aggregation();
    let turned: Vec<(StepTree, Credit)> = forest.iter().zip(&credit).map(turn).collect();
    let (forest, credit): (Vec<StepTree>, Vec<Credit>) = turned.into_iter().unzip();
    let weight = token_weights(&forest, &credit, aggregation, 6);
    let (loss, trained, got) = gradients(&learner, (&forest, &credit, &weight), 100_000);
    assert!((whole.0 - loss).abs() < 1e-9 && whole.1 == trained);
    assert_close(&learner, &got, &whole.2);
}

/// The same tree with every decision's children in reverse.
fn turn((tree, credit): (&StepTree, &Credit)) -> (StepTree, Credit) {
    let mut turned = tree.clone();
    turned.child_index.iter_mut().for_each(|index| *index = 9 - *index);
    let order = turned.depth_first();
    let step = order.iter().map(|old| credit.step[old.index()]).collect();
    (turned.canonical(), Credit { step, token: None })
}

#[test]
fn p04_prompt_and_observation_carry_no_gradient_of_their_own() {
    let (learner, forest, credit, mut weight) = example();
    let expected = gradients(&learner, (&forest, &credit, &weight), 100_000);
    // Weights, log-probs and columns of what the policy did not write are not read.
    let mut other = forest.clone();
    for (tree, weight) in other.iter_mut().zip(&mut weight) {
        for i in (0..tree.len()).filter(|&i| !tree.origin[i].is_policy()) {
            weight[tree.span[i].range()].fill(1e6);
            tree.logprob[tree.span[i].range()].fill(f32::NAN);
        }
    }
    let got = gradients(&learner, (&other, &credit, &weight), 100_000);
    assert_eq!((got.0, got.1), (expected.0, expected.1));
    for parameter in learner.model().parameters() {
        let name = parameter.name();
        assert_eq!(got.2.to_row_major(name), expected.2.to_row_major(name), "{name}");
    }
    // Where nothing has credit nothing is computed, and no optimizer step is taken.
    let none: Vec<Credit> = forest.iter().map(|tree| Credit::none(tree.len())).collect();
    let (mut idle, before) = (common::learner(3, 2), learner.model().checksum());
    let key = Key::new(1, Purpose::TaskOrder);
    let report = idle.update(&forest, &none, &settings(0.1, 1.0), key).unwrap();
    assert_eq!((report.optimizer_steps, report.computed_tokens), (0, 0));
    assert_eq!((idle.model().checksum(), idle.version().0), (before, 0));
}

#[test]
fn p04_threads_change_no_bit_of_the_weights() {
    let mut ends = Vec::new();
    for threads in [1, 2, 7] {
        let mut learner = learner(4, threads);
        for update in 0..4 {
            let (forest, credit) = sampled(&learner, 1.0, update);
            let settings = stepwell_train::Settings {
                epochs: 2,
                minibatches: 2,
                tokens_max: 150,
                ..settings(0.01, 1.0)
            };
            let key = Key::new(update, Purpose::TaskOrder);
            learner.update(&forest, &credit, &settings, key).unwrap();
        }
        ends.push(common::state_bits(&learner));
    }
    assert_eq!(ends[0].1, 16, "two passes of two steps, four times");
    assert!(ends.iter().all(|end| *end == ends[0]));
}

/// What the data marks may be an observation (DECISIONS 7); of what was sampled nothing trains but
/// the policy's own words.
#[test]
fn p04_an_observation_trains_where_data_marks_it_and_is_refused_on_policy() {
    let (mut learner, forest, mut credit, _) = example();
    let seen = |tree: &StepTree| {
        let at = |i: &usize| tree.origin[*i] == Origin::Environment && !tree.span[*i].is_empty();
        (1..tree.len()).find(at).unwrap()
    };
    let step = seen(&forest[1]);
    credit[1].step[step] = Some(0.5);
    let key = Key::new(1, Purpose::TaskOrder);
    let before = common::state_bits(&learner);
    let error = learner.update(&forest, &credit, &settings(0.01, 1.0), key).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("tree 1 (task ") && text.contains(&format!("step {step}")), "{text}");
    assert!(text.contains("a step of origin Environment trains"), "{text}");
    assert_eq!(common::state_bits(&learner), before);
    let marked = stepwell_train::Settings { on_policy: false, ..settings(0.01, 1.0) };
    learner.update(&forest, &credit, &marked, key).unwrap();
    // A prompt never does.
    credit[1].step[0] = Some(0.5);
    let error = learner.update(&forest, &credit, &marked, key).unwrap_err().to_string();
    assert!(error.contains("a step of origin Prompt trains"), "{error}");
}
