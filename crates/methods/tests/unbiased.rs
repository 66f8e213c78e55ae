//! Is the expected gradient the gradient of the expected reward? By enumeration, in f64.
//!
//! A small softmax policy in a world of two levels: an answer may end early, steps have one or two
//! tokens, and what is right below one observation is wrong below another. All trees that a grow
//! decision can produce are listed with their probabilities; what a credit method and an
//! aggregation make of each is added up and compared with the derivative of the expected reward.

use stepwell_methods::credit::{
    backup, effective_reward, gae, group_mean, leave_one_out, n_step, reinforce, sibling,
};
use stepwell_methods::grow::{branch, independent};
use stepwell_methods::reward::outcome;
use stepwell_methods::{Aggregation, CreditConfig, Grow, GrowView, decisions, token_weights};
use stepwell_tree::{
    Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, TaskHash, UnscoredReason,
    Verdict, leaves, recursive_mean,
};

/// Number of logits: three at the prompt, two after its third token, two after each observation.
const LOGITS: usize = 9;
const THETA: [f64; LOGITS] = [0.3, -0.2, 0.5, 0.1, -0.6, 0.8, -0.1, -0.4, 0.2];
type Vector = [f64; LOGITS];

/// Where the policy stands when it begins a step.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Prompt,
    AfterOne,
    AfterTwo,
}

/// What follows a step.
#[derive(Clone, Copy)]
enum Next {
    End(f64),
    Observe(State),
}

/// One way a step can go: its tokens as (first logit of the block, block size, choice).
struct Outcome {
    token: &'static [(usize, usize, usize)],
    next: Next,
}

const fn to(token: &'static [(usize, usize, usize)], next: Next) -> Outcome {
    Outcome { token, next }
}

fn outcomes(state: State) -> Vec<Outcome> {
    use Next::{End, Observe};
    match state {
        State::Prompt => vec![
            to(&[(0, 3, 0)], End(0.7)),
            to(&[(0, 3, 1)], Observe(State::AfterOne)),
            to(&[(0, 3, 2), (3, 2, 0)], End(0.2)),
            to(&[(0, 3, 2), (3, 2, 1)], Observe(State::AfterTwo)),
        ],
        State::AfterOne => vec![to(&[(5, 2, 0)], End(1.0)), to(&[(5, 2, 1)], End(0.0))],
        State::AfterTwo => vec![to(&[(7, 2, 0)], End(-0.5)), to(&[(7, 2, 1)], End(0.9))],
    }
}

fn probability(theta: &Vector, (first, size, choice): (usize, usize, usize)) -> f64 {
    let sum: f64 = theta[first..first + size].iter().map(|x| x.exp()).sum();
    theta[first + choice].exp() / sum
}

/// ∇ log π of one token: one-hot less the probabilities of its block.
fn score((first, size, choice): (usize, usize, usize)) -> Vector {
    let mut score = [0.0; LOGITS];
    for k in 0..size {
        let hit = if k == choice { 1.0 } else { 0.0 };
        score[first + k] = hit - probability(&THETA, (first, size, k));
    }
    score
}

/// Expected reward of one attempt.
fn value(theta: &Vector, state: State) -> f64 {
    let of = |outcome: &Outcome| {
        let p: f64 = outcome.token.iter().map(|t| probability(theta, *t)).product();
        p * match outcome.next {
            Next::End(reward) => reward,
            Next::Observe(state) => value(theta, state),
        }
    };
    outcomes(state).iter().map(of).sum()
}

/// The truth, by central differences of the expected reward.
fn policy_gradient() -> Vector {
    let h = 1e-4;
    std::array::from_fn(|k| {
        let shifted = |by: f64| {
            let mut theta = THETA;
            theta[k] += by;
            value(&theta, State::Prompt)
        };
        (shifted(h) - shifted(-h)) / (2.0 * h)
    })
}

/// Which attempts the harness loses.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    None,
    /// At a fork with enough children, with probability 1/4, one of them, whichever it is and
    /// whatever it says.
    OneOfAFork,
    /// Each end of a path with probability 1/4.
    AnyLeaf,
}

#[derive(Clone)]
struct Partial {
    probability: f64,
    tree: StepTree,
    /// Per token of the arena.
    score: Vec<Vector>,
    /// Parent, state, child index, and whether the step will be lost.
    open: Vec<(StepId, State, u32, bool)>,
}

impl Partial {
    /// Opens steps below `parent`; one entry for each way the harness may lose one of them.
    fn fork(mut self, parent: StepId, state: State, children: u32, loss: Loss) -> Vec<Partial> {
        // An attempt needs two others that are scored, a continuation one: so that a lost step
        // never leaves its decision, or the tree, without a comparison.
        let enough = if parent == StepId::ROOT { 3 } else { 2 };
        if loss != Loss::OneOfAFork || children < enough {
            self.open.extend((0..children).map(|k| (parent, state, k, false)));
            return vec![self];
        }
        let mut all = Vec::new();
        for lost in 0..=children {
            let mut one = self.clone();
            let spared = lost == children;
            one.probability *= if spared { 0.75 } else { 0.25 / f64::from(children) };
            one.open.extend((0..children).map(|k| (parent, state, k, k == lost)));
            all.push(one);
        }
        all
    }

    fn push(&self, parent: StepId, index: u32, outcome: &Outcome) -> (Partial, StepId) {
        let mut next = self.clone();
        let p = outcome.token.iter().map(|t| probability(&THETA, *t));
        let logprob: Vec<f32> = p.clone().map(|p| p.ln() as f32).collect();
        next.probability *= p.product::<f64>();
        next.score.extend(outcome.token.iter().map(|t| score(*t)));
        let token: Vec<u32> = outcome.token.iter().map(|t| (t.0 + t.2) as u32).collect();
        let step = next.tree.push(NewStep {
            parent,
            child_index: index,
            origin: Origin::Policy(PolicyVersion(0)),
            stop: Stop::StopString,
            token: &token,
            logprob: &logprob,
        });
        (next, step)
    }
}

/// Every tree with its probability and its scores.
fn all_trees(grow: &Grow, loss: Loss) -> Vec<Partial> {
    let root = Partial {
        probability: 1.0,
        tree: StepTree::new(TaskHash([0; 32]), &[0]),
        score: vec![[0.0; LOGITS]],
        open: Vec::new(),
    };
    let mut work = root.fork(StepId::ROOT, State::Prompt, grow.opening(), loss);
    let mut done = Vec::new();
    while let Some(mut partial) = work.pop() {
        let Some((parent, state, index, lost)) = partial.open.pop() else {
            done.push(partial);
            continue;
        };
        for outcome in outcomes(state) {
            let (mut next, step) = partial.push(parent, index, &outcome);
            let unscored = Verdict::Unscored(UnscoredReason::Interrupted);
            match outcome.next {
                _ if lost => {
                    next.tree.judge(step, unscored);
                    work.push(next);
                }
                Next::End(reward) => {
                    if loss == Loss::AnyLeaf {
                        let mut without = next.clone();
                        without.probability *= 0.25;
                        next.probability *= 0.75;
                        without.tree.judge(step, unscored);
                        work.push(without);
                    }
                    next.tree.judge(step, Verdict::scored(reward));
                    work.push(next);
                }
                Next::Observe(state) => {
                    let observation = next.tree.push(NewStep {
                        parent: step,
                        child_index: 0,
                        origin: Origin::Environment,
                        stop: Stop::NotSampled,
                        token: &[99],
                        logprob: &[],
                    });
                    next.score.push([0.0; LOGITS]);
                    let path = decisions(&next.tree, step);
                    let key = Key::new(0, Purpose::Grow);
                    let children = grow.after_observation(&GrowView { path: &path }, key);
                    work.extend(next.fork(observation, state, children, loss));
                }
            }
        }
    }
    let total: f64 = done.iter().map(|tree| tree.probability).sum();
    assert!((total - 1.0).abs() < 1e-12, "probabilities add up to {total}");
    done
}

/// E[Σ weight · credit · ∇ log π] over all trees.
fn expected(trees: &[Partial], credit: &CreditConfig, aggregation: Aggregation) -> Vector {
    let mut sum = [0.0; LOGITS];
    for one in trees {
        let forest = std::slice::from_ref(&one.tree);
        let credit = credit.credit(forest, &outcome::reward(forest));
        let weight = token_weights(forest, &credit, aggregation, 1).remove(0);
        for (i, number) in credit[0].step.iter().enumerate() {
            for t in one.tree.span[i].range() {
                let own = credit[0].token.as_ref().filter(|_| number.is_some());
                let number = own.map_or(number.unwrap_or(0.0), |token| token[t]);
                let factor = one.probability * weight[t] * number;
                for (sum, score) in sum.iter_mut().zip(&one.score[t]) {
                    *sum += factor * score;
                }
            }
        }
    }
    sum
}

/// Weighs a step by its share of the tree and nothing else.
const BY_SHARE: Aggregation = Aggregation::SequenceMeanTokenSumNorm { length_constant: Some(1) };

fn distance(a: &Vector, b: &Vector) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

fn times(factor: f64, vector: &Vector) -> Vector {
    vector.map(|x| factor * x)
}

fn flat(attempts: u32) -> Grow {
    Grow::Independent(independent::Config { attempts })
}

fn branched(attempts: u32, branches: u32, leaves: u32) -> Grow {
    Grow::Branch(branch::Config { attempts, branches, leaves, tokens: None })
}

fn sibling() -> CreditConfig {
    CreditConfig::Sibling(sibling::Config::default())
}

fn leave_one_out() -> CreditConfig {
    CreditConfig::LeaveOneOut(leave_one_out::Config::default())
}

fn reinforce(baseline: reinforce::Baseline) -> CreditConfig {
    CreditConfig::Reinforce(reinforce::Config { baseline })
}

/// Trees with every shape that matters: forks everywhere; forks on one attempt and lines (only
/// children) on the other; lines only.
fn shapes() -> Vec<(&'static str, Grow)> {
    vec![
        ("two lines", flat(2)),
        ("three lines", flat(3)),
        ("two attempts, each forks", branched(2, 2, 4)),
        ("two attempts, three leaves", branched(2, 2, 3)),
        ("three attempts, five leaves", branched(3, 2, 5)),
        ("two attempts, threefold forks", branched(2, 3, 6)),
    ]
}

#[test]
fn sibling_credit_is_unbiased_on_every_shape() {
    let truth = policy_gradient();
    for (name, grow) in shapes() {
        let got = expected(&all_trees(&grow, Loss::None), &sibling(), BY_SHARE);
        assert!(distance(&got, &truth) < 1e-8, "{name}: {got:?}, expected {truth:?}");
    }
}

#[test]
fn sibling_credit_is_unbiased_where_attempts_are_lost_at_random() {
    // A fork in two that loses one leaves an only child, which inherits.
    let truth = policy_gradient();
    for (name, grow) in [
        ("three lines", flat(3)),
        ("two attempts, each forks", branched(2, 2, 4)),
        ("two attempts, threefold forks", branched(2, 3, 6)),
        ("three attempts, five leaves", branched(3, 2, 5)),
    ] {
        let got = expected(&all_trees(&grow, Loss::OneOfAFork), &sibling(), BY_SHARE);
        assert!(distance(&got, &truth) < 1e-8, "{name}: {got:?}, expected {truth:?}");
    }
}

#[test]
fn what_is_lost_more_often_where_less_was_sampled_is_not_lost_at_random() {
    // Each leaf is lost with the same probability, but an attempt that forked is lost only if all
    // its leaves are: attempts that end early disappear more often. No credit method can know;
    // the deviation is stated here so that nobody claims more.
    let truth = policy_gradient();
    let got = expected(&all_trees(&branched(2, 2, 4), Loss::AnyLeaf), &sibling(), BY_SHARE);
    assert!(distance(&got, &truth) > 1e-3, "{got:?}");
}

#[test]
fn reinforce_is_unbiased_with_any_constant_baseline() {
    let truth = policy_gradient();
    for (name, grow) in shapes() {
        let trees = all_trees(&grow, Loss::None);
        for baseline in [reinforce::Baseline::None, reinforce::Baseline::Constant(0.4)] {
            let got = expected(&trees, &reinforce(baseline), BY_SHARE);
            assert!(distance(&got, &truth) < 1e-8, "{name}, {baseline:?}: {got:?}");
        }
    }
}

/// Trees with a critic in their column `value`: what it says of a state where the next token is
/// drawn from the block of logits that begins at the index.
fn with_critic(trees: Vec<Partial>, critic: &[f64; LOGITS]) -> Vec<Partial> {
    let mut trees = trees;
    for one in &mut trees {
        let block = |token: &u32| match token {
            0..3 => 0,
            3..5 => 3,
            5..7 => 5,
            _ => 7,
        };
        let value = one.tree.token.iter().map(|t| critic[block(t)] as f32).collect();
        one.tree.token_column.insert("value".to_owned(), value);
    }
    trees
}

#[test]
fn a_critic_is_a_baseline_and_a_right_one_may_also_be_believed() {
    let truth = policy_gradient();
    // What the policy can expect where it stands; the second token of a step knows the first.
    let after = |first: usize, rewards: [f64; 2]| -> f64 {
        (0..2).map(|k| probability(&THETA, (first, 2, k)) * rewards[k]).sum()
    };
    let two = value(&THETA, State::AfterTwo);
    let mut right = [0.0; LOGITS];
    (right[0], right[3]) = (value(&THETA, State::Prompt), after(3, [0.2, two]));
    (right[5], right[7]) = (value(&THETA, State::AfterOne), two);
    let wrong = [0.9, 0.0, 0.0, -0.7, 0.0, 0.3, 0.0, 2.0, 0.0];
    let gae = |mode, lambda| {
        CreditConfig::Gae(gae::Config { mode, lambda, whiten: false, ..Default::default() })
    };
    let n_step = |n| CreditConfig::NStep(n_step::Config { n, gamma: 1.0, ..Default::default() });
    let returns = [gae(gae::Mode::TokenCompact, 1.0), gae(gae::Mode::Turn, 1.0), n_step(9)];
    let believing = [gae(gae::Mode::TokenCompact, 0.0), n_step(2), gae(gae::Mode::Turn, 0.5)];
    for (name, grow) in shapes() {
        let trees = with_critic(all_trees(&grow, Loss::None), &wrong);
        for method in &returns {
            let got = expected(&trees, method, BY_SHARE);
            assert!(distance(&got, &truth) < 1e-7, "{name} {method:?}: {got:?}");
        }
        for method in &believing {
            let got = expected(&trees, method, BY_SHARE);
            assert!(distance(&got, &truth) > 1e-2, "{name} {method:?}: no power");
        }
        let trees = with_critic(trees, &right);
        for method in returns.iter().chain(&believing) {
            let got = expected(&trees, method, BY_SHARE);
            assert!(distance(&got, &truth) < 1e-7, "{name} {method:?}: {got:?}");
        }
    }
}

#[test]
fn a_baseline_leaves_the_effective_reward_as_it_is() {
    // pav.md, section 10, 4: any number of the state, here a wrong critic's.
    let truth = policy_gradient();
    let wrong = [0.9, 0.0, 0.0, -0.7, 0.0, 0.3, 0.0, 2.0, 0.0];
    let with = |alpha, baseline| {
        let config = effective_reward::Config { alpha, baseline, ..Default::default() };
        CreditConfig::EffectiveReward(config)
    };
    use effective_reward::Baseline;
    for (name, grow) in shapes() {
        let mut trees = with_critic(all_trees(&grow, Loss::None), &wrong);
        for one in &mut trees {
            // What an estimator says of a prefix: something of its last token.
            let last = |i: usize| one.tree.token[one.tree.span[i].range()].last().copied();
            let score = |i: usize| (last(i).unwrap_or(0) % 10) as f32 / 12.0;
            let column = (0..one.tree.len()).map(score).collect();
            one.tree.step_column.insert("score".to_owned(), column);
        }
        let got = expected(&trees, &with(0.0, Baseline::Value), BY_SHARE);
        assert!(distance(&got, &truth) < 1e-7, "{name}: {got:?}");
        let plain = expected(&trees, &with(2.0, Baseline::None), BY_SHARE);
        let less = expected(&trees, &with(2.0, Baseline::Value), BY_SHARE);
        assert!(distance(&plain, &less) < 1e-7, "{name}: {plain:?} {less:?}");
        assert!(distance(&plain, &truth) > 1e-2, "{name}: progress has no effect");
    }
}

#[test]
fn leave_one_out_is_unbiased_on_lines_and_not_on_forks() {
    let truth = policy_gradient();
    for attempts in [2, 3] {
        let got = expected(&all_trees(&flat(attempts), Loss::None), &leave_one_out(), BY_SHARE);
        assert!(distance(&got, &truth) < 1e-8, "{attempts} attempts: {got:?}");
        let lost = expected(&all_trees(&flat(3), Loss::OneOfAFork), &leave_one_out(), BY_SHARE);
        assert!(distance(&lost, &truth) < 1e-8, "{lost:?}");
    }
    // A leaf's baseline contains leaves that share its first step.
    let got = expected(&all_trees(&branched(2, 2, 4), Loss::None), &leave_one_out(), BY_SHARE);
    assert!(distance(&got, &truth) > 1e-2, "{got:?}");
}

#[test]
fn a_mean_that_contains_the_step_itself_shrinks_the_gradient() {
    let truth = policy_gradient();
    for attempts in [2, 3] {
        let config = group_mean::Config { std: group_mean::Deviation::None, ..Default::default() };
        let trees = all_trees(&flat(attempts), Loss::None);
        let got = expected(&trees, &CreditConfig::GroupMean(config), BY_SHARE);
        let factor = f64::from(attempts - 1) / f64::from(attempts);
        assert!(distance(&got, &times(factor, &truth)) < 1e-8, "{attempts}: {got:?}");
        // One tree alone: the forest's mean is the group's.
        let got = expected(&trees, &reinforce(reinforce::Baseline::Mean), BY_SHARE);
        assert!(distance(&got, &times(factor, &truth)) < 1e-8, "{attempts}: {got:?}");
    }
}

#[test]
fn differences_of_tree_values_shrink_the_gradient_by_the_width_of_decisions() {
    let truth = policy_gradient();
    let backup = |only_child| {
        let value = backup::Value::Mean;
        CreditConfig::Backup(backup::Config { value, only_child })
    };
    let shapes = [
        (1.0 / 2.0, flat(2)),
        (2.0 / 3.0, flat(3)),
        (1.0 / 2.0, branched(2, 2, 4)),
        (1.0 / 2.0, branched(2, 2, 3)),
    ];
    for (factor, grow) in shapes {
        let trees = all_trees(&grow, Loss::None);
        let got = expected(&trees, &backup(backup::OnlyChild::Inherit), BY_SHARE);
        assert!(distance(&got, &times(factor, &truth)) < 1e-8, "{factor}: {got:?}");
    }
    // Without inheritance the lines below the last fork never train.
    let lines = all_trees(&flat(2), Loss::None);
    let got = expected(&lines, &backup(backup::OnlyChild::Zero), BY_SHARE);
    assert!(distance(&got, &times(0.5, &truth)) > 1e-2, "{got:?}");
}

#[test]
fn token_mean_does_not_weigh_a_fork_by_its_share() {
    // Why both `sequence_mean_*` carry the share: no factor turns one gradient into the other.
    let truth = policy_gradient();
    let trees = all_trees(&branched(2, 2, 4), Loss::None);
    let got = expected(&trees, &sibling(), Aggregation::TokenMean);
    let dot = |a: &Vector, b: &Vector| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let best = times(dot(&got, &truth) / dot(&got, &got), &got);
    assert!(distance(&best, &truth) > 1e-3, "{best:?}, {truth:?}");
}

#[test]
fn a_mean_over_leaves_is_biased_and_the_recursive_mean_is_not() {
    // DECISIONS 4. Half of the attempts end at once with 1; the others fork into four leaves of 0.
    // The value of the prompt is 1/2. Two attempts: (1, 1), (1, 0000), (0000, 1), (0000, 0000).
    let mut by_leaves = 0.0;
    let mut recursive = 0.0;
    for ends in [[true, true], [true, false], [false, true], [false, false]] {
        let mut table = String::from("0 - prompt q\n");
        let mut rows = 1;
        for end in ends {
            if end {
                table += &format!("{rows} 0 policy a r=1\n");
                rows += 1;
                continue;
            }
            let (step, observation) = (rows, rows + 1);
            table += &format!("{step} 0 policy b\n{observation} {step} environment o\n");
            rows += 2;
            for _ in 0..4 {
                table += &format!("{rows} {observation} policy c r=0\n");
                rows += 1;
            }
        }
        let tree = stepwell_tree::parse(&table);
        let reward: Vec<f64> =
            leaves(&tree).iter().filter_map(|s| tree.verdict[s.index()].reward()).collect();
        by_leaves += 0.25 * reward.iter().sum::<f64>() / reward.len() as f64;
        recursive += 0.25
            * recursive_mean(&tree, |s| tree.verdict[s.index()].reward())[0]
                .expect("every leaf is scored");
    }
    assert!((by_leaves - 0.35).abs() < 1e-12, "{by_leaves}");
    assert!((recursive - 0.50).abs() < 1e-12, "{recursive}");
}
