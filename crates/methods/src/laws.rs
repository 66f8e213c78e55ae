//! What every credit method must obey, whatever it computes: one line per method runs it all.
//!
//! Some laws hold for all: prompt, environment and demonstration steps have no credit; nor has a
//! step without a scored leaf below, nor any token of a step that has none; taking unscored
//! attempts out of the tree changes nothing; permuting siblings permutes credit; the order of trees
//! does not matter. Others hold where a method claims them.

use stepwell_tree::{
    Credit, Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, TaskHash,
    UnscoredReason, Verdict, parse, recursive_mean,
};

use crate::Rewards;
use crate::grow::COMPANION;
use crate::reward::outcome;

/// How credit follows when all rewards are multiplied by a positive number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Scale {
    /// No claim.
    Free,
    /// It is multiplied by the same number.
    Linear,
    /// It stays.
    Invariant,
}

/// What a method says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claims {
    /// Adding a number to all rewards changes nothing.
    pub(crate) shift_invariant: bool,
    /// Equal rewards give exactly 0 or `None`.
    pub(crate) equal_rewards_zero: bool,
    /// One scored attempt gives no credit.
    pub(crate) needs_two: bool,
    /// Credit of independent attempts adds up to 0.
    pub(crate) flat_zero_sum: bool,
    /// Credit of the scored siblings of any decision adds up to 0.
    pub(crate) sibling_zero_sum: bool,
    /// What multiplying rewards does.
    pub(crate) scale: Scale,
}

impl Claims {
    pub(crate) const NONE: Claims = Claims {
        shift_invariant: false,
        equal_rewards_zero: false,
        needs_two: false,
        flat_zero_sum: false,
        sibling_zero_sum: false,
        scale: Scale::Free,
    };
}

/// Compares credit with a hand-worked table: [`parse`]'s lines, with ` | number` after steps that
/// have credit; to 1e-6, as many digits as a hand writes.
pub(crate) fn table(text: &str, method: impl Fn(&[StepTree], &Rewards) -> Vec<Credit>) {
    let rows = text.lines().filter(|line| !line.trim().is_empty());
    let (mut lines, mut expected) = (Vec::new(), Vec::new());
    for row in rows {
        let (line, number) = match row.split_once('|') {
            Some((line, number)) => (line, Some(number.trim().parse::<f64>().unwrap())),
            None => (row, None),
        };
        lines.push(line);
        expected.push(number);
    }
    let forest = [parse(&lines.join("\n"))];
    let credit = method(&forest, &outcome::reward(&forest)).remove(0);
    assert!(close(&credit.step, &expected, 1e-6), "got {:?}\nexpected {expected:?}", credit.step);
}

/// The whole suite.
pub(crate) fn check(method: impl Fn(&[StepTree], &Rewards) -> Vec<Credit>, claims: Claims) {
    check_fixed_order(&method, claims);
    for seed in 0..100 {
        let tree = grow(key(seed), Shape::Branched);
        let before = &of(&method, &tree).step;
        let mut relabelled = tree.clone();
        relabel(&mut relabelled, key(seed).with(1));
        let order = relabelled.depth_first();
        let after = of(&method, &relabelled.canonical()).step;
        let moved: Vec<Option<f64>> = order.iter().map(|old| before[old.index()]).collect();
        assert!(close(&after, &moved, 1e-12), "permuting siblings, seed {seed}");
    }
}

/// The suite for methods that deal credit out by place, without the law on siblings.
pub(crate) fn check_fixed_order(
    method: impl Fn(&[StepTree], &Rewards) -> Vec<Credit>,
    claims: Claims,
) {
    let mut branched = Vec::new();
    for seed in 0..100 {
        let tree = grow(key(seed), Shape::Branched);
        let flat = grow(key(seed), Shape::Flat);
        let credit = of(&method, &tree);
        assert_eq!(credit, of(&method, &tree), "not deterministic, seed {seed}");
        nowhere_else(&tree, &credit, seed);
        unscored_is_absent(&method, &tree, &credit, seed);
        claimed(&method, &tree, claims, seed);
        claimed(&method, &flat, claims, seed);
        if claims.flat_zero_sum {
            zero_sums(&flat, &of(&method, &flat), &[StepId::ROOT], seed);
        }
        if claims.sibling_zero_sum {
            let all: Vec<StepId> = (0..tree.len() as u32).map(StepId).collect();
            zero_sums(&tree, &credit, &all, seed);
        }
        branched.push(tree);
    }
    let forward = method(&branched, &outcome::reward(&branched));
    branched.reverse();
    let mut backward = method(&branched, &outcome::reward(&branched));
    backward.reverse();
    for (a, b) in forward.iter().zip(&backward) {
        assert!(close(&a.step, &b.step, 1e-12), "the order of trees matters");
    }
}

fn nowhere_else(tree: &StepTree, credit: &Credit, seed: u64) {
    assert_eq!(credit.step.len(), tree.len());
    let value = recursive_mean(tree, |s| tree.verdict[s.index()].reward());
    for (i, number) in credit.step.iter().enumerate() {
        assert!(number.is_none_or(f64::is_finite), "seed {seed}");
        let may = tree.origin[i].is_policy() && value[i].is_some();
        assert!(number.is_none() || may, "step {i} has credit, seed {seed}");
        let mut own = credit.token.iter().flat_map(|token| &token[tree.span[i].range()]);
        let zero = own.all(|x| *x == 0.0);
        assert!(number.is_some() || zero, "tokens of step {i} have credit, seed {seed}");
    }
}

fn unscored_is_absent(
    method: impl Fn(&[StepTree], &Rewards) -> Vec<Credit>,
    tree: &StepTree,
    credit: &Credit,
    seed: u64,
) {
    let (kept, from) = without_unscored(tree);
    let expected: Vec<Option<f64>> = from.iter().map(|s| credit.step[s.index()]).collect();
    let got = of(method, &kept).step;
    assert!(close(&got, &expected, 1e-12), "unscored attempts matter, seed {seed}");
}

/// The tree without what has no scored leaf below, and which step each of its steps was.
pub(crate) fn without_unscored(tree: &StepTree) -> (StepTree, Vec<StepId>) {
    let value = recursive_mean(tree, |s| tree.verdict[s.index()].reward());
    let mut kept = StepTree::new(tree.task, tree.tokens(StepId::ROOT));
    let mut place = vec![StepId::ROOT; tree.len()];
    let mut from = vec![StepId::ROOT];
    for i in (1..tree.len()).filter(|&i| value[i].is_some()) {
        let step = StepId(i as u32);
        let sampled = tree.origin[i].is_policy();
        place[i] = kept.push(NewStep {
            parent: place[tree.parent[i].index()],
            child_index: tree.child_index[i],
            origin: tree.origin[i],
            stop: tree.stop[i],
            token: tree.tokens(step),
            logprob: if sampled { tree.logprobs(step) } else { &[] },
        });
        kept.verdict[place[i].index()] = tree.verdict[i].clone();
        from.push(step);
    }
    for (name, column) in &tree.step_column {
        let of = |i: usize| i == 0 || value[i].is_some();
        let left = (0..tree.len()).filter(|&i| of(i)).map(|i| column[i]).collect();
        kept.step_column.insert(name.clone(), left);
    }
    (kept, from)
}

fn claimed(
    method: impl Fn(&[StepTree], &Rewards) -> Vec<Credit>,
    tree: &StepTree,
    claims: Claims,
    seed: u64,
) {
    let forest = std::slice::from_ref(tree);
    let rewards = outcome::reward(forest);
    let mapped = |change: &dyn Fn(f64) -> f64| {
        let leaf = rewards.leaf[0].iter().map(|r| r.map(change)).collect();
        method(forest, &Rewards::of_leaves(vec![leaf])).remove(0).step
    };
    let plain = mapped(&|r| r);
    if claims.shift_invariant {
        assert!(close(&mapped(&|r| r + 10.0), &plain, 1e-9), "shift, seed {seed}");
    }
    let scaled = |factor: f64| plain.iter().map(|c| c.map(|c| factor * c)).collect::<Vec<_>>();
    match claims.scale {
        Scale::Free => {}
        Scale::Linear => assert!(close(&mapped(&|r| 3.0 * r), &scaled(3.0), 1e-9), "{seed}"),
        Scale::Invariant => assert!(close(&mapped(&|r| 3.0 * r), &plain, 1e-9), "{seed}"),
    }
    if claims.equal_rewards_zero {
        let zero = mapped(&|_| 0.3).into_iter().flatten().all(|c| c == 0.0);
        assert!(zero, "equal rewards, seed {seed}");
    }
    if claims.needs_two && rewards.scored(0).len() < 2 {
        assert!(plain.iter().all(Option::is_none), "one attempt, seed {seed}");
    }
}

fn zero_sums(tree: &StepTree, credit: &Credit, parents: &[StepId], seed: u64) {
    for parent in parents {
        let below = (1..tree.len()).filter(|&i| tree.parent[i] == *parent);
        let scored: Vec<f64> = below.filter_map(|i| credit.step[i]).collect();
        let sum: f64 = scored.iter().sum();
        // An only child inherits: there is no sum to speak of.
        assert!(scored.len() < 2 || sum.abs() < 1e-9, "{scored:?} below {parent:?}, seed {seed}");
    }
}

fn of(method: impl Fn(&[StepTree], &Rewards) -> Vec<Credit>, tree: &StepTree) -> Credit {
    let forest = std::slice::from_ref(tree);
    method(forest, &outcome::reward(forest)).remove(0)
}

fn close(got: &[Option<f64>], expected: &[Option<f64>], tolerance: f64) -> bool {
    let alike = |pair: (&Option<f64>, &Option<f64>)| match pair {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance * (1.0 + b.abs()),
        (a, b) => a.is_none() && b.is_none(),
    };
    got.len() == expected.len() && got.iter().zip(expected).all(alike)
}

fn key(seed: u64) -> Key {
    Key::new(seed, Purpose::Sample)
}

#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// Attempts that share the prompt only.
    Flat,
    /// Up to three steps below any observation, and below a step at times (a fork inside a turn).
    Branched,
}

/// A random tree: early endings, only children, unscored leaves, missing attempts. Some steps are
/// companions, with all that is below them; methods that do not know the column pass it over.
fn grow(key: Key, shape: Shape) -> StepTree {
    let mut tree = grow_steps(key, shape);
    let mut mark = vec![0.0; tree.len()];
    for i in 1..tree.len() {
        let above = mark[tree.parent[i].index()];
        let drawn = tree.origin[i].is_policy() && key.with(77).with(i as u64).below(3) == 0;
        mark[i] = if drawn { 1.0 } else { above };
    }
    tree.step_column.insert(COMPANION.to_owned(), mark);
    tree
}

fn grow_steps(key: Key, shape: Shape) -> StepTree {
    let mut tree = StepTree::new(TaskHash([7; 32]), &[1, 2]);
    let mut open = vec![(StepId::ROOT, key, 0u32)];
    while let Some((parent, key, depth)) = open.pop() {
        let fork = depth == 0 || shape == Shape::Branched;
        let children = if fork { 1 + key.with(0).below(3) } else { 1 };
        for k in 0..children {
            let key = key.with(1 + k as u64);
            let token = vec![9; 1 + key.with(0).below(3)];
            let step = tree.push(NewStep {
                parent,
                child_index: k as u32,
                origin: Origin::Policy(PolicyVersion(3)),
                stop: Stop::StopString,
                token: &token,
                logprob: &vec![-1.0; token.len()],
            });
            let end = depth == 3 || key.with(1).below(3) == 0;
            if end {
                tree.judge(step, draw_verdict(key.with(2)));
            } else if shape == Shape::Branched && key.with(4).below(4) == 0 {
                open.push((step, key.with(3), depth + 1));
            } else {
                let observation = tree.push(NewStep {
                    parent: step,
                    child_index: 0,
                    origin: Origin::Environment,
                    stop: Stop::NotSampled,
                    token: &[5, 5],
                    logprob: &[],
                });
                open.push((observation, key.with(3), depth + 1));
            }
        }
    }
    tree
}

fn draw_verdict(key: Key) -> Verdict {
    match key.below(5) {
        0 => Verdict::Unscored(UnscoredReason::Interrupted),
        k => Verdict::scored([0.0, 0.3, 0.7, 1.0][k - 1]),
    }
}

/// The forest with every column that a method may declare. What they hold depends on the path
/// alone, so that taking siblings away or giving them new places takes the numbers along.
pub(crate) fn with_columns(forest: &[StepTree]) -> Vec<StepTree> {
    let of = |tree: &StepTree| {
        let mut tree = tree.clone();
        let mut depth = vec![0u32; tree.len()];
        for i in 1..tree.len() {
            depth[i] = depth[tree.parent[i].index()] + 1;
        }
        let place: Vec<(u32, usize)> = (0..tree.len())
            .flat_map(|i| (0..tree.span[i].len()).map(move |k| (i, k)))
            .map(|(i, k)| (depth[i], k))
            .collect();
        assert_eq!(place.len(), tree.token.len(), "spans follow one another");
        let token = |of: &dyn Fn(f32, f32) -> f32| -> Vec<f32> {
            place.iter().map(|&(depth, k)| of(depth as f32, k as f32)).collect()
        };
        let step = |of: &dyn Fn(f32) -> f32| -> Vec<f32> {
            depth.iter().map(|&depth| of(depth as f32)).collect()
        };
        let columns = [
            ("value", token(&|depth, k| 0.5 - 0.125 * depth + 0.0625 * k)),
            ("reference_logprob", token(&|depth, k| -1.5 + 0.25 * depth - 0.125 * k)),
            ("teacher_logprob", token(&|depth, k| -0.75 - 0.125 * depth + 0.25 * k)),
        ];
        tree.token_column.extend(columns.map(|(name, column)| (name.to_owned(), column)));
        let columns = [
            ("score", step(&|depth| 1.0 / (2.0 + depth))),
            ("contribution", step(&|depth| 0.5 - 0.125 * depth)),
            ("grounded", step(&|depth| (depth as u32 % 2) as f32)),
        ];
        tree.step_column.extend(columns.map(|(name, column)| (name.to_owned(), column)));
        tree
    };
    forest.iter().map(of).collect()
}

/// A random tree as the suite uses them.
pub(crate) fn random_tree(seed: u64) -> StepTree {
    grow(key(seed), Shape::Branched)
}

/// What every reward must obey: scored leaves and no other step have one; it is finite, and the
/// same whatever other attempts earned and whatever trees stand beside.
pub(crate) fn check_reward(parts: &[&str], reward: impl Fn(&[StepTree]) -> Rewards) {
    let forest: Vec<StepTree> = (0..50).map(|seed| with_parts(seed, parts)).collect();
    let together = reward(&forest);
    assert_eq!(together, reward(&forest), "not deterministic");
    assert_eq!(together.leaf.len(), forest.len());
    let mut scored = 0;
    for (t, tree) in forest.iter().enumerate() {
        let own = &together.leaf[t];
        assert_eq!(reward(std::slice::from_ref(tree)).leaf[0], *own, "another tree matters");
        for (i, (reward, verdict)) in own.iter().zip(&tree.verdict).enumerate() {
            assert_eq!(reward.is_some(), verdict.reward().is_some(), "step {i}, tree {t}");
            assert!(reward.is_none_or(f64::is_finite), "step {i}, tree {t}");
        }
        let leaves = (0..tree.len()).filter(|&i| own[i].is_some()).collect::<Vec<_>>();
        for &i in &leaves {
            scored += 1;
            let mut alone = tree.clone();
            for &other in leaves.iter().filter(|&&other| other != i) {
                alone.verdict[other] = Verdict::scored(0.5);
            }
            assert_eq!(reward(&[alone]).leaf[0][i], own[i], "another attempt matters, tree {t}");
        }
    }
    assert!(scored > 100, "the suite saw {scored} scored leaves");
}

/// A random tree whose verdicts have these parts, some of them missing.
fn with_parts(seed: u64, parts: &[&str]) -> StepTree {
    let mut tree = random_tree(seed);
    for i in 0..tree.len() {
        let key = key(seed).with(9).with(i as u64);
        if let Verdict::Scored { parts: own, .. } = &mut tree.verdict[i] {
            for (k, name) in parts.iter().enumerate() {
                let key = key.with(k as u64);
                if key.with(0).below(4) > 0 {
                    own.insert((*name).to_owned(), [0.0, 0.25, 1.0][key.with(1).below(3)]);
                }
            }
        }
    }
    tree
}

/// Gives siblings new places.
fn relabel(tree: &mut StepTree, key: Key) {
    for (p, below) in stepwell_tree::children(tree).iter().enumerate() {
        let order = key.with(p as u64).permutation(below.len());
        for (child, place) in below.iter().zip(order) {
            tree.child_index[child.index()] = place as u32;
        }
    }
}
