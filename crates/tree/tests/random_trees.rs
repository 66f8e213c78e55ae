//! What must hold of every tree, on random ones, against definitions too slow to ship.

mod grown;

use grown::{relabel, trees};
use proptest::prelude::*;
use stepwell_tree::{
    Key, Layout, NOT_SAMPLED, NewStep, Origin, Purpose, Span, StepId, StepTree, TaskHash, Verdict,
    leaves, path_to, recursive_mean, sampled_length,
};

/// The tree as if its steps had arrived in another order that keeps parents before children.
/// Returns where each old step went.
fn arrive_again(tree: &StepTree, key: Key) -> (StepTree, Vec<StepId>) {
    let mut again = StepTree::new(tree.task, tree.tokens(StepId::ROOT));
    let mut place = vec![None; tree.len()];
    place[0] = Some(StepId::ROOT);
    let mut order = vec![StepId::ROOT];
    while order.len() < tree.len() {
        let ready: Vec<usize> = (1..tree.len())
            .filter(|&i| place[i].is_none() && place[tree.parent[i].index()].is_some())
            .collect();
        let i = ready[key.with(order.len() as u64).below(ready.len())];
        let step = StepId(i as u32);
        let sampled = tree.origin[i].is_policy();
        place[i] = Some(again.push(NewStep {
            parent: place[tree.parent[i].index()].expect("a parent is ready"),
            child_index: tree.child_index[i],
            origin: tree.origin[i],
            stop: tree.stop[i],
            token: tree.tokens(step),
            logprob: if sampled { tree.logprobs(step) } else { &[] },
        }));
        order.push(step);
    }
    again.verdict = order.iter().map(|old| tree.verdict[old.index()].clone()).collect();
    for (name, column) in &tree.step_column {
        let moved = order.iter().map(|old| column[old.index()]).collect();
        again.step_column.insert(name.clone(), moved);
    }
    for (name, column) in &tree.token_column {
        let moved = order.iter().flat_map(|old| column[tree.span[old.index()].range()].to_vec());
        again.token_column.insert(name.clone(), moved.collect());
    }
    (again, place.into_iter().map(|p| p.expect("every step arrived")).collect())
}

fn values(tree: &StepTree) -> Vec<Option<f64>> {
    recursive_mean(tree, |s| tree.verdict[s.index()].reward())
}

proptest! {
    #![proptest_config(grown::config())]

    #[test]
    fn check_accepts_every_grown_tree(tree in trees()) {
        prop_assert_eq!(tree.check(), Ok(()));
        prop_assert_eq!(tree.canonical().check(), Ok(()));
    }

    #[test]
    fn every_step_and_token_is_packed_exactly_once(tree in trees(), other in trees()) {
        let forest = [tree, other];
        let layout = Layout::pack(&forest);
        let mut seen = layout.source.clone();
        seen.sort_unstable();
        let steps = |t: u32| (0..forest[t as usize].len() as u32).map(move |s| (t, StepId(s)));
        let all = (0..2).flat_map(steps);
        prop_assert_eq!(seen, all.collect::<Vec<_>>());
        for (packed, (t, step)) in layout.source.iter().enumerate() {
            prop_assert_eq!(&layout.token[layout.rows(packed)], forest[*t as usize].tokens(*step));
        }
    }

    #[test]
    fn a_row_sees_its_own_path_and_nothing_else(tree in trees(), other in trees()) {
        let forest = [tree, other];
        let layout = Layout::pack(&forest);
        let step_of = layout.step_of();
        for i in 0..layout.len() {
            let (t, step) = layout.source[step_of[i] as usize];
            let path = path_to(&forest[t as usize], step);
            let mut seen = 0;
            for j in 0..layout.len() {
                let (u, above) = layout.source[step_of[j] as usize];
                let on_path = t == u && path.contains(&above) && (above != step || j <= i);
                prop_assert_eq!(layout.visible(&step_of, j, i), on_path, "row {} and {}", j, i);
                seen += u32::from(on_path);
            }
            prop_assert_eq!(layout.position[i] + 1, seen, "position of row {}", i);
        }
    }

    #[test]
    fn the_predecessor_is_the_last_token_above_on_the_path(tree in trees(), other in trees()) {
        let forest = [tree, other];
        let layout = Layout::pack(&forest);
        let before = layout.predecessor();
        let packed = |t: u32, s: StepId| layout.source.iter().position(|x| *x == (t, s)).unwrap();
        for (k, (t, step)) in layout.source.iter().enumerate() {
            // A step without tokens has no first token to predict.
            if layout.rows(k).is_empty() {
                continue;
            }
            let path = path_to(&forest[*t as usize], *step);
            let mut above = path[..path.len() - 1].iter().rev();
            let mut rows = above.by_ref().map(|s| layout.rows(packed(*t, *s)));
            let expected = rows.find(|rows| !rows.is_empty()).map(|rows| rows.end as u32 - 1);
            prop_assert_eq!(before[k], expected, "{:?}", (t, step));
            if let Some(row) = expected {
                let own = layout.position[layout.rows(k).start];
                prop_assert_eq!(layout.position[row as usize] + 1, own);
            }
        }
    }

    #[test]
    fn the_order_of_arrival_changes_no_byte(tree in trees(), seed in any::<u64>()) {
        let (again, place) = arrive_again(&tree, Key::new(seed, Purpose::Grow));
        prop_assert_eq!(again.check(), Ok(()));
        prop_assert_eq!(again.canonical(), tree.canonical());
        let (a, b) = (Layout::pack([&tree]), Layout::pack([&again]));
        let moved: Vec<StepId> = a.source.iter().map(|(_, s)| place[s.index()]).collect();
        prop_assert_eq!(moved, b.source.iter().map(|(_, s)| *s).collect::<Vec<_>>());
        prop_assert_eq!((a.token, a.position), (b.token, b.position));
        prop_assert_eq!((a.begin, a.subtree_end), (b.begin, b.subtree_end));
    }

    #[test]
    fn a_canonical_tree_is_its_own_canonical_form(tree in trees()) {
        let canonical = tree.canonical();
        prop_assert_eq!(&canonical.canonical(), &canonical);
        let in_order: Vec<StepId> = (0..canonical.len() as u32).map(StepId).collect();
        prop_assert_eq!(canonical.depth_first(), in_order);
    }

    #[test]
    fn permuting_siblings_permutes_and_changes_nothing_else(tree in trees(), seed in any::<u64>()) {
        let mut permuted = tree.clone();
        relabel(&mut permuted, Key::new(seed, Purpose::Control));
        let order = permuted.depth_first();
        let moved = permuted.canonical();
        // Steps are the same multiset of tokens and their positions.
        let rows = |tree: &StepTree| {
            let layout = Layout::pack([tree]);
            let row = |k: usize| {
                let rows = layout.rows(k);
                (layout.token[rows.clone()].to_vec(), layout.position[rows].to_vec())
            };
            let mut all: Vec<_> = (0..layout.steps()).map(row).collect();
            all.sort();
            all
        };
        prop_assert_eq!(rows(&tree), rows(&moved));
        prop_assert_eq!(tree.flat_tokens(), moved.flat_tokens());
        prop_assert_eq!(tree.unique_tokens(), moved.unique_tokens());
        // Values and lengths go where their steps went.
        let (before, after) = (values(&tree), values(&moved));
        let (length, length_after) = (sampled_length(&tree), sampled_length(&moved));
        for (new, old) in order.iter().enumerate() {
            prop_assert_eq!(length[old.index()], length_after[new]);
            match (before[old.index()], after[new]) {
                (Some(a), Some(b)) => prop_assert!((a - b).abs() < 1e-12),
                (a, b) => prop_assert_eq!(a, b),
            }
        }
    }

    #[test]
    fn counts_are_those_of_flat_rows(tree in trees()) {
        let (mut flat, mut seen) = (0, vec![false; tree.len()]);
        for leaf in leaves(&tree) {
            for step in path_to(&tree, leaf) {
                flat += tree.tokens(step).len();
                seen[step.index()] = true;
            }
        }
        prop_assert_eq!(tree.flat_tokens(), flat);
        prop_assert!(seen.into_iter().all(|s| s), "every step is on the path of a leaf");
    }
}

/// A fork and a line, with columns: what violations are planted in.
fn sound() -> StepTree {
    let mut tree = stepwell_tree::parse(
        "0 -  prompt q q
         1 0  policy a a
         2 0  policy b        r=0.5 part:format=1
         3 1  environment o
         4 3  policy c        r=1",
    );
    tree.step_column.insert("mc_value".to_owned(), vec![0.0; 5]);
    tree.token_column.insert("value".to_owned(), vec![0.0; 7]);
    tree
}

/// A name, how to break a tree that way, the step where it shows, and a piece of the sentence.
type Plant = (&'static str, fn(&mut StepTree), u32, &'static str);

const PLANTS: &[Plant] = &[
    ("a column too short", |t| t.stop.truncate(t.stop.len() - 1), 0, "column `stop`"),
    ("a span too many", |t| t.span.push(Span { begin: 7, end: 7 }), 0, "column `span`"),
    (
        "no child index",
        |t| t.child_index.truncate(t.child_index.len() - 1),
        0,
        "column `child_index`",
    ),
    ("no origin", |t| t.origin.truncate(t.origin.len() - 1), 0, "column `origin`"),
    ("no verdict", |t| t.verdict.truncate(t.verdict.len() - 1), 0, "column `verdict`"),
    ("a root with a parent", |t| t.parent[0] = StepId(1), 0, "root"),
    ("a root that is not a prompt", |t| t.origin[0] = Origin::Environment, 0, "root"),
    ("a log-prob too few", |t| t.logprob.truncate(t.logprob.len() - 1), 0, "log-probs"),
    ("a parent after its child", |t| t.parent[1] = StepId(3), 1, "parent 3"),
    ("a step that is its own parent", |t| t.parent[3] = StepId(3), 3, "parent 3"),
    ("a second prompt", |t| t.origin[3] = Origin::Prompt, 3, "prompt"),
    ("two siblings in one place", |t| t.child_index[2] = 0, 2, "child index 0"),
    ("a gap between spans", |t| t.span[2].begin += 1, 2, "span"),
    ("spans that overlap", |t| t.span[3].begin -= 1, 3, "span"),
    ("a span that runs backwards", |t| t.span[1].end = 1, 1, "span"),
    ("a token of no step", |t| (t.token.push(1), t.logprob.push(0.0)).0, 4, "spans end"),
    ("a judged step that goes on", |t| t.verdict[1] = Verdict::scored(1.0), 1, "children"),
    (
        "a reward that is no number",
        |t| t.verdict[4] = Verdict::Scored { reward: f64::NAN, parts: Default::default() },
        4,
        "not finite",
    ),
    (
        "a part that is not finite",
        |t| {
            let parts = [("format".to_owned(), f64::INFINITY)].into();
            t.verdict[2] = Verdict::Scored { reward: 0.0, parts };
        },
        2,
        "not finite",
    ),
    ("a log-prob that is no number", |t| t.logprob[2] = f32::NAN, 1, "log-prob"),
    ("a probability above 1", |t| t.logprob[6] = 0.5, 4, "log-prob"),
    ("a probability of 0", |t| t.logprob[6] = f32::NEG_INFINITY, 4, "log-prob"),
    ("a log-prob of an observation", |t| t.logprob[5] = -1.0, 3, "log-prob"),
    ("a log-prob of the prompt", |t| t.logprob[0] = -1.0, 0, "log-prob"),
    (
        "a step column too long",
        |t| t.step_column.values_mut().for_each(|c| c.push(0.0)),
        0,
        "mc_value",
    ),
    (
        "a token column too short",
        |t| t.token_column.values_mut().for_each(|c| c.truncate(c.len() - 1)),
        0,
        "value",
    ),
];

#[test]
fn check_rejects_every_planted_violation_at_its_step() {
    assert_eq!(sound().check(), Ok(()));
    for (name, plant, step, sentence) in PLANTS {
        let mut tree = sound();
        plant(&mut tree);
        let violation = tree.check().expect_err(name);
        assert_eq!(violation.step, StepId(*step), "{name}: {violation:?}");
        assert!(violation.what.contains(sentence), "{name}: {violation:?}");
    }
}

#[test]
fn an_empty_tree_is_refused() {
    let mut tree = StepTree::new(TaskHash([0; 32]), &[]);
    assert_eq!(tree.check(), Ok(()));
    assert_eq!(tree.logprob, [NOT_SAMPLED; 0]);
    tree.parent.clear();
    assert!(tree.check().is_err());
}
