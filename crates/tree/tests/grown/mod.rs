//! Random trees for property tests: any shape that `push` and `judge` can make, in any order of
//! arrival, with empty steps, forks inside a turn, demonstrations, unscored and pending leaves.

use proptest::prelude::*;
use stepwell_tree::{
    Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, TaskHash, UnscoredReason,
    Verdict, children, leaves,
};

/// What decides one step: which parent, which origin, how many tokens, which verdict if a leaf.
type Choice = (u16, u8, u8, u8);

/// No file of failed cases is written: a failure prints its tree.
pub(crate) fn config() -> ProptestConfig {
    ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() }
}

/// Trees of 1 to 41 steps.
pub(crate) fn trees() -> impl Strategy<Value = StepTree> {
    let choice = (any::<u16>(), 0..8u8, 0..4u8, 0..6u8);
    (prop::collection::vec(choice, 0..40), any::<u64>())
        .prop_map(|(steps, seed)| grow(&steps, seed))
}

fn grow(steps: &[Choice], seed: u64) -> StepTree {
    let mut tree = StepTree::new(TaskHash([1; 32]), &[100, 101]);
    for (n, (parent, origin, tokens, _)) in steps.iter().enumerate() {
        let origin = match origin {
            0..5 => Origin::Policy(PolicyVersion(2)),
            5..7 => Origin::Environment,
            _ => Origin::Demonstration,
        };
        let token: Vec<u32> = (0..u32::from(*tokens)).map(|t| 4 * n as u32 + t).collect();
        let sampled = if origin.is_policy() { token.len() } else { 0 };
        tree.push(NewStep {
            parent: StepId(u32::from(*parent) % tree.len() as u32),
            child_index: 0,
            origin,
            stop: if origin.is_policy() { Stop::StopString } else { Stop::NotSampled },
            token: &token,
            logprob: &vec![-0.5; sampled],
        });
    }
    relabel(&mut tree, Key::new(seed, Purpose::Grow));
    for leaf in leaves(&tree).into_iter().filter(|leaf| *leaf != StepId::ROOT) {
        match steps[leaf.index() - 1].3 {
            0 => {}
            1 => tree.judge(leaf, Verdict::Unscored(UnscoredReason::Interrupted)),
            k => tree.judge(leaf, Verdict::scored(f64::from(k - 2) / 3.0)),
        }
    }
    let column = |n: usize| (0..n).map(|i| i as f32).collect::<Vec<_>>();
    tree.step_column.insert("mc_value".to_owned(), column(tree.len()));
    tree.token_column.insert("value".to_owned(), column(tree.token.len()));
    tree
}

/// Gives siblings a random order.
pub(crate) fn relabel(tree: &mut StepTree, key: Key) {
    for (parent, below) in children(tree).iter().enumerate() {
        let order = key.with(parent as u64).permutation(below.len());
        for (child, place) in below.iter().zip(order) {
            tree.child_index[child.index()] = place as u32;
        }
    }
}
