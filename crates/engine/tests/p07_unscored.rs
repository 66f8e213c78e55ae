//! P7: a failure to judge is never a reward (INV-11). And rollouts: arrival decides nothing,
//! worlds that cannot fork are played again.

mod common;

use std::sync::atomic::Ordering;

use common::policy::Shuffled;
use common::runs::{TINY, end, finish, recipe, start};
use common::world::{Fork, World, failed, task};
use stepwell_engine::EngineError;
use stepwell_engine::observe::Silent;
use stepwell_engine::rollout::{Grown, Plan, grow_forest};
use stepwell_engine::run;
use stepwell_methods::credit::sibling;
use stepwell_methods::grow::branch;
use stepwell_methods::{CreditConfig, Grow, RewardConfig};
use stepwell_store::{Kind, RunReader};
use stepwell_tree::{
    Key, Origin, Purpose, Sampling, StepTree, Task, UnscoredReason, Verdict, leaves,
};

const GROW: Grow =
    Grow::Branch(branch::Config { attempts: 3, branches: 2, leaves: 9, tokens: None });

fn tasks() -> Vec<Task> {
    ["one", "two", "three", "four"].map(task).to_vec()
}

fn grow(world: &World, tasks: &[Task], arrival: u64) -> Vec<Grown> {
    let mut policy = Shuffled::new(arrival);
    let key = Key::new(1, Purpose::Sample);
    let (sampling, max_tokens) = (Sampling::FULL, 5);
    let plan = Plan { grow: &GROW, sampling, max_tokens, path_tokens: None, key };
    let tasks: Vec<&Task> = tasks.iter().collect();
    let grown = grow_forest(&mut policy, world, &tasks, &plan, |_| {});
    assert_eq!(policy.held(), 0, "prefixes that nobody will use stay in memory");
    for Grown { tree, text } in &grown {
        tree.check().unwrap();
        assert_eq!(text.len(), tree.len());
        assert!(leaves(tree).iter().all(|leaf| tree.verdict[leaf.index()] != Verdict::Pending));
    }
    grown
}

/// Right where the last word begins in the first half of the alphabet.
fn first_half(_: &str, said: &[String]) -> Verdict {
    let last = said.last().and_then(|word| word.bytes().next());
    Verdict::scored(f64::from(u8::from(last.is_some_and(|byte| byte < b'n'))))
}

fn unscored(tree: &StepTree) -> Vec<&UnscoredReason> {
    let mut reasons = Vec::new();
    for verdict in &tree.verdict {
        if let Verdict::Unscored(reason) = verdict {
            reasons.push(reason);
        }
    }
    reasons
}

fn same(a: &[Grown], b: &[Grown]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.tree == b.tree && a.text == b.text)
}

#[test]
fn p02_arrival_decides_nothing() {
    let world = World::new(3, first_half);
    let expected = grow(&world, &tasks(), 0);
    assert!(expected.iter().all(|grown| leaves(&grown.tree).len() == 9));
    for arrival in 1..20 {
        assert!(same(&grow(&world, &tasks(), arrival), &expected), "arrival {arrival}");
    }
    // Nor does the company in which a task is attempted, nor its place in it.
    let mut turned = tasks();
    turned.reverse();
    let mut alone = grow(&world, &turned, 5);
    alone.reverse();
    assert!(same(&alone, &expected));
    assert!(same(&grow(&world, &tasks()[1..2], 6), &expected[1..2]));
}

#[test]
fn a_world_that_cannot_fork_is_played_again() {
    let world = World::new(3, first_half);
    let expected = grow(&world, &tasks(), 0);
    let unsupported = World { fork: Fork::Unsupported, ..World::new(3, first_half) };
    for arrival in 0..5 {
        assert!(same(&grow(&unsupported, &tasks(), arrival), &expected), "arrival {arrival}");
    }
    // Nine leaves of four trees, five times; forks start nothing.
    assert_eq!(unsupported.started.load(Ordering::Relaxed), 5 * 4 * 9);
    assert_eq!(world.started.load(Ordering::Relaxed), 4 * 3);
}

#[test]
fn p07_a_replay_that_diverges_is_unscored() {
    let fork = Fork::Unsupported;
    let world = World { fork, diverges: true, ..World::new(3, first_half) };
    for Grown { tree, .. } in grow(&world, &tasks(), 3) {
        // The last child of a fork keeps the episode it came with; the others were played again.
        let reasons = unscored(&tree);
        assert_eq!((leaves(&tree).len() - reasons.len(), reasons.len()), (3, 3));
        assert!(reasons.iter().all(|r| r.label() == "replay_diverged"), "{reasons:?}");
    }
}

#[test]
fn p07_worlds_that_fail_are_in_no_mean() {
    let sibling = CreditConfig::Sibling(sibling::Config::default());
    let credit =
        |forest: &[StepTree]| sibling.credit(forest, &RewardConfig::Outcome.reward(forest));
    let trees = |grown: Vec<Grown>| -> Vec<StepTree> {
        grown.into_iter().map(|grown| grown.tree).collect()
    };
    // Starts fail: the task's attempts are sampled, unscored and untrained; the others' credit is
    // what it is without them.
    let world = World::new(2, first_half);
    let mut mixed = tasks();
    mixed.push(task("broken"));
    let forest = trees(grow(&world, &mixed, 1));
    assert_eq!(unscored(&forest[4]), vec![&failed(); 3]);
    let credits = credit(&forest);
    assert_eq!(credits[4].trained_steps(), 0);
    assert_eq!(credits[..4], credit(&trees(grow(&world, &tasks(), 1))));
    // Forks fail: the siblings that are left are compared with nobody.
    let world = World { fork: Fork::Fails, ..World::new(3, first_half) };
    for tree in trees(grow(&world, &tasks(), 1)) {
        assert_eq!(unscored(&tree).len(), leaves(&tree).len() - 3);
        assert!(unscored(&tree).iter().all(|reason| **reason == failed()));
        let credit = credit(std::slice::from_ref(&tree)).remove(0);
        for leaf in leaves(&tree) {
            let judged = tree.verdict[leaf.index()].reward().is_some();
            assert_eq!(credit.step[leaf.index()].is_some(), judged);
        }
    }
    // Ends without a judgement, or with one that is no number.
    let world = World::new(2, |_, said| match said[1].bytes().next() {
        Some(b'a'..=b'h') => Verdict::Unscored(failed()),
        Some(b'i'..=b'q') => Verdict::Scored { reward: f64::NAN, parts: Default::default() },
        _ => Verdict::scored(0.0),
    });
    let forest = trees(grow(&world, &tasks(), 1));
    let labels: Vec<_> = forest.iter().flat_map(unscored).collect();
    assert!(labels.contains(&&failed()) && labels.iter().any(|r| **r != failed()), "{labels:?}");
    for (tree, credit) in forest.iter().zip(credit(&forest)) {
        assert!(credit.step.iter().flatten().all(|c| *c == 0.0), "the judged are all equal");
        let of = |i: &usize| matches!(tree.origin[*i], Origin::Policy(_));
        assert!((0..tree.len()).filter(|i| !of(i)).all(|i| credit.step[i].is_none()));
    }
}

/// A recipe over two questions, one with a gold query that does not run.
fn half_broken(folder: &std::path::Path, unscored_max: f64) -> String {
    let base = folder.join("databases");
    std::fs::create_dir_all(&base).unwrap();
    let _ = std::fs::remove_file(base.join("shop.sqlite"));
    let connection = rusqlite::Connection::open(base.join("shop.sqlite")).unwrap();
    connection.execute_batch("CREATE TABLE item (name TEXT, price INTEGER);").unwrap();
    connection.execute_batch("INSERT INTO item VALUES ('pen', 2), ('cup', 5);").unwrap();
    connection.close().unwrap();
    let line = |id: &str, gold: &str| {
        format!(
            "{{\"id\":\"{id}\",\"question\":\"price of {id}\",\"database\":\"shop\",\"gold\":\"{gold}\"}}\n"
        )
    };
    let tasks = line("pen", "SELECT price FROM item WHERE name = 'pen'")
        + &line("cup", "SELECT colour FROM item WHERE name = 'cup'");
    let file = folder.join("train.jsonl");
    std::fs::write(&file, tasks).unwrap();
    let rl = TINY.find("[[stage]]\n[stage.rl]").unwrap();
    let last = TINY.find("[[stage]]\n[stage.evaluate]").unwrap();
    let rl = TINY[rl..last]
        .replace("tasks = 4", &format!("tasks = 2\nunscored_max = {unscored_max}"))
        .replace("evaluate_every = 2", "evaluate_every = 0");
    format!(
        "seed = 3\n[model.scratch]\nhidden = 16\nlayers = 1\nheads = 2\ncontext = 160\n\
         [environment]\ntype = \"sql\"\n[environment.files]\ntrain = {:?}\ndatabases = {:?}\n{rl}",
        file.display().to_string(),
        base.display().to_string()
    )
}

#[test]
fn p07_too_many_failures_stop_the_run_before_it_trains() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let text = half_broken(folder.path(), 0.2);
    let error = run::start(&recipe(&text), &path, 2, &mut Silent).unwrap_err();
    let EngineError::Unscored { unscored, attempts, reasons, .. } = &error else {
        panic!("{error}")
    };
    assert!(*unscored == 2 && *attempts >= 4 && reasons.starts_with("gold_failed: 2"), "{error}");
    assert_eq!(error.exit_code(), 1);
    let reader = RunReader::open(&path).unwrap();
    assert_eq!(reader.newest(Kind::Updated).unwrap(), None, "something was trained");
    assert_eq!(std::fs::read_dir(path.join("checkpoints")).unwrap().count(), 0);
    // Where the recipe allows them they are counted, and the judged half trains.
    let path = folder.path().join("tolerant");
    start(&half_broken(folder.path(), 0.6), &path, 2).unwrap();
    let reader = RunReader::open(&path).unwrap();
    let counted = reader.metric_series("unscored/gold_failed").unwrap();
    assert!(counted.len() >= 3 && counted.iter().all(|point| point.value == 2.0), "{counted:?}");
    assert!(reader.newest(Kind::Updated).unwrap().is_some());
    // The run that was stopped waits: once the cause is mended it goes on, to the same end as a run
    // that never met it.
    let text = half_broken(folder.path(), 0.2);
    let base = rusqlite::Connection::open(folder.path().join("databases/shop.sqlite")).unwrap();
    base.execute_batch("ALTER TABLE item ADD COLUMN colour TEXT; UPDATE item SET colour = 'red'")
        .unwrap();
    base.close().unwrap();
    let fresh = folder.path().join("fresh");
    start(&text, &fresh, 2).unwrap();
    assert_eq!(finish(&folder.path().join("run"), 1).unwrap(), end(&fresh));
}

/// Rounds of two tasks, one of which cannot be judged: half of the attempts, however many grow at a
/// time, and whichever comes first.
#[test]
fn p07_a_round_is_refused_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, at_once: usize, unscored_max: f64| {
        let text = half_broken(folder.path(), unscored_max);
        let stage = text.find("[[stage]]").unwrap();
        let rejection = format!(
            "[[stage]]\n[stage.rejection]\nrounds = 6\nsteps = 1\nbatch = 2\nmax_tokens = 8\n\
             tasks_at_once = {at_once}\nunscored_max = {unscored_max}\n\
             grow = {{ type = \"independent\", attempts = 2 }}\n"
        );
        let path = folder.path().join(name);
        run::start(&recipe(&(text[..stage].to_owned() + &rejection)), &path, 2, &mut Silent)
            .map(|_| path)
    };
    let refused = |name: &str, at_once: usize| match run(name, at_once, 0.4) {
        Err(EngineError::Unscored { unscored, attempts, .. }) => (unscored, attempts),
        other => panic!("{other:?}"),
    };
    assert_eq!([refused("a", 1), refused("b", 2)], [(2, 4); 2]);
    let path = run("c", 1, 0.6).unwrap();
    let reader = RunReader::open(&path).unwrap();
    let first = |round: u64| reader.grown(0, round).unwrap().unwrap().remove(0).tree;
    assert!((0..6).any(|round| !unscored(&first(round)).is_empty()), "the test has no power");
}
