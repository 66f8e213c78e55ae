//! From trees with credit to rows that are scored and weighted.

use std::collections::BTreeMap;
use std::ops::Range;

use stepwell_methods::objective::{Part, RowSequence, Sequence};
use stepwell_model::{Packed, Scored};
use stepwell_tree::{Credit, Layout, StepId, StepTree, TaskHash};

/// A packed forest and the tokens of it that train. Every column below the layout is `[M]`: one
/// entry per trained token.
#[derive(Clone, Debug, Default)]
pub struct MicroBatch {
    /// The trees, each shared prefix once.
    pub layout: Layout,
    /// The trees' places in the forest, in the order of the layout.
    pub tree: Vec<usize>,
    /// Their tasks.
    pub task: Vec<TaskHash>,
    /// First row of every step that has tokens, and T: what the model takes as segments.
    pub segment_begin: Vec<u32>,
    /// `[T]` one past the last row of the subtree of each row's step.
    pub subtree_end: Vec<u32>,
    /// The row whose hidden state predicts the token: its predecessor on the path.
    pub row: Vec<u32>,
    /// The token that was sampled (or demonstrated).
    pub target: Vec<u32>,
    /// Its log-probability when it was sampled.
    pub behaviour: Vec<f32>,
    /// Its log-probability under the frozen reference, where a method asked for it.
    pub reference: Option<Vec<f32>>,
    /// Its step's credit, or its own where the method refines credit per token.
    pub credit: Vec<f32>,
    /// Its factor in the loss; over a whole update the factors carry the aggregation.
    pub weight: Vec<f64>,
    /// Where the token stands: its tree in the forest, its place in the tree's arena.
    pub place: Vec<(usize, usize)>,
    /// The rows of every trained step, by its tree in the forest.
    pub step_rows: BTreeMap<(usize, StepId), Range<usize>>,
}

/// The column that holds a frozen reference's log-probabilities.
pub const REFERENCE: &str = "reference_logprob";

/// Packs trees into micro-batches of at most `tokens_max` tokens (a larger tree is alone in its
/// own). `credit` and `weight` are per tree, the latter over the arena. Trees without trained
/// tokens are left out: nothing in them is computed.
pub fn micro_batches(
    trees: &[StepTree],
    credit: &[Credit],
    weight: &[Vec<f64>],
    tokens_max: usize,
) -> Vec<MicroBatch> {
    assert!(trees.len() == credit.len() && trees.len() == weight.len(), "one column per tree");
    let groups = groups(trees, tokens_max, |t| credit[t].trained_steps() > 0);
    groups.iter().map(|group| MicroBatch::pack(group, trees, credit, weight)).collect()
}

/// Packs all trees for something else than training tokens: nothing is scored.
pub(crate) fn unscored_batches(trees: &[StepTree], tokens_max: usize) -> Vec<MicroBatch> {
    let none: Vec<Credit> = trees.iter().map(|tree| Credit::none(tree.len())).collect();
    let groups = groups(trees, tokens_max, |_| true);
    groups.iter().map(|group| MicroBatch::pack(group, trees, &none, &[])).collect()
}

/// Consecutive trees of at most `tokens_max` tokens together; a larger tree is alone.
fn groups(
    trees: &[StepTree],
    tokens_max: usize,
    computed: impl Fn(usize) -> bool,
) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut filled = usize::MAX;
    for (t, tree) in trees.iter().enumerate().filter(|(t, _)| computed(*t)) {
        let tokens = tree.unique_tokens();
        if filled.saturating_add(tokens) > tokens_max {
            groups.push(Vec::new());
            filled = 0;
        }
        filled += tokens;
        groups.last_mut().expect("a group was opened before the first tree").push(t);
    }
    groups
}

impl MicroBatch {
    fn pack(
        group: &[usize],
        trees: &[StepTree],
        credit: &[Credit],
        weight: &[Vec<f64>],
    ) -> MicroBatch {
        let layout = Layout::pack(group.iter().map(|&t| &trees[t]));
        let first_row = layout.predecessor();
        let mut batch = MicroBatch::default();
        let referenced = group.iter().all(|&t| trees[t].token_column.contains_key(REFERENCE));
        let mut reference = Vec::new();
        for (packed, &(member, step)) in layout.source.iter().enumerate() {
            let t = group[member as usize];
            let Some(own) = credit[t].step[step.index()] else { continue };
            let (mut row, begin) = (first_row[packed], batch.row.len());
            for (k, arena) in trees[t].span[step.index()].range().enumerate() {
                let here = layout.begin[packed] + k as u32;
                let Some(before) = row.replace(here) else { continue };
                let before = if stepwell_mutant::planted(2) { here } else { before };
                batch.row.push(before);
                batch.target.push(trees[t].token[arena]);
                batch.behaviour.push(trees[t].logprob[arena]);
                let refined = credit[t].token.as_ref().map_or(own, |token| token[arena]);
                batch.credit.push(refined as f32);
                batch.weight.push(weight[t][arena]);
                batch.place.push((t, arena));
                if referenced {
                    reference.push(trees[t].token_column[REFERENCE][arena]);
                }
            }
            batch.step_rows.insert((t, step), begin..batch.row.len());
        }
        let end = |step: u32| layout.subtree_end[step as usize];
        batch.subtree_end = layout.step_of().into_iter().map(end).collect();
        batch.segment_begin = layout.begin.clone();
        batch.segment_begin.dedup();
        batch.layout = layout;
        batch.tree = group.to_vec();
        batch.task = group.iter().map(|&t| trees[t].task).collect();
        batch.reference = referenced.then_some(reference);
        batch
    }

    /// The forest as the model takes it.
    pub fn packed(&self) -> Packed<'_> {
        Packed {
            token: &self.layout.token,
            position: &self.layout.position,
            segment_begin: &self.segment_begin,
            subtree_end: &self.subtree_end,
        }
    }

    /// The rows that are scored as the model takes them.
    pub fn scored(&self, temperature: f32) -> Scored<'_> {
        let temperature = if stepwell_mutant::planted(10) { 1.0 } else { temperature };
        Scored { row: &self.row, target: &self.target, temperature }
    }

    /// `[M]` a column of the forest this was packed from.
    pub fn column(&self, trees: &[StepTree], name: &str) -> Vec<f32> {
        self.place.iter().map(|&(tree, arena)| trees[tree].token_column[name][arena]).collect()
    }

    /// The sequences of its trees as stretches of its rows; `sequences` is per tree of the forest.
    pub fn sequences(&self, sequences: &[Vec<Sequence<StepId>>]) -> Vec<RowSequence> {
        let mut trees: Vec<usize> = self.step_rows.keys().map(|(tree, _)| *tree).collect();
        trees.dedup();
        let of = |t: usize| {
            let rows = move |part: &Part<StepId>| Part {
                of: self.step_rows[&(t, part.of)].clone(),
                share: part.share,
            };
            sequences[t].iter().map(move |sequence| sequence.iter().map(rows).collect())
        };
        trees.into_iter().flat_map(of).collect()
    }

    /// The last row of every step's prefix: where something may be said of the path so far. A
    /// step without tokens ends where its path did; a path without any has no row.
    pub fn step_ends(&self) -> Vec<(usize, StepId, u32)> {
        let before = self.layout.predecessor();
        let end = |(packed, &(member, step)): (usize, &(u32, StepId))| {
            let own = self.layout.rows(packed);
            let last = if own.is_empty() { before[packed] } else { Some(own.end as u32 - 1) };
            last.map(|row| (self.tree[member as usize], step, row))
        };
        self.layout.source.iter().enumerate().filter_map(end).collect()
    }

    /// True where it holds the rows of a step.
    pub fn holds(&self, tree: usize, step: StepId) -> bool {
        self.step_rows.contains_key(&(tree, step))
    }

    /// A trained token for people: its tree of the update, task, step, and place in the step.
    pub(crate) fn named(&self, at: usize) -> String {
        let (tree, _) = self.place[at];
        let own = self.step_rows.iter().find(|(_, rows)| rows.contains(&at));
        let (step, token) = own.map_or((0, 0), |((_, step), rows)| (step.0, at - rows.start));
        let member = self.tree.iter().position(|own| *own == tree).unwrap_or(0);
        format!("tree {tree} (task {}), step {step}, token {token}", self.task[member])
    }

    /// Number of trained tokens, M.
    pub fn trained(&self) -> usize {
        self.row.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::parse;

    fn example() -> StepTree {
        parse(
            "0 -  prompt q q
             1 0  policy a a
             2 0  policy b        r=0
             3 1  environment o
             4 3  policy c        r=1
             5 3  policy d d      unscored=x",
        )
    }

    #[test]
    fn rows_point_at_predecessors_and_unscored_steps_do_not_train() {
        let tree = example();
        let mut credit = Credit::none(6);
        (credit.step[1], credit.step[2], credit.step[4]) = (Some(0.5), Some(-1.0), Some(1.0));
        let weight = vec![0.25; tree.token.len()];
        let batches = micro_batches(&[tree], &[credit], &[weight], 100);
        assert_eq!(batches.len(), 1);
        let batch = &batches[0];
        // Rows: q0 q1 a2 a3 o4 c5 d6 d7 b8.
        assert_eq!(batch.row, [1, 2, 4, 1]);
        assert_eq!(batch.target, ['a', 'a', 'c', 'b'].map(u32::from));
        assert_eq!(batch.credit, [0.5, 0.5, 1.0, -1.0]);
        assert_eq!(batch.place, [(0, 2), (0, 3), (0, 6), (0, 4)]);
        let rows: Vec<_> = batch.step_rows.values().cloned().collect();
        assert_eq!(rows, [0..2, 3..4, 2..3]);
        assert!(batch.reference.is_none());
    }

    #[test]
    fn sequences_are_found_in_whatever_batch_their_tree_is() {
        let trees: Vec<StepTree> = (0..3).map(|_| example()).collect();
        let mut credit = Credit::none(6);
        (credit.step[1], credit.step[2], credit.step[4]) = (Some(0.5), Some(-1.0), Some(1.0));
        let weight = vec![vec![0.25; trees[0].token.len()]; 3];
        let credits = vec![credit.clone(); 3];
        let unit = stepwell_methods::objective::Unit::Path;
        let own: Vec<_> = trees
            .iter()
            .map(|tree| {
                stepwell_methods::objective::sequences(
                    tree,
                    &credit,
                    stepwell_methods::Aggregation::TokenMean,
                    unit,
                )
            })
            .collect();
        // Two trees fit, the third is alone; per tree the paths b and a a c, rows as above.
        let batches = micro_batches(&trees, &credits, &weight, 18);
        let rows = |sequence: &RowSequence| sequence.iter().map(|p| p.of.clone()).collect();
        let got: Vec<Vec<Vec<Range<usize>>>> =
            batches.iter().map(|b| b.sequences(&own).iter().map(rows).collect()).collect();
        // Below row `from`: the path of the last step, and that of the first two.
        let tree = |from: usize| {
            let rows = |(begin, end): (usize, usize)| from + begin..from + end;
            [[(3, 4)].map(rows).to_vec(), [(0, 2), (2, 3)].map(rows).to_vec()]
        };
        assert_eq!(got, [[tree(0), tree(4)].concat(), tree(0).to_vec()]);
    }

    #[test]
    fn a_prefix_ends_at_the_last_row_of_its_step() {
        let trees = [example(), example()];
        for tokens_max in [100, 9] {
            let batches = unscored_batches(&trees, tokens_max);
            let mut ends = Vec::new();
            for batch in &batches {
                assert_eq!(batch.trained(), 0);
                for (tree, step, row) in batch.step_ends() {
                    let alone = if batches.len() == 1 { tree as u32 * 9 } else { 0 };
                    ends.push((tree, step.0, row - alone));
                }
            }
            // Rows: q0 q1 a2 a3 o4 c5 d6 d7 b8.
            let one =
                |tree| [(0, 1), (1, 3), (3, 4), (4, 5), (5, 7), (2, 8)].map(|(s, r)| (tree, s, r));
            assert_eq!(ends, [one(0), one(1)].concat());
        }
    }

    #[test]
    fn splitting_keeps_every_trained_token_once() {
        let trees: Vec<StepTree> = (0..5).map(|_| example()).collect();
        let mut credit = Credit::none(6);
        credit.step[4] = Some(1.0);
        let weight = vec![1.0; trees[0].token.len()];
        for tokens_max in [1, 9, 18, 1000] {
            let (credits, weights) = (vec![credit.clone(); 5], vec![weight.clone(); 5]);
            let batches = micro_batches(&trees, &credits, &weights, tokens_max);
            assert_eq!(batches.iter().map(MicroBatch::trained).sum::<usize>(), 5);
            assert!(batches.iter().all(|b| b.layout.len() <= tokens_max.max(9)));
        }
        // A tree without credit is not computed at all.
        let none = Credit::none(6);
        assert!(micro_batches(&trees[..1], &[none], &[weight], 100).is_empty());
    }
}
