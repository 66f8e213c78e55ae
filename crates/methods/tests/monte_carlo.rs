//! VinePPO's credit by exact enumeration: its estimate of the gradient has the gradient as its
//! mean, whatever the number of continuations, and would not with the attempt's own reward in V.

use stepwell_methods::credit::monte_carlo;
use stepwell_methods::grow::{COMPANION, continuations};
use stepwell_methods::{CreditConfig, RewardConfig};
use stepwell_tree::{NewStep, Origin, PolicyVersion, StepId, StepTree, Stop, TaskHash, Verdict};

/// Two choices of two, the second policy depends on the first choice; rewards of the four ends.
const FIRST: f64 = 0.3;
const SECOND: [f64; 2] = [0.6, 0.2];
const REWARD: [[f64; 2]; 2] = [[1.0, 0.1], [0.4, 0.9]];

/// P(choice), and the derivatives of its log by the logits of choice 0: at the start, after 0,
/// after 1.
fn choose(state: Option<usize>, choice: usize) -> (f64, [f64; 3]) {
    let p = state.map_or(FIRST, |first| SECOND[first]);
    let (chance, score) = if choice == 0 { (p, 1.0 - p) } else { (1.0 - p, -p) };
    let mut gradient = [0.0; 3];
    gradient[state.map_or(0, |first| 1 + first)] = score;
    (chance, gradient)
}

fn add(sum: &mut [f64; 3], factor: f64, by: &[f64; 3]) {
    sum.iter_mut().zip(by).for_each(|(sum, by)| *sum += factor * by);
}

/// The gradient of the expected reward.
fn exact() -> [f64; 3] {
    let mut sum = [0.0; 3];
    for (a, rewards) in REWARD.iter().enumerate() {
        for (b, reward) in rewards.iter().enumerate() {
            let ((p, first), (q, second)) = (choose(None, a), choose(Some(a), b));
            add(&mut sum, p * q * reward, &first);
            add(&mut sum, p * q * reward, &second);
        }
    }
    sum
}

struct Grown {
    tree: StepTree,
    chance: f64,
    /// The gradient of the log-probability of each step.
    score: Vec<[f64; 3]>,
}

impl Grown {
    fn push(&mut self, parent: StepId, child_index: u32, state: Option<usize>, choice: usize) {
        let (chance, score) = choose(state, choice);
        self.chance *= chance;
        self.tree.push(NewStep {
            parent,
            child_index,
            origin: Origin::Policy(PolicyVersion(0)),
            stop: Stop::StopString,
            token: &[choice as u32],
            logprob: &[chance.ln() as f32],
        });
        self.score.push(score);
    }

    fn observe(&mut self) -> StepId {
        let parent = StepId(self.tree.len() as u32 - 1);
        self.score.push([0.0; 3]);
        self.tree.push(NewStep {
            parent,
            child_index: 0,
            origin: Origin::Environment,
            stop: Stop::NotSampled,
            token: &[9],
            logprob: &[],
        })
    }

    fn end(&mut self, a: usize, b: usize) {
        let leaf = StepId(self.tree.len() as u32 - 1);
        self.tree.judge(leaf, Verdict::scored(REWARD[a][b]));
    }
}

/// One attempt, `n` lines from the prompt and `m` from its observation, as `draw` chooses: a bit
/// for each choice.
fn grown(draw: u32, n: u32, m: u32) -> Grown {
    let bit = |k: u32| (draw >> k & 1) as usize;
    let tree = StepTree::new(TaskHash([0; 32]), &[1]);
    let mut all = Grown { tree, chance: 1.0, score: vec![[0.0; 3]] };
    let (a, b) = (bit(0), bit(1));
    all.push(StepId::ROOT, 0, None, a);
    let observation = all.observe();
    all.push(observation, 0, Some(a), b);
    all.end(a, b);
    for k in 0..m {
        let b = bit(2 + k);
        all.push(observation, 1 + k, Some(a), b);
        all.end(a, b);
    }
    for k in 0..n {
        let (a, b) = (bit(2 + m + 2 * k), bit(3 + m + 2 * k));
        all.push(StepId::ROOT, 1 + k, None, a);
        let observation = all.observe();
        all.push(observation, 0, Some(a), b);
        all.end(a, b);
    }
    let config = continuations::Config { attempts: 1, ..continuations::Config::default() };
    let column = continuations::companions(&all.tree, &config);
    all.tree.step_column.insert(COMPANION.to_owned(), column);
    all
}

/// E[Σ credit · ∇ log π] over the steps that `counts` names.
fn expected(n: u32, m: u32, train: bool, counts: impl Fn(&StepTree, usize) -> bool) -> [f64; 3] {
    let config = monte_carlo::Config { train_continuations: train };
    let method = CreditConfig::MonteCarlo(config);
    let (mut sum, mut total) = ([0.0; 3], 0.0);
    for draw in 0..1u32 << (2 + m + 2 * n) {
        let Grown { tree, chance, score } = grown(draw, n, m);
        total += chance;
        let forest = std::slice::from_ref(&tree);
        let credit = method.credit(forest, &RewardConfig::Outcome.reward(forest)).remove(0);
        for (i, score) in score.iter().enumerate().filter(|(i, _)| counts(&tree, *i)) {
            add(&mut sum, chance * credit.step[i].unwrap_or(0.0), score);
        }
    }
    assert!((total - 1.0).abs() < 1e-12);
    sum
}

fn near(a: &[f64; 3], b: &[f64; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
}

fn attempt(tree: &StepTree, i: usize) -> bool {
    tree.step_column[COMPANION][i] == 0.0
}

#[test]
fn the_estimate_is_unbiased_for_any_number_of_continuations() {
    let exact = exact();
    assert!(exact.iter().all(|x| x.abs() > 0.01), "{exact:?} would hide an error");
    for (n, m) in [(1, 1), (1, 3), (2, 1), (3, 2), (2, 0)] {
        let got = expected(n, m, false, attempt);
        assert!(near(&got, &exact), "{n} and {m} lines: {got:?}, expected {exact:?}");
    }
}

#[test]
fn with_the_attempt_in_its_own_value_it_would_be_biased() {
    // The same credit, were the attempt a continuation of the places it passes.
    let (mut sum, exact) = ([0.0; 3], exact());
    for draw in 0..1u32 << 5 {
        let Grown { tree, chance, score } = grown(draw, 1, 1);
        let reward = |i: usize| tree.verdict[i].reward();
        let r = reward(3).unwrap();
        let after = (r + reward(4).unwrap()) / 2.0;
        let from_prompt = tree.verdict[7].reward().unwrap();
        let before = (r + from_prompt) / 2.0;
        add(&mut sum, chance * (after - before), &score[1]);
        add(&mut sum, chance * (r - after), &score[3]);
    }
    assert!(!near(&sum, &exact), "the test has no power: {sum:?}");
}

#[test]
fn continuations_that_train_are_unbiased_where_they_start() {
    // From the prompt: each line is an attempt against the others, so n times the gradient.
    let from_prompt = |tree: &StepTree, i: usize| {
        let mut at = StepId(i as u32);
        while tree.parent[at.index()] != StepId::ROOT {
            at = tree.parent[at.index()];
        }
        i > 0 && !attempt(tree, at.index())
    };
    let got = expected(3, 1, true, from_prompt);
    let exact = exact();
    assert!(near(&got, &exact.map(|x| 3.0 * x)), "{got:?}, expected thrice {exact:?}");
    // From the observation: the second choice's part of the gradient, once for each line.
    let from_observation =
        |tree: &StepTree, i: usize| !attempt(tree, i) && tree.parent[i] == StepId(2);
    let got = expected(1, 2, true, from_observation);
    assert!(near(&got, &[0.0, 2.0 * exact[1], 2.0 * exact[2]]), "{got:?}");
    // And none of it without the switch.
    assert_eq!(expected(2, 2, false, |tree, i| !attempt(tree, i)), [0.0; 3]);
}
