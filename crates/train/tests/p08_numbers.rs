//! P8: numbers stay numbers. What is not finite is named before anything moved.

mod common;

use common::{learner, sampled, settings, state_bits};
use stepwell_methods::Objective;
use stepwell_methods::objective::clipped;
use stepwell_train::{Learner, Settings, TrainError};
use stepwell_tree::{Credit, Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop};

/// Plants a fault; the update must name `what` at `place` and leave every bit as it was.
fn refused(
    what: &str,
    place: &str,
    fault: impl FnOnce(&mut Learner, &mut [StepTree], &mut [Credit], &mut Settings),
) {
    let mut learner = learner(6, 2);
    // An update first, so that the optimizer holds moments that could be lost.
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let key = Key::new(1, Purpose::TaskOrder);
    learner.update(&forest, &credit, &settings(1e-3, 1.0), key).unwrap();
    let (mut forest, mut credit) = sampled(&learner, 1.0, 1);
    let mut settings = settings(1e-3, 1.0);
    fault(&mut learner, &mut forest, &mut credit, &mut settings);
    let before = state_bits(&learner);
    let error = learner.update(&forest, &credit, &settings, key).unwrap_err();
    let named = matches!(&error, TrainError::NotFinite { what: w, place: p, .. }
        if *w == what && p.contains(place));
    assert!(named, "expected {what} at {place}, got: {error:?}");
    assert!(error.to_string().contains("no weight was changed"), "{error}");
    assert_eq!(state_bits(&learner), before, "{what}");
}

fn first_trained(tree: &StepTree) -> usize {
    (0..tree.len()).find(|&i| tree.origin[i].is_policy()).unwrap()
}

#[test]
fn p08_what_is_not_finite_is_named_and_nothing_moves() {
    refused("log-prob", "step", |learner, _, _, _| {
        let mut model = learner.model().clone();
        let mut norm = vec![1.0; model.config().hidden];
        norm[3] = f32::NAN;
        model.set_parameter("model.norm.weight", &norm).unwrap();
        let state = learner.state();
        learner.restore(model, state).unwrap();
    });
    for broken in [f32::NAN, f32::NEG_INFINITY] {
        refused("behaviour log-prob", "step 1,", move |_, forest, _, _| {
            let at = forest[0].span[first_trained(&forest[0])].range().start;
            forest[0].logprob[at] = broken;
        });
    }
    for broken in [f64::INFINITY, f64::NAN, 1e300] {
        refused("credit", "step 1,", move |_, forest, credit, _| {
            credit[0].step[first_trained(&forest[0])] = Some(broken);
        });
    }
    refused("reference log-prob", "step", |_, forest, _, settings| {
        for tree in forest {
            let column = vec![f32::NAN; tree.token.len()];
            tree.token_column.insert("reference_logprob".to_owned(), column);
        }
        let kl = clipped::Kl { coefficient: 0.1, ..clipped::Kl::default() };
        settings.objective = Objective::Clipped(clipped::Config { kl, ..Default::default() });
    });
    refused("gradient", "parameters", |_, forest, credit, _| {
        credit[0].step[first_trained(&forest[0])] = Some(1e30);
    });
}

#[test]
fn p08_every_finite_credit_trains() {
    // The same harness with nothing wrong: what is refused above is refused for its fault.
    let mut learner = learner(6, 2);
    for (update, size) in [0.0, 1e-30, 1.0, 1e9].into_iter().enumerate() {
        let (forest, mut credit) = sampled(&learner, 1.0, update as u64);
        for step in credit.iter_mut().flat_map(|credit| credit.step.iter_mut().flatten()) {
            *step *= size;
        }
        let key = Key::new(1, Purpose::TaskOrder);
        let report = learner.update(&forest, &credit, &settings(1e-3, 1.0), key).unwrap();
        assert!(report.loss.is_finite() && report.gradient_norm.is_finite());
        assert_eq!(learner.model().non_finite(), None);
    }
    assert_eq!(learner.version(), PolicyVersion(4));
}

#[test]
#[should_panic(expected = "a log-prob is not finite")]
fn p08_no_tree_holds_a_log_prob_that_is_nan() {
    let task = stepwell_tree::TaskHash([0; 32]);
    let mut tree = StepTree::new(task, &[1, 2]);
    tree.push(NewStep {
        parent: StepId::ROOT,
        child_index: 0,
        origin: Origin::Policy(PolicyVersion(0)),
        stop: Stop::Length,
        token: &[3],
        logprob: &[f32::NAN],
    });
}
