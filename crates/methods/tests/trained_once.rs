//! INV-3 on random trees, through every layer at once: growing, rewards, credit, weights, layout.
//! Every sampled token of a scored path is trained exactly once, and nothing else is.

#[path = "../../tree/tests/grown/mod.rs"]
mod grown;

use grown::{relabel, trees};
use proptest::prelude::*;
use stepwell_methods::credit::{
    effective_reward, gae, group_mean, leave_one_out, n_step, permuted, reinforce, reverse_kl,
    sibling, uniform,
};
use stepwell_methods::grow::branch;
use stepwell_methods::reward::outcome;
use stepwell_methods::{Aggregation, CreditConfig, Grow, GrowView, decisions, token_weights};
use stepwell_tree::{
    Credit, Key, Layout, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, TaskHash,
    Verdict, leaves, path_to,
};

const AGGREGATIONS: [Aggregation; 3] = [
    Aggregation::TokenMean,
    Aggregation::SequenceMeanTokenMean,
    Aggregation::SequenceMeanTokenSumNorm { length_constant: Some(16) },
];

fn all_credits() -> Vec<CreditConfig> {
    vec![
        CreditConfig::Reinforce(reinforce::Config::default()),
        CreditConfig::GroupMean(group_mean::Config::default()),
        CreditConfig::LeaveOneOut(leave_one_out::Config::default()),
        CreditConfig::Sibling(sibling::Config::default()),
        CreditConfig::Uniform(uniform::Config::default()),
        CreditConfig::Gae(gae::Config::default()),
        CreditConfig::NStep(n_step::Config::default()),
        CreditConfig::EffectiveReward(effective_reward::Config::default()),
        CreditConfig::ReverseKl(reverse_kl::Config::default()),
        CreditConfig::Permuted(permuted::Config::default()),
    ]
}

fn credit_of(method: &CreditConfig, forest: &[StepTree]) -> Vec<Credit> {
    let mut forest = forest.to_vec();
    for tree in &mut forest {
        let column = |n: usize| (0..n).map(|i| (i % 5) as f32 / 5.0).collect::<Vec<_>>();
        tree.token_column.insert("teacher_logprob".to_owned(), column(tree.token.len()));
        tree.step_column.insert("score".to_owned(), column(tree.len()));
    }
    method.credit(&forest, &outcome::reward(&forest))
}

/// By definition: steps of the policy on the path to a scored leaf.
fn should_train(tree: &StepTree) -> Vec<bool> {
    let mut train = vec![false; tree.len()];
    let scored = |leaf: &StepId| tree.verdict[leaf.index()].reward().is_some();
    for leaf in leaves(tree).into_iter().filter(scored) {
        for step in path_to(tree, leaf) {
            train[step.index()] |= tree.origin[step.index()].is_policy();
        }
    }
    train
}

/// How often each token of each tree's arena is a trained row of the packed update.
fn trained(forest: &[StepTree], weight: &[Vec<f64>]) -> Vec<Vec<u32>> {
    let layout = Layout::pack(forest);
    let mut count: Vec<Vec<u32>> = forest.iter().map(|t| vec![0; t.token.len()]).collect();
    for (packed, (t, step)) in layout.source.iter().enumerate() {
        let span = forest[*t as usize].span[step.index()];
        assert_eq!(layout.rows(packed).len(), span.len());
        for token in span.range() {
            count[*t as usize][token] += u32::from(weight[*t as usize][token] != 0.0);
        }
    }
    count
}

proptest! {
    #![proptest_config(grown::config())]

    #[test]
    fn every_sampled_token_of_a_scored_path_is_trained_once(tree in trees(), other in trees()) {
        let forest = [tree, other];
        let credit = credit_of(&CreditConfig::Uniform(uniform::Config::default()), &forest);
        for aggregation in AGGREGATIONS {
            let weight = token_weights(&forest, &credit, aggregation, 16);
            for (tree, count) in forest.iter().zip(trained(&forest, &weight)) {
                for (i, train) in should_train(tree).into_iter().enumerate() {
                    let once = count[tree.span[i].range()].iter().all(|c| *c == u32::from(train));
                    prop_assert!(once, "step {} of {:?}: {:?}", i, tree, count);
                }
            }
        }
    }

    #[test]
    fn no_method_trains_what_was_not_sampled_or_not_scored(tree in trees(), other in trees()) {
        let forest = [tree, other];
        for method in all_credits() {
            let credit = credit_of(&method, &forest);
            let rewards = outcome::reward(&forest);
            let flat = !matches!(method, CreditConfig::Sibling(_) | CreditConfig::Permuted(_));
            for (t, tree) in forest.iter().enumerate() {
                let may = should_train(tree);
                for (may, number) in may.iter().zip(&credit[t].step) {
                    prop_assert!(*may || number.is_none(), "{}", method.name());
                }
                // With enough to compare, flat methods leave out nothing that may train.
                let enough = rewards.scored(t).len() >= method.needs().attempts_min as usize;
                if flat && enough {
                    let expected = may.iter().filter(|may| **may).count();
                    prop_assert_eq!(credit[t].trained_steps(), expected, "{}", method.name());
                }
            }
        }
    }

    #[test]
    fn weights_add_up_to_what_their_names_say(tree in trees(), other in trees()) {
        let forest = [tree, other];
        for method in all_credits() {
            let credit = credit_of(&method, &forest);
            if credit.iter().all(|c| c.trained_steps() == 0) {
                continue;
            }
            let tokens = |(tree, credit): (&StepTree, &Credit)| -> usize {
                let own = tree.span.iter().zip(&credit.step);
                own.filter(|(_, c)| c.is_some()).map(|(span, _)| span.len()).sum()
            };
            let all: usize = forest.iter().zip(&credit).map(tokens).sum();
            let sum = |aggregation| -> f64 {
                token_weights(&forest, &credit, aggregation, 16).iter().flatten().sum()
            };
            let expected = if all == 0 { 0.0 } else { 1.0 };
            prop_assert!((sum(AGGREGATIONS[0]) - expected).abs() < 1e-9);
            // A mean over rows of means; rows without tokens take their share with them.
            prop_assert!(sum(AGGREGATIONS[1]) < 1.0 + 1e-9);
        }
    }

    #[test]
    fn permuting_siblings_permutes_weights(tree in trees(), seed in any::<u64>()) {
        let mut permuted = tree.clone();
        relabel(&mut permuted, Key::new(seed, Purpose::Control));
        let order = permuted.depth_first();
        let (before, after) = ([tree], [permuted.canonical()]);
        for method in all_credits().into_iter().take(5) {
            for aggregation in AGGREGATIONS {
                let weigh = |forest: &[StepTree]| {
                    token_weights(forest, &credit_of(&method, forest), aggregation, 16).remove(0)
                };
                let (old, new) = (weigh(&before), weigh(&after));
                let moved = order.iter().flat_map(|s| &old[before[0].span[s.index()].range()]);
                for (a, b) in moved.zip(&new) {
                    prop_assert!((a - b).abs() < 1e-12);
                }
            }
        }
    }

    #[test]
    fn a_grown_tree_depends_on_no_order_of_completion(
        attempts in 1..4u32, branches in 1..4u32, spare in 0..10u32,
        tokens in prop::option::of(1..60u64), seed in any::<u64>(), order in any::<u64>(),
    ) {
        let config = branch::Config { attempts, branches, leaves: attempts + spare, tokens };
        let grow = Grow::Branch(config);
        let (a, b) = (run(&grow, seed, order), run(&grow, seed, !order));
        prop_assert_eq!(a.check(), Ok(()));
        prop_assert_eq!(a.canonical(), b.canonical());
        prop_assert!(leaves(&a).len() <= grow.leaves_max() as usize);
        let children = stepwell_tree::children(&a);
        prop_assert_eq!(children[0].len(), attempts as usize);
        if branches == 1 {
            prop_assert!(children[1..].iter().all(|below| below.len() <= 1));
        }
    }
}

/// Grows a tree with a policy and a world that are functions of the path, taking open steps in an
/// order of its own: a small engine.
fn run(grow: &Grow, seed: u64, order: u64) -> StepTree {
    let mut tree = StepTree::new(TaskHash([3; 32]), &[1]);
    let draw = |path: &[stepwell_methods::Decision], purpose: u64| {
        let key = Key::new(seed, Purpose::Sample).with(purpose);
        path.iter().fold(key, |key, d| key.with(u64::from(d.child_index)))
    };
    let mut open: Vec<(StepId, u32)> = (0..grow.opening()).map(|k| (StepId::ROOT, k)).collect();
    let pick = Key::new(order, Purpose::Control);
    for turn in 0.. {
        if open.is_empty() {
            break;
        }
        let (parent, child_index) = open.swap_remove(pick.with(turn).below(open.len()));
        let mut path = decisions(&tree, parent);
        path.push(stepwell_methods::Decision { child_index, tokens: 0, surprisal: 0.0 });
        let token = vec![7; 1 + draw(&path, 0).below(5)];
        let step = tree.push(NewStep {
            parent,
            child_index,
            origin: Origin::Policy(PolicyVersion(0)),
            stop: Stop::StopString,
            token: &token,
            logprob: &vec![-1.0; token.len()],
        });
        let path = decisions(&tree, step);
        if path.len() == 6 || draw(&path, 1).below(4) == 0 {
            tree.judge(step, Verdict::scored(draw(&path, 2).uniform()));
            continue;
        }
        let observation = tree.push(NewStep {
            parent: step,
            child_index: 0,
            origin: Origin::Environment,
            stop: Stop::NotSampled,
            token: &[8],
            logprob: &[],
        });
        let view = GrowView { path: &path };
        let children = grow.after_observation(&view, Key::new(seed, Purpose::Grow));
        open.extend((0..children).map(|k| (observation, k)));
    }
    tree
}
