//! TRPO's step: it keeps its bound, it lowers the loss, and its length is what the Fisher matrix
//! says: the KL that comes out is the one that was asked for.

mod common;

use common::{learner, learner_in, sampled, settings, state_bits};
use stepwell_methods::Objective;
use stepwell_methods::objective::surrogate;
use stepwell_model::Precision;
use stepwell_train::{Settings, TrustRegion, TrustReport};
use stepwell_tree::Credit;

const REGION: TrustRegion =
    TrustRegion { delta: 0.01, iterations: 20, damping: 1e-3, backtrack: 0.8, tries: 10 };

fn unclipped() -> Settings {
    let config = surrogate::Config {
        aggregation: settings(0.0, 1.0).objective.aggregation(),
        ..surrogate::Config::default()
    };
    Settings { objective: Objective::Surrogate(config), ..settings(0.0, 1.0) }
}

type Bits = (u64, u64, u64, Vec<Vec<u32>>);

fn step(threads: usize, region: &TrustRegion) -> (TrustReport, Bits) {
    let mut learner = learner(4, threads);
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let (_, trust) = learner.update_within(&forest, &credit, &unclipped(), region).unwrap();
    (trust, state_bits(&learner))
}

#[test]
fn the_step_is_as_long_as_was_asked_for_and_lowers_the_loss() {
    // A quadratic bound is exact where steps are short.
    for delta in [1e-4, 1e-3, 1e-2] {
        let (trust, _) = step(1, &TrustRegion { delta, ..REGION });
        assert!(trust.taken && trust.improvement > 0.0, "{trust:?}");
        assert!(trust.kl <= delta && trust.kl > 0.3 * delta, "{delta}: {trust:?}");
    }
    let [short, long] = [1e-4, 1e-2].map(|delta| step(1, &TrustRegion { delta, ..REGION }).0);
    assert!(long.improvement > 3.0 * short.improvement, "{short:?} {long:?}");
}

#[test]
fn more_iterations_solve_better_and_improve_more_at_the_same_bound() {
    // The natural gradient is the best direction at equal KL; one iteration is the plain gradient.
    let with = |iterations| step(1, &TrustRegion { iterations, delta: 1e-3, ..REGION }).0;
    let (plain, natural) = (with(1), with(20));
    assert!(natural.residual < 0.2 * plain.residual, "{plain:?} {natural:?}");
    assert!(natural.improvement > 1.2 * plain.improvement, "{plain:?} {natural:?}");
}

#[test]
fn threads_change_no_bit() {
    let one = step(1, &REGION);
    assert!(one == step(2, &REGION) && one == step(3, &REGION));
}

#[test]
fn where_nothing_can_be_gained_nothing_moves() {
    let mut learner = learner(4, 1);
    let before = state_bits(&learner);
    let (forest, mut credit) = sampled(&learner, 1.0, 0);
    // No credit at all, then credit 0 everywhere.
    for number in [None, Some(0.0)] {
        for (own, tree) in credit.iter_mut().zip(&forest) {
            *own = Credit::none(tree.len());
            for (step, origin) in own.step.iter_mut().zip(&tree.origin) {
                *step = number.filter(|_| origin.is_policy());
            }
        }
        let (_, trust) = learner.update_within(&forest, &credit, &unclipped(), &REGION).unwrap();
        assert!(!trust.taken, "{trust:?}");
        assert_eq!(state_bits(&learner), before);
    }
    // A bound below what f32 can tell apart: every try fails, the weights are put back.
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let region = TrustRegion { delta: 1e-30, tries: 2, ..REGION };
    let (_, trust) = learner.update_within(&forest, &credit, &unclipped(), &region).unwrap();
    assert!(!trust.taken && trust.shortened == 2, "{trust:?}");
    assert_eq!(state_bits(&learner), before);
}

#[test]
fn weights_in_bf16_are_refused_and_stay() {
    let mut learner = learner_in(Precision::Bf16, 4, 1);
    let before = state_bits(&learner);
    let (forest, credit) = sampled(&learner, 1.0, 0);
    let said = learner.update_within(&forest, &credit, &unclipped(), &REGION).unwrap_err();
    assert!(said.to_string().contains("precision = \"f32\""), "{said}");
    assert_eq!(state_bits(&learner), before);
}
