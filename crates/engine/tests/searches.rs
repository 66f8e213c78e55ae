//! Methods that grow in rounds, and methods that grow companions, over a policy and a world that do
//! what the test says: the tree is a function of keys, budgets hold, nothing stays in memory.

mod common;

use common::policy::Shuffled;
use common::world::{Fork, World, task};
use stepwell_engine::evaluation::{Choice, Evaluation, Question, evaluate};
use stepwell_engine::rollout::{Grown, Plan, search_forest};
use stepwell_engine::scorer::{Continuations, Prefix, Scorer};
use stepwell_methods::grow::{beam, continuations, first_pit, greedy_baseline, independent, mcts};
use stepwell_methods::{COMPANION, CreditConfig, Grow, RewardConfig};
use stepwell_tree::{
    Key, Origin, Purpose, Sampling, StepId, StepTree, Task, UnscoredReason, Verdict, children,
    leaves,
};

const CONTINUATIONS: Grow = Grow::Continuations(continuations::Config {
    attempts: 2,
    rollouts: 3,
    leaves: 100,
    tokens: None,
});

fn tasks() -> Vec<Task> {
    ["one", "two", "three", "four"].map(task).to_vec()
}

fn key() -> Key {
    Key::new(1, Purpose::Sample)
}

fn plan(grow: &Grow) -> Plan<'_> {
    Plan { grow, sampling: Sampling::FULL, max_tokens: 5, path_tokens: None, key: key() }
}

fn grow_with(
    grow: &Grow,
    world: &World,
    tasks: &[Task],
    arrival: u64,
    scorer: Option<&mut dyn Scorer>,
) -> Vec<Grown> {
    let mut policy = Shuffled::new(arrival);
    let tasks: Vec<&Task> = tasks.iter().collect();
    let grown = search_forest(&mut policy, world, &tasks, &plan(grow), scorer, |_| {});
    assert_eq!(policy.held(), 0, "prefixes that nobody will use stay in memory");
    for Grown { tree, text } in &grown {
        tree.check().unwrap();
        assert_eq!(text.len(), tree.len());
        assert_eq!(tree.canonical(), *tree);
        assert!(leaves(tree).iter().all(|leaf| tree.verdict[leaf.index()] != Verdict::Pending));
    }
    grown
}

fn grow(method: &Grow, world: &World, arrival: u64) -> Vec<Grown> {
    grow_with(method, world, &tasks(), arrival, None)
}

/// Right where the last word begins in the first half of the alphabet.
fn first_half(_: &str, said: &[String]) -> Verdict {
    let last = said.last().and_then(|word| word.bytes().next());
    Verdict::scored(f64::from(u8::from(last.is_some_and(|byte| byte < b'n'))))
}

fn same(a: &[Grown], b: &[Grown]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.tree == b.tree && a.text == b.text)
}

fn marks(tree: &StepTree) -> &[f32] {
    &tree.step_column[COMPANION]
}

fn unscored(tree: &StepTree) -> Vec<&UnscoredReason> {
    let reason = |verdict: &'_ Verdict| matches!(verdict, Verdict::Unscored(_));
    let found = tree.verdict.iter().filter(|verdict| reason(verdict));
    found
        .map(|verdict| match verdict {
            Verdict::Unscored(reason) => reason,
            _ => unreachable!("only those are left"),
        })
        .collect()
}

#[test]
fn every_boundary_gets_its_continuations_whoever_comes_first() {
    let world = World::new(3, first_half);
    let expected = grow(&CONTINUATIONS, &world, 0);
    for Grown { tree, .. } in &expected {
        // Two attempts of three steps pass two observations each: with the prompt five boundaries
        // of three lines.
        assert_eq!(leaves(tree).len(), 2 + 5 * 3);
        let below = children(tree);
        let mark = marks(tree);
        let boundary = |i: &usize| !tree.origin[*i].is_policy() && mark[*i] == 0.0;
        let own: Vec<usize> = (0..tree.len()).filter(boundary).collect();
        assert_eq!(own.len(), 5);
        for i in own {
            let lines = below[i].iter().filter(|step| mark[step.index()] != 0.0).count();
            let attempts = below[i].len() - lines;
            assert_eq!((lines, attempts), (3, if i == 0 { 2 } else { 1 }));
        }
    }
    for arrival in 1..20 {
        assert!(same(&grow(&CONTINUATIONS, &world, arrival), &expected), "arrival {arrival}");
    }
    // Nor does the company matter in which a task is attempted.
    let alone = grow_with(&CONTINUATIONS, &world, &tasks()[1..2], 6, None);
    assert!(same(&alone, &expected[1..2]));
}

#[test]
fn attempts_are_those_of_independent_attempts() {
    let world = World::new(3, first_half);
    let flat = Grow::Independent(independent::Config { attempts: 2 });
    let plain = grow(&flat, &world, 0);
    for (searched, plain) in grow(&CONTINUATIONS, &world, 3).iter().zip(&plain) {
        let mark = marks(&searched.tree);
        let own = |text: &Vec<String>, keep: &dyn Fn(usize) -> bool| -> Vec<String> {
            (0..text.len()).filter(|&i| keep(i)).map(|i| text[i].clone()).collect()
        };
        assert_eq!(own(&searched.text, &|i| mark[i] == 0.0), own(&plain.text, &|_| true));
    }
}

#[test]
fn budgets_of_continuations_hold() {
    let world = World::new(3, first_half);
    for budget in [1, 2, 4, 7, 14] {
        let config =
            continuations::Config { attempts: 2, rollouts: 3, leaves: budget, tokens: None };
        for Grown { tree, .. } in grow(&Grow::Continuations(config), &world, budget.into()) {
            let lines = leaves(&tree).iter().filter(|l| marks(&tree)[l.index()] != 0.0).count();
            assert_eq!(lines, budget as usize, "every boundary has room for three");
        }
    }
    // A budget of tokens ends the rounds: what is over it is one round at most.
    let spent = |tree: &StepTree| -> usize {
        let own = (0..tree.len()).filter(|&i| marks(tree)[i] != 0.0);
        own.filter(|&i| tree.origin[i].is_policy()).map(|i| tree.span[i].len()).sum()
    };
    let with = |tokens| {
        let config = continuations::Config { attempts: 2, rollouts: 3, leaves: 100, tokens };
        grow(&Grow::Continuations(config), &world, 1)
    };
    let round: Vec<usize> = with(Some(1)).iter().map(|grown| spent(&grown.tree)).collect();
    for (k, (two, all)) in with(Some(round[0] as u64 + 1)).iter().zip(&with(None)).enumerate() {
        if k == 0 {
            assert!(spent(&two.tree) > round[0] && spent(&two.tree) < spent(&all.tree));
        }
        assert!(leaves(&two.tree).len() % 5 == 2, "rounds of five lines");
    }
    assert!(same(&with(Some(1 << 40)), &with(None)), "rounds make the tree of one round");
}

#[test]
fn a_world_that_cannot_fork_is_played_again_and_one_that_differs_is_not_judged() {
    let expected = grow(&CONTINUATIONS, &World::new(3, first_half), 0);
    let unsupported = World { fork: Fork::Unsupported, ..World::new(3, first_half) };
    for arrival in 0..3 {
        assert!(same(&grow(&CONTINUATIONS, &unsupported, arrival), &expected));
    }
    let fork = Fork::Unsupported;
    let diverging = World { fork, diverges: true, ..World::new(3, first_half) };
    for Grown { tree, .. } in grow(&CONTINUATIONS, &diverging, 3) {
        // Lines from the prompt start a world of their own; those from the four observations are
        // played again, and are in no mean.
        let reasons = unscored(&tree);
        assert_eq!(reasons.len(), 4 * 3);
        assert!(reasons.iter().all(|r| r.label() == "replay_diverged"), "{reasons:?}");
    }
    let failing = World { fork: Fork::Fails, ..World::new(3, first_half) };
    for Grown { tree, .. } in grow(&CONTINUATIONS, &failing, 3) {
        assert_eq!(unscored(&tree).len(), 4 * 3);
    }
}

#[test]
fn the_credit_of_continuations_is_that_of_their_means() {
    let monte_carlo = CreditConfig::MonteCarlo(Default::default());
    let forest: Vec<StepTree> = grow(&CONTINUATIONS, &World::new(2, first_half), 2)
        .into_iter()
        .map(|grown| grown.tree)
        .collect();
    let credit = monte_carlo.credit(&forest, &RewardConfig::Outcome.reward(&forest));
    for (tree, credit) in forest.iter().zip(&credit) {
        let below = children(tree);
        let reward = |mut at: StepId| loop {
            match below[at.index()].first() {
                None => return tree.verdict[at.index()].reward().unwrap(),
                Some(next) => at = *next,
            }
        };
        let value = |i: usize| {
            let lines = below[i].iter().filter(|step| marks(tree)[step.index()] != 0.0);
            lines.map(|step| reward(*step)).sum::<f64>() / 3.0
        };
        for (i, next) in below.iter().enumerate() {
            let own = tree.origin[i].is_policy() && marks(tree)[i] == 0.0;
            let expected = own.then(|| {
                let after = match next.first() {
                    Some(observation) => value(observation.index()),
                    None => tree.verdict[i].reward().unwrap(),
                };
                after - value(tree.parent[i].index())
            });
            match (credit.step[i], expected) {
                (Some(got), Some(expected)) => assert!((got - expected).abs() < 1e-12),
                (got, expected) => assert_eq!(got, expected, "step {i}"),
            }
        }
    }
}

#[test]
fn the_greedy_attempt_is_greedy_marked_and_in_no_credit() {
    let method = Grow::GreedyBaseline(greedy_baseline::Config { attempts: 2 });
    let world = World::new(2, first_half);
    let expected = grow(&method, &world, 0);
    let said = |Grown { tree, text }: &Grown, of: f32| -> Vec<String> {
        let own = |i: &usize| tree.origin[*i].is_policy() && marks(tree)[*i] == of;
        (0..tree.len()).filter(own).map(|i| text[i].clone()).collect()
    };
    for (grown, other) in expected.iter().zip(&expected[1..]) {
        assert_eq!(leaves(&grown.tree).len(), 3);
        assert_eq!(said(grown, 1.0).len(), 2);
        assert_eq!(said(grown, 1.0), said(other, 1.0), "greedy is the same for every draw");
        assert_ne!(said(grown, 0.0), said(other, 0.0));
    }
    assert!((1..9).all(|arrival| same(&grow(&method, &world, arrival), &expected)));
    let forest: Vec<StepTree> = expected.into_iter().map(|grown| grown.tree).collect();
    let remax = CreditConfig::Remax(Default::default());
    let credit = remax.credit(&forest, &RewardConfig::Outcome.reward(&forest));
    for (tree, credit) in forest.iter().zip(&credit) {
        for i in 0..tree.len() {
            let trains = matches!(tree.origin[i], Origin::Policy(_)) && marks(tree)[i] == 0.0;
            assert_eq!(credit.step[i].is_some(), trains, "step {i}");
        }
    }
}

fn scorer<'a>(world: &'a World, arrival: u64, rollouts: u32, best_of: u32) -> Continuations<'a> {
    Continuations {
        policy: Box::new(Shuffled::new(arrival)),
        environment: world,
        rollouts,
        best_of,
        sampling: Sampling::FULL,
        max_tokens: 5,
        path_tokens: None,
        grown_under: key(),
        sampled: 0,
    }
}

#[test]
fn a_prefix_is_worth_what_its_continuations_earn() {
    let world = World::new(3, first_half);
    let tasks = tasks();
    let flat = Grow::Independent(independent::Config { attempts: 2 });
    let forest = grow(&flat, &world, 0);
    let every: Vec<Prefix<'_>> = tasks
        .iter()
        .zip(&forest)
        .flat_map(|(task, Grown { tree, text })| {
            (0..tree.len() as u32).map(move |i| Prefix { task, tree, text, step: StepId(i) })
        })
        .collect();
    let mut plain = scorer(&world, 1, 7, 1);
    let score = plain.score(&every);
    assert!(plain.sampled_tokens() > 0);
    let sevenths = |q: f64| ((q * 7.0).round() - q * 7.0).abs() < 1e-9;
    for (prefix, score) in every.iter().zip(&score) {
        let q = score.expect("nothing fails in this world");
        let verdict = &prefix.tree.verdict[prefix.step.index()];
        assert!(verdict.reward().map_or(sevenths(q), |reward| reward == q), "{q}");
    }
    let mean = score.iter().flatten().sum::<f64>() / score.len() as f64;
    assert!((0.3..0.7).contains(&mean), "half of the alphabet is right: {mean}");
    // A step is worth what its observation is; asked alone, in another order, or again: the same.
    for (i, prefix) in every.iter().enumerate() {
        let alone = scorer(&world, 9, 7, 1).score(&[*prefix])[0];
        assert_eq!(alone, score[i]);
        if prefix.tree.origin[prefix.step.index()] == Origin::Environment {
            assert_eq!(score[i], score[i - 1]);
        }
    }
    // Best of K, a world that cannot fork, one that differs when it is played again.
    for (q, best) in score.iter().zip(scorer(&world, 2, 7, 4).score(&every)) {
        let expected = 1.0 - (1.0 - q.unwrap()).powi(4);
        assert!((best.unwrap() - expected).abs() < 1e-12);
    }
    let diverging = World { diverges: true, ..World::new(3, first_half) };
    let forest = grow(&flat, &diverging, 0);
    let Grown { tree, text } = &forest[0];
    let at = |step| Prefix { task: &tasks[0], tree, text, step };
    let observation = (0..tree.len()).find(|&i| tree.origin[i] == Origin::Environment).unwrap();
    let asked = [at(StepId::ROOT), at(StepId(observation as u32))];
    let score = scorer(&diverging, 0, 5, 1).score(&asked);
    assert!(score[0].is_some() && score[1].is_none(), "{score:?}");
}

fn ask(
    world: &World,
    attempts: u32,
    choice: Choice,
    scorer: Option<&mut (dyn Scorer + '_)>,
) -> Evaluation {
    let grow = Grow::Independent(independent::Config { attempts });
    let question = Question {
        grow: &grow,
        sampling: Sampling::FULL,
        max_tokens: 5,
        path_tokens: None,
        choice,
        key: key(),
        resamples: 500,
        bootstrap: Key::new(1, Purpose::Bootstrap),
    };
    let tasks: Vec<Task> = (0..40).map(|i| task(&format!("task {i}"))).collect();
    evaluate(&mut Shuffled::new(3), world, &tasks, &question, scorer, |_| {})
}

#[test]
fn curves_agree_with_what_they_are_made_of() {
    let world = World::new(2, first_half);
    let sampled = ask(&world, 6, Choice::Mean, None);
    let get = |evaluation: &Evaluation, name: &str| evaluation.metrics[name];
    assert!((get(&sampled, "pass_at/1") - sampled.accuracy).abs() < 1e-12);
    assert!((get(&sampled, "majority_at/1") - sampled.accuracy).abs() < 1e-12);
    let curve = ["pass_at/1", "pass_at/2", "pass_at/4", "pass_at/6"].map(|k| get(&sampled, k));
    assert!(curve.is_sorted() && curve[0] < curve[3], "{curve:?}");
    assert_eq!(get(&sampled, "depth/2/attempts"), 240.0);
    assert!((get(&sampled, "depth/2/accuracy") - sampled.accuracy).abs() < 1e-12);
    let (low, high) = (get(&sampled, "accuracy_low"), get(&sampled, "accuracy_high"));
    assert!(low < sampled.accuracy && sampled.accuracy < high, "{low} {high}");
    let width = (high - low) / 2.0;
    assert!((width / sampled.interval - 1.0).abs() < 0.25, "{width} {}", sampled.interval);
    // The vote of all is the last point of the votes' curve.
    let voted = ask(&world, 6, Choice::Majority, None);
    assert!((get(&voted, "majority_at/6") - voted.accuracy).abs() < 1e-12);
    // A scorer that reads verdicts finds a right attempt where there is one: the upper bound.
    let mut oracle = scorer(&world, 0, 3, 1);
    let best = ask(&world, 6, Choice::Best, Some(&mut oracle));
    assert!((best.accuracy - curve[3]).abs() < 1e-12);
    // One attempt has no curve.
    let one = ask(&world, 1, Choice::Mean, None);
    assert!(one.metrics.keys().all(|name| !name.starts_with("pass_at")));
}

/// Values a leaf by its last token; `None` for odd ones.
struct ByLetter;

impl Scorer for ByLetter {
    fn score(&mut self, asked: &[Prefix<'_>]) -> Vec<Option<f64>> {
        let of = |prefix: &Prefix<'_>| {
            let letter = f64::from(*prefix.tree.tokens(prefix.step).last()?);
            (letter % 2.0 == 0.0).then_some(letter)
        };
        asked.iter().map(of).collect()
    }
}

#[test]
fn the_best_attempt_is_the_scorers_and_an_unjudged_one_is_not_picked() {
    // Right where the scorer's pick would be: the last letter is the latest even one.
    let world = World::new(1, |_, said| {
        let letter = said[0].bytes().last().unwrap_or_default();
        Verdict::scored(if letter % 2 == 0 { f64::from(letter) / 256.0 } else { 0.9 })
    });
    let best = ask(&world, 5, Choice::Best, Some(&mut ByLetter));
    let grow = Grow::Independent(independent::Config { attempts: 5 });
    let tasks: Vec<Task> = (0..40).map(|i| task(&format!("task {i}"))).collect();
    let forest = grow_with(&grow, &world, &tasks, 8, None);
    let mut sum = 0.0;
    for Grown { tree, .. } in &forest {
        let rewards: Vec<f64> =
            leaves(tree).iter().map(|l| tree.verdict[l.index()].reward().unwrap()).collect();
        let even = rewards.iter().copied().filter(|r| *r < 0.9).reduce(f64::max);
        sum += even.unwrap_or(rewards[0]);
    }
    assert!((best.accuracy - sum / 40.0).abs() < 1e-12, "{}", best.accuracy);
    // Ties go to the first, and where nothing is valued, too.
    struct Constant(Option<f64>);
    impl Scorer for Constant {
        fn score(&mut self, asked: &[Prefix<'_>]) -> Vec<Option<f64>> {
            vec![self.0; asked.len()]
        }
    }
    let first = |Grown { tree, .. }: &Grown| tree.verdict[leaves(tree)[0].index()].reward();
    let mean = forest.iter().filter_map(first).sum::<f64>() / 40.0;
    for score in [Some(0.5), None, Some(f64::NAN)] {
        let picked = ask(&world, 5, Choice::Best, Some(&mut Constant(score)));
        assert!((picked.accuracy - mean).abs() < 1e-12, "{}", picked.accuracy);
    }
}

const MCTS: Grow = Grow::Mcts(mcts::Config {
    simulations: 12,
    children: 3,
    selection: mcts::Selection::Puct,
    exploration: 0.5,
    backup: mcts::Backup::Mean,
});

#[test]
fn a_search_by_simulations_is_the_same_whoever_comes_first_and_wherever_it_forks() {
    let world = World::new(3, first_half);
    let expected = grow(&MCTS, &world, 0);
    for Grown { tree, .. } in &expected {
        assert_eq!(leaves(tree).len(), 12);
        assert!(children(tree).iter().all(|below| below.len() <= 3));
        assert_eq!(children(tree)[0].len(), 3);
        assert!(!tree.step_column.contains_key(COMPANION));
    }
    assert!((1..12).all(|arrival| same(&grow(&MCTS, &world, arrival), &expected)));
    let unsupported = World { fork: Fork::Unsupported, ..World::new(3, first_half) };
    assert!((0..3).all(|arrival| same(&grow(&MCTS, &unsupported, arrival), &expected)));
    // Played again in a world that differs: unscored, and the search goes on to its budget.
    let fork = Fork::Unsupported;
    let diverging = World { fork, diverges: true, ..World::new(3, first_half) };
    for Grown { tree, .. } in grow(&MCTS, &diverging, 1) {
        let reasons = unscored(&tree);
        assert!(!reasons.is_empty() && leaves(&tree).len() == 12);
        assert!(reasons.iter().all(|reason| reason.label() == "replay_diverged"));
    }
    // A world that cannot be started: nothing can be opened below its ends but at the prompt.
    let broken = [task("broken")];
    let forest = grow_with(&MCTS, &world, &broken, 1, None);
    assert_eq!(unscored(&forest[0].tree).len(), leaves(&forest[0].tree).len());
}

fn a_beam(alpha: f64) -> Grow {
    Grow::Beam(beam::Config { width: 2, candidates: 3, alpha, provers: 4, steps: 9 })
}

#[test]
fn a_beam_keeps_its_width_and_drops_the_rest_unjudged() {
    let world = World::new(3, first_half);
    let method = a_beam(0.5);
    let search = |world: &World, arrival: u64| {
        let mut own = scorer(world, arrival + 50, 5, 1);
        grow_with(&method, world, &tasks(), arrival, Some(&mut own))
    };
    let expected = search(&world, 0);
    for Grown { tree, .. } in &expected {
        let below = children(tree);
        // Three turns of six steps from two prefixes; the last turn's six have ended.
        let steps = (0..tree.len()).filter(|&i| tree.origin[i].is_policy()).count();
        assert_eq!((below[0].len(), steps), (6, 18));
        let dropped = unscored(tree);
        assert_eq!(dropped.len(), 8);
        assert!(dropped.iter().all(|reason| reason.label() == "abandoned"));
        assert_eq!(tree.verdict.iter().filter(|v| v.reward().is_some()).count(), 6);
    }
    assert!((1..8).all(|arrival| same(&search(&world, arrival), &expected)));
    let unsupported = World { fork: Fork::Unsupported, ..World::new(3, first_half) };
    assert!(same(&search(&unsupported, 3), &expected));
    // Some ends come before others: they hold their places.
    let early: fn(&str, &[String]) -> Verdict = first_half;
    let short = World { turns: 1, ..World::new(1, early) };
    let grown = search(&short, 1);
    assert!(grown.iter().all(|g| leaves(&g.tree).len() == 6 && unscored(&g.tree).is_empty()));
}

#[test]
fn a_beam_follows_what_its_scorer_values() {
    // The observation ends with the last word and a bracket: a scorer that likes early letters.
    struct Early;
    impl Scorer for Early {
        fn score(&mut self, asked: &[Prefix<'_>]) -> Vec<Option<f64>> {
            let of = |prefix: &Prefix<'_>| {
                let Prefix { tree, step, .. } = *prefix;
                let own = if tree.origin[step.index()].is_policy() {
                    step
                } else {
                    tree.parent[step.index()]
                };
                Some(-f64::from(*tree.tokens(own).first()?))
            };
            asked.iter().map(of).collect()
        }
    }
    let world = World::new(2, first_half);
    let forest = grow_with(&a_beam(0.0), &world, &tasks(), 4, Some(&mut Early));
    for Grown { tree, .. } in &forest {
        let below = children(tree);
        let mut first: Vec<(u32, bool)> = below[0]
            .iter()
            .map(|step| {
                let observation = below[step.index()][0];
                (tree.tokens(*step)[0], !below[observation.index()].is_empty())
            })
            .collect();
        first.sort();
        let kept: Vec<bool> = first.iter().map(|(_, kept)| *kept).collect();
        // Equal letters at the edge of the beam may stand either way round.
        if first[1].0 != first[2].0 {
            assert_eq!(kept, [true, true, false, false, false, false], "{first:?}");
        }
        assert_eq!(kept.iter().filter(|kept| **kept).count(), 2);
    }
}

#[test]
fn lines_stop_at_the_first_pit() {
    let config = first_pit::Config { attempts: 3, rollouts: 2, extra: 1, right: 1.0, leaves: 40 };
    let method = Grow::FirstPit(config);
    let world = World::new(4, first_half);
    let expected = grow(&method, &world, 0);
    assert!((1..8).all(|arrival| same(&grow(&method, &world, arrival), &expected)));
    let mut pits = 0;
    for Grown { tree, .. } in &expected {
        let labels = first_pit::labels(tree, &config);
        let lines = leaves(tree).iter().filter(|l| marks(tree)[l.index()] != 0.0).count();
        assert!(lines <= 40 && lines == labels.iter().map(|l| l.n as usize).sum::<usize>());
        for label in &labels {
            assert_eq!(label.n, 3, "the deciding and the extra line");
            assert!(label.pit || label.c > 0, "a prefix before the pit can be saved");
            // Nothing after a pit has a label.
            let after = labels.iter().filter(|other| {
                other.at != label.at && stepwell_tree::path_to(tree, other.at).contains(&label.at)
            });
            assert!(!label.pit || after.count() == 0);
            pits += usize::from(label.pit);
        }
    }
    assert!(pits > 0, "the test has power");
}

/// Two whole trees, as they were grown once: keys, places and texts of lines and simulations.
#[test]
fn golden_trees() {
    let world = World::new(2, first_half);
    let config = continuations::Config { attempts: 1, rollouts: 1, leaves: 9, tokens: None };
    let simulations = mcts::Config { simulations: 4, children: 2, ..mcts::Config::default() };
    let drawn = |method: &Grow| {
        let grown = grow_with(method, &world, &tasks()[..1], 0, None).remove(0);
        stepwell_tree::draw(&grown.tree, None, |step| grown.text[step.index()].clone())
    };
    let lines = "\
one
├─ sp
│  └─ [0 474 sp]
│     ├─ sy  r=0
│     └─ gm  r=1
└─ mpif
   └─ [0 646 mpif]
      └─ inh  r=1
";
    assert_eq!(drawn(&Grow::Continuations(config)), lines);
    // Equal visits, so value decides: the second place first, then the first, which is in doubt.
    let searched = lines.replace("└─ inh  r=1", "├─ inh  r=1\n      └─ kgdq  r=1");
    assert_eq!(drawn(&Grow::Mcts(simulations)), searched);
}
