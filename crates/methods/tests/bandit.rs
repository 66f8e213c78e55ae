//! Where methods lead on a problem that has an answer: one prompt, six answers of known reward, a
//! softmax policy, expectations by enumeration. With a KL to a reference the best policy is
//! pi* ∝ pi_ref·exp(r/β). What reaches it does so here; what provably does not is held to its own
//! fixed point (DECISIONS 18).

use stepwell_methods::credit::{gae, group_mean, leave_one_out, n_step, reinforce, reverse_kl};
use stepwell_methods::objective::value_loss::{self, Values, value_loss};
use stepwell_methods::objective::{
    Estimator, Kl, Part, RowSequence, adaptive_clip, cispo, clipped, gmpo, gspo, policy_gradient,
    surrogate, una,
};
use stepwell_methods::preference::{
    Answer, Pair, cdpo, dpo, ipo, kto, nca, orpo, robust_dpo, simpo,
};
use stepwell_methods::reward::kl_penalty;
use stepwell_methods::row::distill;
use stepwell_methods::{
    Batch, CreditConfig, Objective, PreferenceLoss, RewardConfig, Rewards, Row, RowObjective,
    Streams,
};
use stepwell_tree::{StepTree, parse};

const REFERENCE: [f64; 6] = [0.3, 0.05, 0.2, 0.15, 0.1, 0.2];
const REWARD: [f64; 6] = [0.0, 1.0, 0.25, 0.75, 0.5, 0.125];
const BETA: f64 = 0.5;

fn softmax(theta: &[f64]) -> Vec<f64> {
    let top = theta.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight: Vec<f64> = theta.iter().map(|t| (t - top).exp()).collect();
    let sum: f64 = weight.iter().sum();
    weight.iter().map(|w| w / sum).collect()
}

fn normalised(weight: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let weight: Vec<f64> = weight.into_iter().collect();
    let sum: f64 = weight.iter().sum();
    weight.iter().map(|w| w / sum).collect()
}

/// pi* for a reward and a β.
fn star(reward: &[f64], beta: f64) -> Vec<f64> {
    normalised(REFERENCE.iter().zip(reward).map(|(p, r)| p * (r / beta).exp()))
}

fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| if *p == 0.0 { 0.0 } else { p * (p / q).ln() }).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The root of a rising function.
fn root(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if f(middle) < 0.0 { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// One step down, given the derivative of the loss per log-probability of each answer.
fn step(theta: &mut [f64], d_logprob: &[f64], rate: f64) {
    let p = softmax(theta);
    let sum: f64 = d_logprob.iter().sum();
    for ((t, d), p) in theta.iter_mut().zip(d_logprob).zip(&p) {
        *t -= rate * (d - sum * p);
    }
}

fn at_reference() -> Vec<f64> {
    REFERENCE.iter().map(|p| p.ln()).collect()
}

/// Trains with a policy-gradient objective, four steps for every time that it samples. `credit` is
/// what an answer is worth under the policy that sampled.
fn improve(objective: &Objective, credit: impl Fn(&[f64], usize) -> f64) -> Vec<f64> {
    improve_by(objective, |p| (0..6).map(|y| credit(p, y)).collect())
}

/// The same with the credits of all answers at once, from a source that may learn.
fn improve_by(objective: &Objective, mut credit: impl FnMut(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let sequence: Vec<RowSequence> =
        (0..6).map(|i| vec![Part { of: i..i + 1, share: 1.0 }]).collect();
    let narrow = |x: Vec<f64>| x.iter().map(|x| *x as f32).collect::<Vec<f32>>();
    let log = |p: &[f64]| narrow(p.iter().map(|p| p.ln()).collect());
    let mut theta = at_reference();
    for _ in 0..4000 {
        let sampled = softmax(&theta);
        let own = narrow(credit(&sampled));
        for _ in 0..4 {
            let loss = objective.objective(&Batch {
                logprob: &log(&softmax(&theta)),
                behaviour: &log(&sampled),
                reference: Some(&log(&REFERENCE)),
                credit: &own,
                weight: &sampled,
                sequence: &sequence,
                streams: Streams {
                    column: [(adaptive_clip::CLIP_HIGH, &[0.2f32, 0.4, 0.3, 0.2, 0.3, 0.4][..])]
                        .into(),
                },
                ..Batch::default()
            });
            let gradient: Vec<f64> = loss.d_logprob.iter().map(|d| f64::from(*d)).collect();
            step(&mut theta, &gradient, 0.2);
        }
    }
    softmax(&theta)
}

/// GSPO under a clip as wide as the others': its own is passed by the first of four steps of this
/// size, and a KL in the loss, which nothing clips, would then pull three times more often.
fn objectives(kl: Kl) -> Vec<Objective> {
    let wide = gspo::Config { kl, clip_low: 0.2, clip_high: 0.2, ..Default::default() };
    vec![
        Objective::Clipped(clipped::Config { kl, ..Default::default() }),
        Objective::Gspo(wide),
        Objective::Gmpo(gmpo::Config { kl, ..Default::default() }),
        Objective::Cispo(cispo::Config { kl, ..Default::default() }),
        Objective::AdaptiveClip(adaptive_clip::Config { kl, ..Default::default() }),
        Objective::PolicyGradient(policy_gradient::Config {
            kl,
            entropy_bonus: 0.0,
            ..Default::default()
        }),
        Objective::Surrogate(surrogate::Config { kl, ..Default::default() }),
    ]
}

/// Reward less its mean under the policy.
fn plain(p: &[f64], y: usize) -> f64 {
    REWARD[y] - p.iter().zip(&REWARD).map(|(p, r)| p * r).sum::<f64>()
}

#[test]
fn every_objective_reaches_the_best_policy_with_kl_in_the_reward() {
    let penalised = |p: &[f64], y: usize| {
        let own = |y: usize| REWARD[y] - BETA * (p[y] / REFERENCE[y]).ln();
        own(y) - (0..6).map(|k| p[k] * own(k)).sum::<f64>()
    };
    for objective in objectives(Kl::default()) {
        let p = improve(&objective, penalised);
        let miss = kl(&p, &star(&REWARD, BETA));
        assert!(miss < 1e-6, "{}: {miss} {p:?}", objective.name());
    }
}

/// The tree in which every answer was given once, with the columns of the policy that gave them.
fn answers(p: &[f64], value: f64) -> [StepTree; 1] {
    let line = |y: usize| format!("{} 0 policy a r={}\n", y + 1, REWARD[y]);
    let mut tree = parse(&("0 - prompt q\n".to_owned() + &(0..6).map(line).collect::<String>()));
    let mut reference = vec![0.0];
    for (y, p) in p.iter().enumerate() {
        tree.logprob[y + 1] = p.ln() as f32;
        reference.push(REFERENCE[y].ln() as f32);
    }
    tree.token_column.insert("reference_logprob".to_owned(), reference);
    tree.token_column.insert("value".to_owned(), vec![value as f32; 7]);
    [tree]
}

#[test]
fn a_critic_and_kl_in_the_reward_of_every_token_reach_the_best_policy() {
    let gae = gae::Config { kl: BETA, whiten: false, ..Default::default() };
    let n_step = n_step::Config { kl: BETA, ..Default::default() };
    for method in [CreditConfig::Gae(gae), CreditConfig::NStep(n_step)] {
        for objective in objectives(Kl::default()) {
            let mut value = 0.0;
            let p = improve_by(&objective, |p| {
                let forest = answers(p, value);
                let rewards = RewardConfig::Outcome.reward(&forest);
                let target = method.value_targets(&forest, &rewards).unwrap().remove(0);
                let target: Vec<f32> = target[1..].iter().map(|x| *x as f32).collect();
                let values =
                    Values { value: &[value as f32; 6], behaviour: &[0.0; 6], target: &target };
                let loss = value_loss(&values, p, &value_loss::Config::default());
                value -= 0.2 * loss.d_value.iter().map(|d| f64::from(*d)).sum::<f64>();
                method.credit(&forest, &rewards)[0].token.as_ref().unwrap()[1..].to_vec()
            });
            let miss = kl(&p, &star(&REWARD, BETA));
            assert!(miss < 1e-6, "{} {}: {miss} {p:?}", method.name(), objective.name());
            // The best policy's value: β·log Z.
            let z = REFERENCE.iter().zip(&REWARD).map(|(p, r)| p * (r / BETA).exp()).sum::<f64>();
            assert!((value - BETA * z.ln()).abs() < 1e-3, "{value}");
        }
    }
}

#[test]
fn kl_in_the_reward_of_an_attempt_reaches_the_best_policy_without_a_critic() {
    let penalised = kl_penalty::Config { coefficient: BETA, of: Box::new(RewardConfig::Outcome) };
    let reward = RewardConfig::KlPenalty(penalised);
    let objective = Objective::PolicyGradient(policy_gradient::Config {
        entropy_bonus: 0.0,
        ..Default::default()
    });
    // An answer less the mean of others drawn from the same policy is, in the mean over them, the
    // answer less the policy's mean.
    let p = improve_by(&objective, |p| {
        let forest = answers(p, 0.0);
        let rewards = reward.reward(&forest);
        let own = CreditConfig::Reinforce(reinforce::Config::default()).credit(&forest, &rewards);
        own[0].step[1..].iter().map(|c| c.unwrap()).collect()
    });
    assert!(kl(&p, &star(&REWARD, BETA)) < 1e-6, "reinforce: {p:?}");
    let p = improve_by(&objective, |p| {
        let forest = answers(p, 0.0);
        let leaf = &reward.reward(&forest).leaf[0];
        // Each pair of answers as a tree of two attempts.
        let credit = |y: usize, other: usize| {
            let forest = [parse("0 - prompt q\n1 0 policy a r=0\n2 0 policy b r=0")];
            let rewards = Rewards::of_leaves(vec![vec![None, leaf[y + 1], leaf[other + 1]]]);
            CreditConfig::LeaveOneOut(leave_one_out::Config::default()).credit(&forest, &rewards)[0]
                .step[1]
                .unwrap()
        };
        (0..6).map(|y| (0..6).map(|other| p[other] * credit(y, other)).sum()).collect()
    });
    assert!(kl(&p, &star(&REWARD, BETA)) < 1e-6, "leave_one_out: {p:?}");
}

#[test]
fn a_student_that_answers_for_itself_reaches_its_teacher() {
    let teacher = star(&REWARD, 0.25);
    let method = CreditConfig::ReverseKl(reverse_kl::Config::default());
    let objective = Objective::PolicyGradient(policy_gradient::Config {
        entropy_bonus: 0.0,
        ..Default::default()
    });
    let p = improve_by(&objective, |p| {
        let mut forest = answers(p, 0.0);
        let column = std::iter::once(0.0).chain(teacher.iter().map(|q| q.ln() as f32)).collect();
        forest[0].token_column.insert("teacher_logprob".to_owned(), column);
        let rewards = RewardConfig::Outcome.reward(&forest);
        method.credit(&forest, &rewards)[0].token.as_ref().unwrap()[1..].to_vec()
    });
    assert!(kl(&p, &teacher) < 1e-6, "{p:?} {teacher:?}");
    // Whole rows reach it by any divergence.
    let logit: Vec<f32> = teacher.iter().map(|q| q.ln() as f32).collect();
    for beta in [0.0, 0.1, 0.5, 0.9, 1.0] {
        let objective = RowObjective::Distill(distill::Config { beta, temperature: 1.0 });
        let mut theta = at_reference();
        for _ in 0..6000 {
            let own: Vec<f32> = theta.iter().map(|t| *t as f32).collect();
            let row = Row { logit: &own, target: &logit, token: 0, weight: 2.0 };
            let d_logit = objective.row(&row).d_logit;
            theta.iter_mut().zip(&d_logit).for_each(|(t, d)| *t -= f64::from(*d));
        }
        let p = softmax(&theta);
        assert!(kl(&p, &teacher) < 1e-6, "{beta}: {p:?} {teacher:?}");
    }
}

#[test]
fn every_objective_reaches_the_best_policy_with_k2_in_the_loss() {
    for objective in objectives(Kl { estimator: Estimator::K2, coefficient: BETA }) {
        let p = improve(&objective, plain);
        let miss = kl(&p, &star(&REWARD, BETA));
        assert!(miss < 1e-6, "{}: {miss} {p:?}", objective.name());
    }
}

#[test]
fn k1_in_the_loss_does_not_hold_the_policy_and_k3_has_its_own_fixed_point() {
    // k3: pi = β·ref/(c − r), c such that it sums to 1.
    let k3 = |c: f64| REFERENCE.iter().zip(&REWARD).map(move |(p, r)| BETA * p / (c - r));
    let c = root(|c| 1.0 - k3(c).sum::<f64>(), 1.0 + 1e-9, 10.0);
    let expected: Vec<f64> = k3(c).collect();
    assert!(kl(&expected, &star(&REWARD, BETA)) > 1e-3, "the test has no power");
    for objective in objectives(Kl { estimator: Estimator::K3, coefficient: BETA }) {
        let p = improve(&objective, plain);
        assert!(kl(&p, &expected) < 1e-6, "{}: {p:?} {expected:?}", objective.name());
    }
    for objective in objectives(Kl { estimator: Estimator::K1, coefficient: BETA }) {
        let p = improve(&objective, plain);
        // The best answer has 5 % under the reference and 24 % under pi*.
        assert!(p[1] > 0.6, "{}: {p:?}", objective.name());
    }
}

#[test]
fn una_reaches_the_best_policy_on_its_own_attempts_though_it_leaves_log_z_out() {
    let mse = Objective::Una(una::Config { beta: BETA, ..Default::default() });
    // The raw score: what is missing is the same for all answers, a baseline of the policy's own
    // draws.
    let p = improve(&mse, |_, y| REWARD[y]);
    assert!(kl(&p, &star(&REWARD, BETA)) < 1e-6, "{p:?}");
}

#[test]
fn una_on_attempts_of_another_policy_needs_the_score_less_log_z() {
    let mse = Objective::Una(una::Config { beta: BETA, ..Default::default() });
    let weight = [1.0 / 6.0; 6];
    let sequence: Vec<RowSequence> =
        (0..6).map(|i| vec![Part { of: i..i + 1, share: 1.0 }]).collect();
    let regress = |score: [f64; 6]| {
        let mut theta = at_reference();
        for _ in 0..20_000 {
            let log = |p: &[f64]| p.iter().map(|p| p.ln() as f32).collect::<Vec<f32>>();
            let (now, reference) = (log(&softmax(&theta)), log(&REFERENCE));
            let loss = mse.objective(&Batch {
                logprob: &now,
                behaviour: &now,
                reference: Some(&reference),
                credit: &score.map(|s| s as f32),
                weight: &weight,
                sequence: &sequence,
                ..Batch::default()
            });
            let gradient: Vec<f64> = loss.d_logprob.iter().map(|d| f64::from(*d)).collect();
            step(&mut theta, &gradient, 0.5);
        }
        softmax(&theta)
    };
    let z: f64 = REFERENCE.iter().zip(&REWARD).map(|(p, r)| p * (r / BETA).exp()).sum();
    let p = regress(REWARD.map(|r| r - BETA * z.ln()));
    assert!(kl(&p, &star(&REWARD, BETA)) < 1e-9, "{p:?}");
    // The raw score ends elsewhere: where w·(u − z) is the same multiple of pi for every answer.
    let p = regress(REWARD);
    assert!(kl(&p, &star(&REWARD, BETA)) > 1e-3, "{p:?}");
    let multiple = |y: usize| (BETA * (p[y] / REFERENCE[y]).ln() - REWARD[y]) / (6.0 * p[y]);
    for y in 1..6 {
        assert!((multiple(y) - multiple(0)).abs() < 1e-4, "{y}: {} {}", multiple(y), multiple(0));
    }
}

#[test]
fn una_with_bce_has_its_own_fixed_point() {
    // σ(β·log π/π_ref) − z is one number c for all answers: π = ref·((z + c)/(1 − z − c))^(1/β).
    let chance = REWARD.map(|r| 0.2 + 0.5 * r);
    let at = |c: f64| {
        let odds = move |z: f64| ((z + c) / (1.0 - z - c)).powf(1.0 / BETA);
        REFERENCE.iter().zip(chance).map(move |(p, z)| p * odds(z))
    };
    let c = root(|c| at(c).sum::<f64>() - 1.0, -0.2 + 1e-9, 0.3 - 1e-9);
    let expected: Vec<f64> = at(c).collect();
    let config = una::Config { beta: BETA, distance: una::Distance::Bce, ..Default::default() };
    let p = improve(&Objective::Una(config), |_, y| chance[y]);
    assert!(kl(&p, &expected) < 1e-6, "{p:?} {expected:?}");
    assert!(kl(&p, &star(&chance, BETA)) > 1e-3, "the test has no power");
}

/// The mean credit of each answer where two are drawn, by a credit method's own numbers.
fn of_two(method: &CreditConfig) -> impl Fn(&[f64], usize) -> f64 {
    let mut table = [[0.0; 6]; 6];
    for (a, row) in table.iter_mut().enumerate() {
        for (b, credit) in row.iter_mut().enumerate() {
            let forest = [parse(&format!(
                "0 - prompt q\n1 0 policy a r={}\n2 0 policy b r={}",
                REWARD[a], REWARD[b]
            ))];
            let rewards = RewardConfig::Outcome.reward(&forest);
            *credit = method.credit(&forest, &rewards)[0].step[1].unwrap();
        }
    }
    move |p: &[f64], y: usize| (0..6).map(|other| p[other] * table[y][other]).sum()
}

#[test]
fn a_group_mean_that_holds_the_own_reward_asks_for_a_larger_beta() {
    let kl_term = Kl { estimator: Estimator::K2, coefficient: BETA };
    let objective = Objective::Clipped(clipped::Config { kl: kl_term, ..Default::default() });
    let group = |std| {
        let config = group_mean::Config { std, epsilon: 0.0, ..Default::default() };
        improve(&objective, of_two(&CreditConfig::GroupMean(config)))
    };
    // β·G/(G−1) with G = 2.
    let p = group(group_mean::Deviation::None);
    assert!(kl(&p, &star(&REWARD, 2.0 * BETA)) < 1e-6, "{p:?}");
    let other = CreditConfig::LeaveOneOut(leave_one_out::Config::default());
    let p = improve(&objective, of_two(&other));
    assert!(kl(&p, &star(&REWARD, BETA)) < 1e-6, "{p:?}");
    // Divided by the deviation, only the order of rewards counts: another point.
    let p = group(group_mean::Deviation::Unbiased);
    assert!(kl(&p, &star(&REWARD, BETA)) > 1e-3 && kl(&p, &star(&REWARD, 2.0 * BETA)) > 1e-3);
}

/// The chance that answer i is preferred to j: Bradley-Terry, a share of the labels flipped.
fn beats(reward: &[f64], i: usize, j: usize, flipped: f64) -> f64 {
    let clean = sigmoid(reward[i] - reward[j]);
    (1.0 - flipped) * clean + flipped * (1.0 - clean)
}

/// Trains on all pairs of the first `n` answers, drawn from `draw`, labels by `beats`.
fn prefer(
    loss: &PreferenceLoss,
    draw: &[f64],
    beats: impl Fn(usize, usize) -> f64,
    (rate, steps): (f64, usize),
) -> Vec<f64> {
    let reference = normalised(REFERENCE[..draw.len()].to_vec());
    let mut theta: Vec<f64> = reference.iter().map(|p| p.ln()).collect();
    for _ in 0..steps {
        let p = softmax(&theta);
        let answer =
            |i: usize| Answer { logprob: p[i].ln(), reference: reference[i].ln(), tokens: 1 };
        let mut gradient = vec![0.0; draw.len()];
        for i in 0..draw.len() {
            for j in 0..draw.len() {
                // Each unordered pair comes twice, once from either side.
                let weight = draw[i] * draw[j] * beats(i, j);
                let term = loss.loss(&Pair { chosen: answer(i), rejected: answer(j) }, 0.0);
                gradient[i] += weight * term.d_chosen;
                gradient[j] += weight * term.d_rejected;
            }
        }
        step(&mut theta, &gradient, rate);
    }
    softmax(&theta)
}

fn dpo() -> PreferenceLoss {
    PreferenceLoss::Dpo(dpo::Config { beta: BETA })
}

#[test]
fn dpo_reaches_the_best_policy_whatever_pairs_are_drawn() {
    for draw in [REFERENCE.to_vec(), vec![1.0 / 6.0; 6]] {
        let p = prefer(&dpo(), &draw, |i, j| beats(&REWARD, i, j, 0.0), (20.0, 20_000));
        assert!(kl(&p, &star(&REWARD, BETA)) < 1e-9, "{p:?}");
    }
}

#[test]
fn robust_dpo_reaches_it_through_flipped_labels_and_dpo_does_not() {
    let flipped = |i: usize, j: usize| beats(&REWARD, i, j, 0.1);
    let robust = robust_dpo::Config { beta: BETA, label_smoothing: 0.1 };
    let p = prefer(&PreferenceLoss::RobustDpo(robust), &REFERENCE, flipped, (20.0, 20_000));
    assert!(kl(&p, &star(&REWARD, BETA)) < 1e-9, "{p:?}");
    let p = prefer(&dpo(), &REFERENCE, flipped, (20.0, 20_000));
    assert!(kl(&p, &star(&REWARD, BETA)) > 1e-3, "{p:?}");
}

/// The first two answers only, the second preferred with this chance: its log-odds over the first,
/// less those of the reference where `against` is set.
fn of_two_answers(loss: &PreferenceLoss, chance: f64, against: bool) -> f64 {
    let chances = [[0.5, 1.0 - chance], [chance, 0.5]];
    // Pairs of an answer with itself say nothing: only the two mixed ones are drawn.
    let mixed = |i: usize, j: usize| if i == j { 0.0 } else { 4.0 * chances[i][j] };
    let p = prefer(loss, &[0.5, 0.5], mixed, (0.2, 50_000));
    let odds = (p[1] / p[0]).ln();
    if against { odds - (REFERENCE[1] / REFERENCE[0]).ln() } else { odds }
}

#[test]
fn cdpo_stops_where_its_own_noise_explains_the_labels() {
    for (chance, rate) in [(0.8, 0.1), (1.0, 0.1), (0.6, 0.3)] {
        let config = cdpo::Config { beta: BETA, label_smoothing: rate };
        let got = of_two_answers(&PreferenceLoss::Cdpo(config), chance, true);
        let seen: f64 = (1.0 - rate) * chance + rate * (1.0 - chance);
        let expected = (seen / (1.0 - seen)).ln() / BETA;
        assert!((got - expected).abs() < 1e-6, "{chance} {rate}: {got} {expected}");
    }
}

#[test]
fn ipo_has_the_margins_that_squares_ask_for() {
    // Least squares over all pairs: Δᵢ − mean Δ = mean over j of (2P(i beats j) − 1)/(2τ).
    let tau = 0.5;
    let loss = PreferenceLoss::Ipo(ipo::Config { tau, ..Default::default() });
    let p = prefer(&loss, &[1.0 / 6.0; 6], |i, j| beats(&REWARD, i, j, 0.0), (0.3, 20_000));
    let log_ratio = |i: usize| {
        let won = |j: usize| (2.0 * beats(&REWARD, i, j, 0.0) - 1.0) / (2.0 * tau);
        (0..6).map(won).sum::<f64>() / 6.0
    };
    let expected = normalised((0..6).map(|i| REFERENCE[i] * log_ratio(i).exp()));
    assert!(kl(&p, &expected) < 1e-9, "{p:?} {expected:?}");
}

#[test]
fn without_noise_ipo_is_bounded_and_dpo_is_not() {
    let tau = 0.25;
    let got =
        of_two_answers(&PreferenceLoss::Ipo(ipo::Config { tau, ..Default::default() }), 1.0, true);
    assert!((got - 2.0).abs() < 1e-6, "{got}");
    // The DPO margin of 50,000 steps; cDPO with ε = 0.1 would stand at 4.4.
    assert!(of_two_answers(&dpo(), 1.0, true) > 10.0);
}

#[test]
fn simpo_has_its_own_fixed_point_without_a_reference() {
    for (chance, gamma) in [(0.8, 0.0), (0.8, 1.0), (0.55, 0.5)] {
        let beta = 2.0;
        let loss = PreferenceLoss::Simpo(simpo::Config { beta, gamma });
        // P·σ(γ − h) = (1 − P)·σ(γ + h), h = β·(l̄₁ − l̄₀).
        let slope = |h: f64| (1.0 - chance) * sigmoid(gamma + h) - chance * sigmoid(gamma - h);
        let expected = root(slope, -50.0, 50.0) / beta;
        let got = of_two_answers(&loss, chance, false);
        assert!((got - expected).abs() < 1e-6, "{chance} {gamma}: {got} {expected}");
    }
}

#[test]
fn orpo_has_its_own_fixed_point_without_a_reference() {
    for (chance, lambda) in [(0.8, 0.0), (0.8, 0.5), (0.6, 1.0)] {
        let loss = PreferenceLoss::Orpo(orpo::Config { lambda, ..Default::default() });
        // With q = σ(h): P·[−(1−q) − 2λσ(−2h)] + (1−P)·[q + 2λσ(2h)] = 0.
        let slope = |h: f64| {
            let q = sigmoid(h);
            chance * (q - 1.0 - 2.0 * lambda * sigmoid(-2.0 * h))
                + (1.0 - chance) * (q + 2.0 * lambda * sigmoid(2.0 * h))
        };
        let expected = root(slope, -50.0, 50.0);
        let got = of_two_answers(&loss, chance, false);
        assert!((got - expected).abs() < 1e-6, "{chance} {lambda}: {got} {expected}");
    }
}

#[test]
fn kto_takes_what_is_preferred_more_often_than_not_and_ignores_by_how_much() {
    let config = kto::Config { beta: 1.0, ..Default::default() };
    let loss = PreferenceLoss::Kto(config);
    // Equal weights and even labels: no gradient.
    assert!(of_two_answers(&loss, 0.5, true).abs() < 1e-9);
    // DPO would stand at log-odds ratios of 0.4 and 4.4: KTO goes on, if ever slower.
    for chance in [0.55, 0.9] {
        let got = of_two_answers(&loss, chance, true);
        assert!(got > 5.0, "{chance}: {got}");
    }
}

#[test]
fn nca_raises_each_answer_by_how_often_it_wins_against_the_reference() {
    // β = 1, pairs from the reference: pi = 2·ref·P(it beats a draw of the reference).
    let loss = PreferenceLoss::Nca(nca::Config { beta: 1.0 });
    let p = prefer(&loss, &REFERENCE, |i, j| beats(&REWARD, i, j, 0.0), (1.0, 20_000));
    let wins = |i: usize| (0..6).map(|j| REFERENCE[j] * beats(&REWARD, i, j, 0.0)).sum::<f64>();
    let expected: Vec<f64> = (0..6).map(|i| 2.0 * REFERENCE[i] * wins(i)).collect();
    assert!((expected.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!(kl(&p, &expected) < 1e-9, "{p:?} {expected:?}");
}
