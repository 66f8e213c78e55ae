//! Every objective's gradient against central differences of its own loss, and what the clip, the
//! KL estimators and micro-batches promise.
//!
//! Inputs are f32, but each is moved by an exact power of two and the loss is f64, so a difference
//! of two losses has the precision of f64.

use stepwell_methods::objective::clipped::{Config, Estimator, Kl};
use stepwell_methods::objective::{
    Level, Part, RowSequence, adaptive_clip, cispo, cross_entropy, gmpo, gspo, policy_gradient,
    surrogate, una,
};
use stepwell_methods::{Aggregation, Batch, Loss, Objective, Streams};

/// Exact in f32 for numbers of at most 13 binary places and size below 2.
const H: f32 = 1.0 / 1024.0;

struct Columns {
    logprob: Vec<f32>,
    entropy: Vec<f32>,
    behaviour: Vec<f32>,
    reference: Vec<f32>,
    credit: Vec<f32>,
    weight: Vec<f64>,
    clip_high: Vec<f32>,
}

impl Columns {
    /// Ratios from 0.37 to 4.5 under credits of both signs and 0, none on a kink.
    fn example() -> Columns {
        let steps = [-1.0f32, -0.5, -0.125, 0.0, 0.125, 0.5, 1.5];
        let credits = [-1.5f32, -0.25, 0.0, 0.75];
        let rows = steps.len() * credits.len();
        let behaviour: Vec<f32> = (0..rows).map(|i| -1.75 + 0.0625 * (i % 5) as f32).collect();
        Columns {
            logprob: (0..rows).map(|i| behaviour[i] + steps[i % steps.len()]).collect(),
            entropy: (0..rows).map(|i| 0.25 + 0.125 * (i % 7) as f32).collect(),
            reference: (0..rows).map(|i| -1.0 - 0.25 * (i % 3) as f32).collect(),
            credit: (0..rows).map(|i| credits[i / steps.len()]).collect(),
            weight: (0..rows)
                .map(|i| if i % 9 == 8 { 0.0 } else { 0.01 * (1 + i) as f64 })
                .collect(),
            clip_high: (0..rows).map(|i| 0.2 + 0.1 * (i % 3) as f32).collect(),
            behaviour,
        }
    }

    fn loss(&self, objective: &Objective, rows: std::ops::Range<usize>) -> Loss {
        objective.objective(&Batch {
            logprob: &self.logprob[rows.clone()],
            entropy: &self.entropy[rows.clone()],
            behaviour: &self.behaviour[rows.clone()],
            reference: Some(&self.reference[rows.clone()]),
            credit: &self.credit[rows.clone()],
            weight: &self.weight[rows.clone()],
            sequence: &alone(rows.len()),
            streams: Streams { column: [(adaptive_clip::CLIP_HIGH, &self.clip_high[rows])].into() },
        })
    }

    fn all(&self, objective: &Objective) -> Loss {
        self.loss(objective, 0..self.logprob.len())
    }
}

/// Every row a sequence of its own: what a ratio of sequences is then, a token's ratio is too.
/// Longer sequences are in tests/sequences.rs.
fn alone(rows: usize) -> Vec<RowSequence> {
    (0..rows).map(|i| vec![Part { of: i..i + 1, share: 1.0 }]).collect()
}

fn objectives() -> Vec<Objective> {
    let plain = Config::default();
    let kl = |estimator, coefficient| Kl { estimator, coefficient };
    let wide = Config { clip_low: 1.0, clip_high: 1e6, ..plain };
    vec![
        Objective::CrossEntropy(cross_entropy::Config::default()),
        Objective::Clipped(plain),
        Objective::Clipped(wide),
        Objective::Clipped(Config { dual_clip: Some(3.0), entropy_bonus: 0.01, ..plain }),
        Objective::Clipped(Config { kl: kl(Estimator::K1, 0.5), ..plain }),
        Objective::Clipped(Config { kl: kl(Estimator::K2, 0.5), clip_high: 0.28, ..plain }),
        Objective::Clipped(Config { kl: kl(Estimator::K3, 0.5), entropy_bonus: 0.2, ..plain }),
        Objective::Clipped(Config { log_ratio_max: 0.75, kl: kl(Estimator::K3, 0.5), ..wide }),
        Objective::Gspo(gspo::Config { clip_low: 0.2, clip_high: 0.2, ..Default::default() }),
        Objective::Gspo(gspo::Config {
            kl: kl(Estimator::K2, 0.5),
            entropy_bonus: 0.2,
            level: Level::Sequence,
            clip_low: 0.3,
            clip_high: 0.25,
            ..Default::default()
        }),
        Objective::Gmpo(gmpo::Config { kl: kl(Estimator::K3, 0.5), ..Default::default() }),
        Objective::AdaptiveClip(adaptive_clip::Config {
            kl: kl(Estimator::K3, 0.5),
            entropy_bonus: 0.2,
            ..Default::default()
        }),
        Objective::PolicyGradient(policy_gradient::Config::default()),
        Objective::PolicyGradient(policy_gradient::Config {
            kl: kl(Estimator::K2, 0.5),
            ..Default::default()
        }),
        Objective::Surrogate(surrogate::Config {
            kl: kl(Estimator::K3, 0.5),
            entropy_bonus: 0.2,
            ..Default::default()
        }),
        Objective::Surrogate(surrogate::Config { log_ratio_max: 0.75, ..Default::default() }),
        Objective::Una(una::Config { beta: 0.5, ..Default::default() }),
    ]
}

/// The gradient of CISPO is not that of its value: its weights are numbers.
fn with_stopped_gradients() -> Vec<Objective> {
    let kl = Kl { estimator: Estimator::K3, coefficient: 0.5 };
    let bound = cispo::Config { clip_low: 0.2, clip_high: 0.3, ..Default::default() };
    let mut all = objectives();
    all.push(Objective::Cispo(bound));
    all.push(Objective::Cispo(cispo::Config { kl, entropy_bonus: 0.2, ..Default::default() }));
    all
}

#[test]
fn gradients_are_those_of_the_loss() {
    for objective in objectives() {
        let mut columns = Columns::example();
        let loss = columns.all(&objective);
        for i in 0..columns.logprob.len() {
            let at = columns.logprob[i];
            // Fourth-order differences: the error is that of the sixth decimal of h⁴.
            let mut shifted = |by: f32| {
                columns.logprob[i] = at + by;
                let value = columns.all(&objective).value;
                columns.logprob[i] = at;
                value
            };
            let near = shifted(H) - shifted(-H);
            let far = shifted(2.0 * H) - shifted(-2.0 * H);
            let expected = (8.0 * near - far) / (12.0 * f64::from(H));
            let got = f64::from(loss.d_logprob[i]);
            let tolerance = 1e-7 + 2e-7 * expected.abs();
            assert!((got - expected).abs() < tolerance, "{objective:?} {i}: {got} {expected}");

            let at = columns.entropy[i];
            let mut shifted = |by: f32| {
                columns.entropy[i] = at + by;
                let value = columns.all(&objective).value;
                columns.entropy[i] = at;
                value
            };
            let expected = (shifted(H) - shifted(-H)) / (2.0 * f64::from(H));
            let got = f64::from(loss.d_entropy[i]);
            assert!((got - expected).abs() < 1e-8, "{objective:?} {i}: {got} {expected}");
        }
    }
}

#[test]
fn splitting_in_micro_batches_changes_nothing() {
    for objective in with_stopped_gradients() {
        let columns = Columns::example();
        let whole = columns.all(&objective);
        for cut in [1, 7, 14, 27] {
            let first = columns.loss(&objective, 0..cut);
            let second = columns.loss(&objective, cut..columns.logprob.len());
            assert!((first.value + second.value - whole.value).abs() < 1e-12);
            assert_eq!([first.d_logprob, second.d_logprob].concat(), whole.d_logprob);
            assert_eq!([first.d_entropy, second.d_entropy].concat(), whole.d_entropy);
            let mut diagnostics = first.diagnostics;
            diagnostics.merge(&second.diagnostics);
            assert_eq!(diagnostics.tokens, whole.diagnostics.tokens);
            for (a, b) in diagnostics.metrics().iter().zip(whole.diagnostics.metrics()) {
                assert!(a.0 == b.0 && (a.1 - b.1).abs() < 1e-12, "{a:?} {b:?}");
            }
        }
    }
}

#[test]
fn a_row_of_weight_zero_is_not_read() {
    for objective in with_stopped_gradients() {
        let mut columns = Columns::example();
        let whole = columns.all(&objective);
        for i in (0..columns.logprob.len()).filter(|i| i % 9 == 8) {
            columns.logprob[i] = f32::NAN;
            columns.credit[i] = f32::INFINITY;
            assert_eq!((whole.d_logprob[i].to_bits(), whole.d_entropy[i].to_bits()), (0, 0));
        }
        let poisoned = columns.all(&objective);
        assert_eq!(poisoned, whole, "{objective:?}");
    }
}

/// Loss and gradient of one token under a ratio.
fn one(config: Config, credit: f32, ratio: f64) -> Loss {
    let objective = Objective::Clipped(config);
    objective.objective(&Batch {
        logprob: &[ratio.ln() as f32],
        behaviour: &[0.0],
        credit: &[credit],
        weight: &[1.0],
        ..Batch::default()
    })
}

#[test]
fn a_bound_binds_only_where_credit_pushes_past_it() {
    let config = Config { clip_low: 0.2, clip_high: 0.28, ..Config::default() };
    // credit, ratio, loss, gradient, (low, high)
    let table = [
        (1.0, 0.5, -0.5, -0.5, (0, 0)),
        (1.0, 1.25, -1.25, -1.25, (0, 0)),
        (1.0, 1.5, -1.28, 0.0, (0, 1)),
        (-1.0, 1.5, 1.5, 1.5, (0, 0)),
        (-1.0, 0.9, 0.9, 0.9, (0, 0)),
        (-1.0, 0.5, 0.8, 0.0, (1, 0)),
        (0.0, 9.0, 0.0, 0.0, (0, 0)),
    ];
    for (credit, ratio, value, gradient, clipped) in table {
        let loss = one(config, credit, ratio);
        assert!((loss.value - value).abs() < 1e-6, "{credit} {ratio}: {}", loss.value);
        assert!((f64::from(loss.d_logprob[0]) - gradient).abs() < 1e-6, "{credit} {ratio}");
        let got = (loss.diagnostics.clipped_low, loss.diagnostics.clipped_high);
        assert_eq!(got, clipped, "{credit} {ratio}");
    }
}

#[test]
fn the_dual_clip_bounds_what_negative_credit_can_do() {
    let config = Config { dual_clip: Some(3.0), ..Config::default() };
    let bound = one(config, -2.0, 5.0);
    assert!((bound.value - 6.0).abs() < 1e-6);
    assert_eq!((bound.d_logprob[0], bound.diagnostics.clipped_dual), (0.0, 1));
    assert!((one(config, -2.0, 2.5).value - 5.0).abs() < 1e-6);
    assert!((one(Config::default(), -2.0, 5.0).value - 10.0).abs() < 1e-5);
}

#[test]
fn a_ratio_too_large_for_an_exponential_is_bounded_and_has_no_gradient() {
    let loss = one(Config::default(), -1.0, 1e30);
    assert!((loss.value - 20f64.exp()).abs() < 1.0);
    assert_eq!(loss.d_logprob, [0.0]);
}

#[test]
fn on_the_policy_that_sampled_it_is_the_policy_gradient() {
    let mut columns = Columns::example();
    columns.logprob = columns.behaviour.clone();
    for objective in [
        Objective::Clipped(Config::default()),
        Objective::Gspo(gspo::Config::default()),
        Objective::Gmpo(gmpo::Config::default()),
        Objective::Cispo(cispo::Config::default()),
        Objective::AdaptiveClip(adaptive_clip::Config::default()),
        Objective::PolicyGradient(policy_gradient::Config::default()),
        Objective::Surrogate(surrogate::Config::default()),
    ] {
        let loss = columns.all(&objective);
        for i in 0..columns.logprob.len() {
            let expected = (-columns.weight[i] * f64::from(columns.credit[i])) as f32;
            assert_eq!(loss.d_logprob[i], expected, "{objective:?}, row {i}");
        }
        let seen = loss.diagnostics;
        assert_eq!((seen.ratio_max, seen.ratio_sum), (1.0, seen.tokens as f64));
        assert_eq!((seen.clipped_low, seen.clipped_high, seen.drift_sum), (0, 0, 0.0));
    }
}

#[test]
fn one_bound_for_all_is_the_clipped_surrogate() {
    // eag_rl.md, section 10, 3: eps_min = eps_max is clip-higher with that value.
    let mut columns = Columns::example();
    columns.clip_high.fill(0.125);
    let adaptive = columns.all(&Objective::AdaptiveClip(adaptive_clip::Config::default()));
    let fixed = Config { clip_high: 0.125, ..Config::default() };
    assert_eq!(adaptive, columns.all(&Objective::Clipped(fixed)));
    // A bound above is irrelevant where credit does not push up.
    let before = adaptive.d_logprob.clone();
    columns.clip_high.fill(0.4);
    let after = columns.all(&Objective::AdaptiveClip(adaptive_clip::Config::default())).d_logprob;
    for (i, credit) in columns.credit.iter().enumerate() {
        assert!(*credit > 0.0 || before[i] == after[i], "row {i}");
    }
    assert_ne!(before, after);
}

#[test]
fn sequences_of_one_token_are_clipped_tokens() {
    let columns = Columns::example();
    let (low, high) = (0.2, 0.28);
    let clipped = Config { clip_low: low, clip_high: high, ..Config::default() };
    let gspo = gspo::Config { clip_low: low, clip_high: high, ..Default::default() };
    let expected = columns.all(&Objective::Clipped(clipped));
    assert_eq!(columns.all(&Objective::Gspo(gspo)), expected);
    let gmpo = gmpo::Config {
        clip_low: -(1.0f64 - low).ln(),
        clip_high: (1.0f64 + high).ln(),
        ..Default::default()
    };
    let got = columns.all(&Objective::Gmpo(gmpo));
    assert!((got.value - expected.value).abs() < 1e-12);
    for (got, expected) in got.d_logprob.iter().zip(&expected.d_logprob) {
        assert!((got - expected).abs() < 1e-9, "{got} {expected}");
    }
}

#[test]
fn cispo_is_the_gradient_of_log_probs_under_fixed_weights() {
    // Against differences of Σ w·(−clip(ρ₀)·A·log π), ρ₀ frozen where the gradient is taken.
    let columns = Columns::example();
    let config = cispo::Config { clip_low: 0.2, clip_high: 0.3, ..Default::default() };
    let loss = columns.all(&Objective::Cispo(config));
    for i in 0..columns.logprob.len() {
        let at = f64::from(columns.logprob[i]);
        let ratio = (at - f64::from(columns.behaviour[i])).exp().clamp(0.8, 1.3);
        let factor = -columns.weight[i] * ratio * f64::from(columns.credit[i]);
        let h = 1.0 / 1024.0;
        let expected = (factor * (at + h) - factor * (at - h)) / (2.0 * h);
        let got = f64::from(loss.d_logprob[i]);
        assert!((got - expected).abs() < 1e-7 + 1e-7 * expected.abs(), "{i}: {got} {expected}");
    }
    // No token with credit and weight is silent.
    for i in 0..columns.logprob.len() {
        let silent = columns.credit[i] == 0.0 || columns.weight[i] == 0.0;
        assert_eq!(loss.d_logprob[i] == 0.0, silent, "row {i}");
    }
}

#[test]
fn a_bound_too_wide_to_bind_is_the_surrogate() {
    let columns = Columns::example();
    let wide = Config { clip_low: 1.0, clip_high: 1e6, ..Config::default() };
    let surrogate = columns.all(&Objective::Surrogate(surrogate::Config::default()));
    assert_eq!(surrogate, columns.all(&Objective::Clipped(wide)));
    // The policy gradient does not ask by which weights a token was sampled.
    let objective = Objective::PolicyGradient(policy_gradient::Config::default());
    let mut other = Columns::example();
    other.behaviour.iter_mut().for_each(|lp| *lp -= 0.5);
    assert_eq!(columns.all(&objective).d_logprob, other.all(&objective).d_logprob);
}

/// Value and gradient of the KL term alone.
fn kl(estimator: Estimator, logprob: f32, reference: f32) -> (f64, f64) {
    let kl = Kl { estimator, coefficient: 1.0 };
    let objective = Objective::Clipped(Config { kl, ..Config::default() });
    let loss = objective.objective(&Batch {
        logprob: &[logprob],
        behaviour: &[logprob],
        reference: Some(&[reference]),
        credit: &[0.0],
        weight: &[1.0],
        ..Batch::default()
    });
    (loss.value, f64::from(loss.d_logprob[0]))
}

#[test]
fn the_fixtures_of_the_kl_estimators() {
    // primitives.md, sections 5 and 12.
    let (value, gradient) = kl(Estimator::K3, -1.0, -1.5);
    assert!((value - 0.10653).abs() < 5e-6 && (gradient - 0.39347).abs() < 5e-6);
    assert!((kl(Estimator::K3, -1.0, -0.5).0 - 0.14872).abs() < 5e-6);
    assert_eq!(kl(Estimator::K1, -1.0, -1.5), (0.5, 1.0));
    assert_eq!(kl(Estimator::K2, -1.0, -1.5), (0.125, 0.5));
    assert_eq!(kl(Estimator::K3, -0.75, -0.75), (0.0, 0.0));
    for d in 1..40 {
        for sign in [-1.0, 1.0] {
            assert!(kl(Estimator::K3, -2.0, -2.0 + sign * 0.125 * d as f32).0 > 0.0);
        }
    }
}

#[test]
fn what_the_kl_estimators_are_in_expectation() {
    // Enumeration over three tokens. In value k1 and k3 are the KL; as gradients of the loss only
    // k2 is the KL's, k1 has none, and k3's is that of KL(reference ‖ π) (DECISIONS 18).
    let p = [0.5f64, 0.3, 0.2];
    let q = [0.2f64, 0.2, 0.6];
    let exact: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
    let mean = |estimator: Estimator| {
        let mut value = 0.0;
        let mut gradient = [0.0; 3];
        for y in 0..3 {
            let (v, d) = kl(estimator, p[y].ln() as f32, q[y].ln() as f32);
            value += p[y] * v;
            for (k, g) in gradient.iter_mut().enumerate() {
                *g += p[y] * d * (if k == y { 1.0 } else { 0.0 } - p[k]);
            }
        }
        (value, gradient)
    };
    assert!((mean(Estimator::K1).0 - exact).abs() < 1e-6);
    assert!((mean(Estimator::K3).0 - exact).abs() < 1e-6);
    for k in 0..3 {
        let of_kl = p[k] * ((p[k] / q[k]).ln() - exact);
        assert!((mean(Estimator::K2).1[k] - of_kl).abs() < 1e-6);
        assert!(mean(Estimator::K1).1[k].abs() < 1e-6);
        assert!((mean(Estimator::K3).1[k] - (p[k] - q[k])).abs() < 1e-6);
    }
}

#[test]
fn the_aggregation_is_named_by_the_objective() {
    let aggregation = Aggregation::SequenceMeanTokenMean;
    let objective = Objective::Clipped(Config { aggregation, ..Config::default() });
    assert_eq!(objective.aggregation(), aggregation);
    assert_eq!(objective.needs().token_columns, [""; 0]);
    let kl = Kl { coefficient: 0.1, ..Kl::default() };
    let objective = Objective::Clipped(Config { kl, entropy_bonus: 0.1, ..Config::default() });
    assert_eq!(objective.needs().token_columns, ["reference_logprob"]);
    assert!(objective.reads_entropy());
}
