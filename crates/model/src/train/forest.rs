//! The packed forest as segments with parents: the only reading of `Packed`.

use super::Packed;

/// A run of tokens of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// First row.
    pub(crate) begin: usize,
    /// One past the last row.
    pub(crate) end: usize,
    /// Path position of the first row.
    pub(crate) position: usize,
    /// Index of the parent segment; `None` at a root.
    pub(crate) parent: Option<usize>,
}

impl Segment {
    /// Path positions up to and including the last row.
    pub(crate) fn path(&self) -> usize {
        self.position + self.end - self.begin
    }
}

/// Consecutive segments that share a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) first: usize,
    pub(crate) last: usize,
    /// Rows `begin..end`.
    pub(crate) begin: usize,
    pub(crate) end: usize,
    /// Length of the longest path.
    pub(crate) longest: usize,
}

/// Segments in depth-first order, grouped in trees; reusable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forest {
    pub(crate) segments: Vec<Segment>,
    pub(crate) trees: Vec<Tree>,
    /// While the forest is read: the segments whose subtrees have not ended.
    open: Vec<usize>,
}

impl Forest {
    /// Reads the law of visibility (INV-4) into parents with a stack of open segments, in place
    /// of the forest that was there.
    ///
    /// # Panics
    /// If the slices do not describe a forest in depth-first order; this one is then of no use.
    pub(crate) fn read(&mut self, packed: &Packed, vocabulary: usize, context: usize) {
        let rows = packed.token.len();
        assert_eq!(packed.position.len(), rows, "one position per token");
        assert_eq!(packed.subtree_end.len(), rows, "one subtree end per token");
        assert_eq!(packed.segment_begin.first(), Some(&0), "segments start at row 0");
        assert_eq!(packed.segment_begin.last().map(|end| *end as usize), Some(rows), "rows");
        let inside = |token: &u32| (*token as usize) < vocabulary;
        assert!(packed.token.iter().all(inside), "a token is outside the vocabulary");
        self.segments.clear();
        self.trees.clear();
        self.open.clear();
        for bounds in packed.segment_begin.windows(2) {
            let (begin, end) = (bounds[0] as usize, bounds[1] as usize);
            assert!(begin < end, "segment at row {begin} is empty");
            while self.open.last().is_some_and(|last| {
                packed.subtree_end[self.segments[*last].begin] as usize <= begin
            }) {
                self.open.pop();
            }
            let parent = self.open.last().copied();
            let position = parent.map_or(0, |parent| self.segments[parent].path());
            let segment = Segment { begin, end, position, parent };
            check_segment(packed, &self.segments, &segment, context);
            self.open.push(self.segments.len());
            self.push(segment);
        }
    }

    fn push(&mut self, segment: Segment) {
        let index = self.segments.len();
        if segment.parent.is_none() {
            let (begin, end) = (segment.begin, segment.end);
            self.trees.push(Tree { first: index, last: index + 1, begin, end, longest: 0 });
        }
        if let Some(tree) = self.trees.last_mut() {
            tree.last = index + 1;
            tree.end = segment.end;
            tree.longest = tree.longest.max(segment.path());
        }
        self.segments.push(segment);
    }

    /// Length of the longest path.
    pub(crate) fn longest(&self) -> usize {
        self.trees.iter().map(|tree| tree.longest).max().unwrap_or(0)
    }
}

fn check_segment(packed: &Packed, known: &[Segment], segment: &Segment, context: usize) {
    let Segment { begin, end, position, parent } = *segment;
    assert!(segment.path() <= context, "a path of {} exceeds {context}", segment.path());
    let subtree_end = packed.subtree_end[begin] as usize;
    let above = parent.map_or(packed.token.len(), |p| packed.subtree_end[known[p].begin] as usize);
    assert!(
        end <= subtree_end && subtree_end <= above,
        "subtree of row {begin} ends at {subtree_end}, outside {end}..={above}"
    );
    for row in begin..end {
        assert_eq!(packed.subtree_end[row] as usize, subtree_end, "subtree end of row {row}");
        assert_eq!(packed.position[row] as usize, position + row - begin, "position of row {row}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root of 2 tokens; children of 1 and 2; the first child has a child of 1. A second tree.
    const SAMPLE: Packed = Packed {
        token: &[0; 7],
        position: &[0, 1, 2, 3, 2, 3, 0],
        segment_begin: &[0, 2, 3, 4, 6, 7],
        subtree_end: &[6, 6, 4, 4, 6, 6, 7],
    };

    #[test]
    fn parents_follow_from_the_one_comparison() {
        let mut forest = Forest::default();
        forest.read(&SAMPLE, 1, 8);
        let parents: Vec<_> = forest.segments.iter().map(|segment| segment.parent).collect();
        assert_eq!(parents, [None, Some(0), Some(1), Some(0), None]);
        assert_eq!(forest.trees.len(), 2);
        assert_eq!((forest.trees[0].end, forest.trees[0].longest), (6, 4));
        // INV-4: the ancestors' rows and the own ones before are exactly the visible ones.
        for segment in &forest.segments {
            for row in segment.begin..segment.end {
                let by_law: Vec<usize> =
                    (0..=row).filter(|j| row < SAMPLE.subtree_end[*j] as usize).collect();
                let mut by_path: Vec<usize> = (segment.begin..=row).collect();
                let mut parent = segment.parent;
                while let Some(index) = parent {
                    let above = forest.segments[index];
                    by_path.splice(0..0, above.begin..above.end);
                    parent = above.parent;
                }
                assert_eq!(by_law, by_path);
            }
        }
        // What was read before leaves no trace.
        let first = forest.clone();
        let row = Packed {
            token: &[0; 2],
            position: &[0, 1],
            segment_begin: &[0, 2],
            subtree_end: &[2, 2],
        };
        forest.read(&row, 1, 8);
        assert_eq!((forest.segments.len(), forest.trees.len(), forest.longest()), (1, 1, 2));
        forest.read(&SAMPLE, 1, 8);
        assert_eq!(forest, first);
    }
}
