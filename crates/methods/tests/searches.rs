//! A search by simulations on trees that are known: it finds the best leaf with a part of the
//! samples, counts add up, and nothing depends on the order in which steps end.

use stepwell_methods::grow::mcts::{Backup, Config, Selection};
use stepwell_methods::{Grow, Open, SearchView};
use stepwell_tree::{
    Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, TaskHash, Verdict,
    children, leaves, parse,
};

const DEPTH: usize = 4;
const ACTIONS: u32 = 3;
/// The best of 81 leaves; a quarter is earned for every action that is its own.
type Target = [u32; DEPTH];

fn reward(actions: &[u32], target: Target) -> f64 {
    let hits = actions.iter().zip(target).filter(|(action, own)| **action == *own).count();
    hits as f64 / DEPTH as f64
}

fn targets() -> impl Iterator<Item = Target> {
    (0..ACTIONS.pow(DEPTH as u32)).map(|n| [n / 27, n / 9, n / 3, n].map(|digit| digit % ACTIONS))
}

fn actions(tree: &StepTree, step: StepId) -> Vec<u32> {
    let path = stepwell_tree::path_to(tree, step).into_iter().map(StepId::index);
    path.filter(|&i| tree.origin[i].is_policy()).map(|i| tree.child_index[i]).collect()
}

/// Adds a step and, unless it ends, its observation; what was added last.
fn push(tree: &mut StepTree, parent: StepId, child_index: u32, target: Target) -> (StepId, bool) {
    let step = tree.push(NewStep {
        parent,
        child_index,
        origin: Origin::Policy(PolicyVersion(0)),
        stop: Stop::StopString,
        token: &[child_index],
        logprob: &[-1.0],
    });
    let taken = actions(tree, step);
    if taken.len() == DEPTH {
        tree.judge(step, Verdict::scored(reward(&taken, target)));
        return (step, true);
    }
    let (token, logprob): (&[u32], &[f32]) = (&[9], &[]);
    let (child_index, stop) = (0, Stop::NotSampled);
    let origin = Origin::Environment;
    (tree.push(NewStep { parent: step, child_index, origin, stop, token, logprob }), false)
}

/// A world in which the k-th step from a place takes action k, and lines go on with action 0. Steps
/// of a round end in an order of their own.
fn run(config: Config, order: u64, target: Target) -> StepTree {
    run_seeing(config, order, target, Verdict::reward)
}

fn run_seeing(
    config: Config,
    order: u64,
    target: Target,
    see: impl Fn(&Verdict) -> Option<f64>,
) -> StepTree {
    let grow = Grow::Mcts(config);
    let key = Key::new(order, Purpose::Control);
    let mut tree = StepTree::new(TaskHash([1; 32]), &[7]);
    for round in 0.. {
        let ids = tree.depth_first();
        let canonical = tree.canonical();
        let value: Vec<Option<f64>> = canonical.verdict.iter().map(&see).collect();
        let view = SearchView { tree: &canonical, value: &value, round };
        let opens = grow.search(&view, Key::new(0, Purpose::Grow));
        assert!(opens.len() <= 1, "one expansion a round");
        let Some(Open { at, children: new, .. }) = opens.first().copied() else { break };
        let at = ids[at.index()];
        let first = children(&tree)[at.index()].len() as u32;
        let mut open: Vec<(StepId, u32)> = (first..first + new).map(|k| (at, k)).collect();
        let mut turn = 0;
        while !open.is_empty() {
            turn += 1;
            let (parent, k) = open.swap_remove(key.with(turn).below(open.len()));
            let (last, ended) = push(&mut tree, parent, k, target);
            if !ended {
                open.push((last, 0));
            }
        }
    }
    tree.canonical()
}

fn best(tree: &StepTree) -> f64 {
    tree.verdict.iter().filter_map(Verdict::reward).fold(f64::MIN, f64::max)
}

fn configs(simulations: u32) -> Vec<Config> {
    let mut all = Vec::new();
    for selection in [Selection::Uct, Selection::Puct] {
        for backup in [Backup::Mean, Backup::Max] {
            let exploration = 0.3;
            all.push(Config { simulations, children: ACTIONS, selection, exploration, backup });
        }
    }
    all
}

/// Of 81 worlds, those in which the best leaf is found with half of the simulations that a look at
/// every leaf takes.
fn found(config: Config, see: impl Fn(&Verdict) -> Option<f64>) -> usize {
    let worlds = targets().filter(|target| {
        let tree = run_seeing(Config { simulations: 40, ..config }, 0, *target, &see);
        assert_eq!(leaves(&tree).len(), 40);
        best(&tree) == 1.0
    });
    worlds.count()
}

#[test]
fn the_best_leaf_is_found_with_half_of_the_simulations() {
    for config in configs(40) {
        let got = found(config, Verdict::reward);
        assert!(got >= 79, "{config:?} found {got} of 81");
    }
    // The test has power: a search that sees no value sees every other leaf.
    let blind = found(configs(40)[0], |_| None);
    assert_eq!(blind, 40);
}

#[test]
fn counts_add_up_and_nothing_is_opened_below_an_end() {
    for simulations in [1, 2, 7, 44, 81, 500] {
        for config in configs(simulations) {
            let tree = run(config, 3, [2, 1, 2, 0]);
            tree.check().unwrap();
            let ends = leaves(&tree);
            // Every leaf is a simulation, and a world of 81 ends has no more.
            assert_eq!(ends.len() as u32, simulations.min(81), "{config:?}");
            for (i, below) in children(&tree).iter().enumerate() {
                assert!(below.len() <= ACTIONS as usize);
                let ended = tree.verdict[i] != Verdict::Pending;
                assert_eq!(ended, below.is_empty());
                assert!(actions(&tree, StepId(i as u32)).len() <= DEPTH);
            }
            let taken: std::collections::BTreeSet<Vec<u32>> =
                ends.iter().map(|leaf| actions(&tree, *leaf)).collect();
            assert_eq!(taken.len(), ends.len(), "no attempt is made twice");
        }
    }
}

#[test]
fn the_tree_does_not_depend_on_which_step_ends_first() {
    for config in configs(30) {
        let expected = run(config, 0, [2, 1, 2, 0]);
        assert!((1..10).all(|order| run(config, order, [2, 1, 2, 0]) == expected), "{config:?}");
    }
}

/// Two places, one below a and one below b, both open at three children; f has ended.
fn two(first: &str, second: &str) -> StepTree {
    parse(&format!(
        "0 -  prompt q
         1 0  policy a
         2 1  environment o
         3 2  policy c {first}
         4 0  policy b
         5 4  environment p
         6 5  policy d {second}
         7 5  policy e {second}
         8 0  policy f r=0"
    ))
}

/// Where three children at most are opened next, and how many.
fn ask(tree: &StepTree, config: &Config) -> Vec<(u32, u32)> {
    let value: Vec<Option<f64>> = tree.verdict.iter().map(Verdict::reward).collect();
    let view = SearchView { tree, value: &value, round: 1 };
    let opens = Grow::Mcts(*config).search(&view, Key::new(0, Purpose::Grow));
    opens.iter().map(|open| (open.at.0, open.children)).collect()
}

const THREE: Config = Config {
    simulations: 9,
    children: 3,
    selection: Selection::Uct,
    exploration: 1.0,
    backup: Backup::Mean,
};

#[test]
fn the_choice_is_uct_of_value_and_visits() {
    // N(prompt) = 4, ln 4 = 1.386. a: Q + c·1.177; b: Q + c·0.833; f has ended. They are equal
    // where Q(b) − Q(a) = 0.345·c.
    let config = THREE;
    let chosen = |difference: f64, exploration: f64| {
        let tree = two("r=0", &format!("r={difference}"));
        ask(&tree, &Config { exploration, ..config })[0].0
    };
    assert_eq!([chosen(0.34, 1.0), chosen(0.35, 1.0)], [2, 5]);
    assert_eq!([chosen(0.68, 2.0), chosen(0.70, 2.0)], [2, 5]);
    assert_eq!(chosen(0.001, 0.0), 5);
    assert_eq!(chosen(0.0, 0.0), 2, "ties go to the first");
}

#[test]
fn max_follows_the_best_leaf_and_mean_does_not() {
    let tree = parse(
        "0 -  prompt q
         1 0  policy a
         2 1  environment o
         3 2  policy c r=0.6
         4 2  policy d r=0.6
         5 0  policy b
         6 5  environment p
         7 6  policy e r=1
         8 6  policy f r=0
         9 0  policy z r=0",
    );
    let config = THREE;
    assert_eq!(ask(&tree, &config), [(2, 1)]);
    assert_eq!(ask(&tree, &Config { backup: Backup::Max, ..config }), [(6, 1)]);
}
