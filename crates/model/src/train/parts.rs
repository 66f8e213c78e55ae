//! The forest cut into parts: consecutive rows of one tree, of about equal work. A part and a key
//! head are one unit of attention.
//!
//! The cut depends on the forest and the heads alone, never on the number of threads: the
//! gradient adds its partial sums part by part.

use super::forest::{Forest, Segment, Tree};
use crate::attention::{Heads, QUERY_BLOCK};

/// Units of a large forest: few threads share them evenly. Each part but a tree's first rebuilds
/// the path above it and keeps sums for that path, so more of them cost memory and time.
const UNITS: usize = 24;

/// Keys whose scores cost about as much as the rest of the work on a token.
const TOKEN_WORK: usize = 16;

/// Consecutive rows of one tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) begin: usize,
    pub(super) end: usize,
    /// Segments `first..last` have rows in the part; the outer ones perhaps not all of theirs.
    pub(super) first: usize,
    pub(super) last: usize,
    /// Length of the longest path of the tree.
    pub(super) longest: usize,
}

/// Rows `begin..end` of one segment, and the path position of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) begin: usize,
    pub(super) end: usize,
    pub(super) position: usize,
}

impl Part {
    pub(super) fn rows(&self) -> usize {
        self.end - self.begin
    }

    /// The rows of a segment that belong to the part.
    pub(super) fn own(&self, segment: &Segment) -> Run {
        let begin = segment.begin.max(self.begin);
        let position = segment.position + begin - segment.begin;
        Run { begin, end: segment.end.min(self.end), position }
    }

    /// Path positions above the part's first row.
    pub(super) fn above(&self, forest: &Forest) -> usize {
        self.own(&forest.segments[self.first]).position
    }

    /// The path above the part's first row, from the nearest rows up to the root.
    pub(super) fn path<'a>(&self, forest: &'a Forest) -> impl Iterator<Item = Run> + use<'a> {
        let nearest = &forest.segments[self.first];
        let (begin, position) = (nearest.begin, nearest.position);
        let run = Run { begin, end: self.begin, position };
        let mut parent = nearest.parent;
        let above = std::iter::from_fn(move || {
            let segment = &forest.segments[parent?];
            parent = segment.parent;
            let Segment { begin, end, position, .. } = *segment;
            Some(Run { begin, end, position })
        });
        std::iter::once(run).filter(|run| run.begin < run.end).chain(above)
    }
}

/// Runs of a run's rows whose queries are handled together.
pub(super) fn query_blocks(heads: &Heads, run: Run) -> impl Iterator<Item = Run> + use<> {
    let tokens = heads.tokens_at_once();
    (run.begin..run.end).step_by(tokens).map(move |begin| Run {
        begin,
        end: (begin + tokens).min(run.end),
        position: run.position + begin - run.begin,
    })
}

/// The parts of a forest, in the order of their rows.
pub(super) fn parts<'a>(heads: &Heads, forest: &'a Forest) -> impl Iterator<Item = Part> + use<'a> {
    let all: usize = forest.trees.iter().map(|tree| tree_work(forest, tree)).sum();
    let tokens = heads.tokens_at_once();
    let (heads, least_tokens) = (*heads, QUERY_BLOCK.div_ceil(heads.group));
    forest.trees.iter().flat_map(move |tree| {
        let total = tree_work(forest, tree);
        // What a part rebuilds must be little beside what it does.
        let goal = (all * heads.kv / UNITS).max(least_tokens * (tree.longest + TOKEN_WORK));
        let count = total.div_ceil(goal);
        Cut { forest, tree, tokens, total, count, row: tree.begin, segment: tree.first, done: 0 }
    })
}

/// Keys seen by the tokens of a run, and the rest of their work.
fn work(run: Run) -> usize {
    let tokens = run.end - run.begin;
    tokens * (run.position + TOKEN_WORK) + tokens * (tokens + 1) / 2
}

fn tree_work(forest: &Forest, tree: &Tree) -> usize {
    let whole = |segment: &Segment| {
        work(Run { begin: segment.begin, end: segment.end, position: segment.position })
    };
    forest.segments[tree.first..tree.last].iter().map(whole).sum()
}

/// Cuts one tree where its share of work is done.
struct Cut<'a> {
    forest: &'a Forest,
    tree: &'a Tree,
    tokens: usize,
    total: usize,
    count: usize,
    row: usize,
    segment: usize,
    done: usize,
}

impl Iterator for Cut<'_> {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let (begin, first) = (self.row, self.segment);
        let share = self.done * self.count / self.total;
        let mut last = first;
        while self.row < self.tree.end && self.done * self.count / self.total == share {
            let segment = &self.forest.segments[self.segment];
            let position = segment.position + self.row - segment.begin;
            let end = (self.row + self.tokens).min(segment.end);
            self.done += work(Run { begin: self.row, end, position });
            self.row = end;
            last = self.segment + 1;
            if end == segment.end {
                self.segment += 1;
            }
        }
        let (end, longest) = (self.row, self.tree.longest);
        (begin < end).then_some(Part { begin, end, first, last, longest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Packed;

    /// A root of `prefix` tokens and `leaves` children of `length` tokens.
    fn star(prefix: u32, leaves: u32, length: u32) -> Forest {
        let rows = prefix + leaves * length;
        let mut position: Vec<u32> = (0..prefix).collect();
        let mut subtree_end = vec![rows; prefix as usize];
        let mut segment_begin = vec![0];
        for leaf in 0..leaves {
            let begin = prefix + leaf * length;
            position.extend(prefix..prefix + length);
            subtree_end.extend(vec![begin + length; length as usize]);
            segment_begin.push(begin);
        }
        segment_begin.push(rows);
        let packed = Packed {
            token: &vec![0; rows as usize],
            position: &position,
            segment_begin: &segment_begin,
            subtree_end: &subtree_end,
        };
        let mut forest = Forest::default();
        forest.read(&packed, 1, 4096);
        forest
    }

    #[test]
    fn parts_cover_every_row_once_and_share_the_work() {
        let heads = Heads { kv: 3, group: 3, dim: 64, scale: 0.125 };
        for (prefix, leaves, length, least) in
            [(512, 0, 0, 6), (2048, 0, 0, 8), (512, 16, 64, 8), (40, 300, 7, 8), (5, 2, 3, 1)]
        {
            let forest = star(prefix, leaves, length);
            let parts: Vec<Part> = parts(&heads, &forest).collect();
            assert!((least..=UNITS).contains(&parts.len()), "{} parts of {prefix}", parts.len());
            let mut row = 0;
            let mut most = 0;
            for part in &parts {
                assert_eq!(part.begin, row, "parts follow each other");
                row = part.end;
                let runs = &forest.segments[part.first..part.last];
                let runs: Vec<Run> = runs.iter().map(|segment| part.own(segment)).collect();
                assert!(runs.iter().all(|run| run.begin < run.end), "no idle segment: {runs:?}");
                assert_eq!(runs.iter().map(|run| run.end - run.begin).sum::<usize>(), part.rows());
                most = most.max(runs.into_iter().map(work).sum());
                let above: usize = part.path(&forest).map(|run| run.end - run.begin).sum();
                assert_eq!(above, part.above(&forest), "the path is the rows above");
            }
            assert_eq!(row, forest.trees[0].end);
            let even = tree_work(&forest, &forest.trees[0]) / parts.len();
            assert!(most < even * 2, "the largest part has {most}, an even one {even}");
        }
    }
}
