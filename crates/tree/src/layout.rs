//! The trees of an update placed once, in depth-first order, for the model to compute.

use crate::{StepId, StepTree};

/// A packed forest: S steps and T tokens of one or more trees.
///
/// Token `j` is visible to token `i` if and only if `j <= i && i < subtree_end[step[j]]`. That one
/// comparison is the attention mask of the whole engine (INV-4): for a tree, a forest, and a flat
/// row, which is a tree with one path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    /// `[T]` token ids.
    pub token: Vec<u32>,
    /// `[T]` distance from the root along the token's own path; feeds the rotation.
    pub position: Vec<u32>,
    /// `[S + 1]` first row of each packed step; the last entry is T.
    pub begin: Vec<u32>,
    /// `[S]` one past the last row of the subtree below and including the step.
    pub subtree_end: Vec<u32>,
    /// `[S]` where each packed step comes from: index of the tree, and its step.
    pub source: Vec<(u32, StepId)>,
}

impl Layout {
    /// Packs trees one after another, each in depth-first order of its child indices.
    pub fn pack<'a>(trees: impl IntoIterator<Item = &'a StepTree>) -> Layout {
        let mut layout = Layout { begin: vec![0], ..Layout::default() };
        for (t, tree) in trees.into_iter().enumerate() {
            layout.append(t as u32, tree);
        }
        layout
    }

    fn append(&mut self, t: u32, tree: &StepTree) {
        let order = tree.depth_first();
        let first = self.source.len();
        let mut depth = vec![0u32; tree.len()];
        let mut packed = vec![0usize; tree.len()];
        for (k, step) in order.iter().enumerate() {
            let i = step.index();
            let parent = tree.parent[i].index();
            let start = if i == 0 { 0 } else { depth[parent] };
            let own = tree.tokens(*step);
            self.token.extend_from_slice(own);
            self.position.extend((0..own.len() as u32).map(|p| start + p));
            depth[i] = start + own.len() as u32;
            packed[i] = first + k;
            self.source.push((t, *step));
            self.begin.push(self.token.len() as u32);
            self.subtree_end.push(self.token.len() as u32);
        }
        // Children come after their parent, so one pass from the back closes every subtree.
        for step in order.iter().rev() {
            if *step != StepId::ROOT {
                let own = packed[step.index()];
                let above = packed[tree.parent[step.index()].index()];
                self.subtree_end[above] = self.subtree_end[above].max(self.subtree_end[own]);
            }
        }
    }

    /// Number of tokens, T.
    pub fn len(&self) -> usize {
        self.token.len()
    }

    /// True where nothing was packed.
    pub fn is_empty(&self) -> bool {
        self.token.is_empty()
    }

    /// Number of packed steps, S.
    pub fn steps(&self) -> usize {
        self.source.len()
    }

    /// Rows of a packed step.
    pub fn rows(&self, packed: usize) -> std::ops::Range<usize> {
        self.begin[packed] as usize..self.begin[packed + 1] as usize
    }

    /// The visibility rule itself (INV-4); `step_of[j]` is the packed step of row `j`.
    pub fn visible(&self, step_of: &[u32], j: usize, i: usize) -> bool {
        j <= i && i < self.subtree_end[step_of[j] as usize] as usize
    }

    /// `[T]` the packed step that owns each row.
    pub fn step_of(&self) -> Vec<u32> {
        let mut step = Vec::with_capacity(self.len());
        for s in 0..self.steps() {
            step.extend(self.rows(s).map(|_| s as u32));
        }
        step
    }

    /// `[S]` the row whose hidden state predicts the first token of each packed step: the last
    /// token before it on its path. This is not `begin - 1` when there are siblings. `None` at the
    /// start of a path. One function owns this off-by-one.
    pub fn predecessor(&self) -> Vec<Option<u32>> {
        let mut open: Vec<usize> = Vec::new();
        let mut before = Vec::with_capacity(self.steps());
        for s in 0..self.steps() {
            // Depth-first order keeps the ancestors of `s` on a stack. An empty sibling shares its
            // parent's end, so a step is an ancestor only while its subtree still has rows to come
            // or the step hangs below it; positions decide: an ancestor ends where `s` starts.
            while open.last().is_some_and(|&o| self.closed(o, s)) {
                open.pop();
            }
            let last = open.iter().rev().find(|&&o| !self.rows(o).is_empty());
            let last = last.map(|&o| self.begin[o + 1] - 1);
            let flat = self.begin[s].checked_sub(1).filter(|_| stepwell_mutant::planted(9));
            before.push(last.map(|last| flat.unwrap_or(last)));
            open.push(s);
        }
        before
    }

    fn closed(&self, ancestor: usize, step: usize) -> bool {
        self.subtree_end[ancestor] <= self.begin[step]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    fn example() -> StepTree {
        parse(
            "0 -  prompt q q
             1 0  policy a a
             2 0  policy b        r=0
             3 1  environment o
             4 3  policy c        r=1
             5 3  policy d d      r=0",
        )
    }

    #[test]
    fn depth_first_with_every_subtree_contiguous() {
        let layout = Layout::pack([&example()]);
        let order: Vec<u32> = layout.source.iter().map(|(_, s)| s.0).collect();
        assert_eq!(order, [0, 1, 3, 4, 5, 2]);
        assert_eq!(layout.begin, [0, 2, 4, 5, 6, 8, 9]);
        assert_eq!(layout.subtree_end, [9, 8, 8, 6, 8, 9]);
        assert_eq!(layout.position, [0, 1, 2, 3, 4, 5, 5, 6, 2]);
    }

    #[test]
    fn a_token_sees_its_path_and_nothing_else() {
        let layout = Layout::pack([&example()]);
        let step_of = layout.step_of();
        let seen = |i: usize| -> Vec<usize> {
            (0..layout.len()).filter(|&j| layout.visible(&step_of, j, i)).collect()
        };
        assert_eq!(seen(5), [0, 1, 2, 3, 4, 5]); // c
        assert_eq!(seen(7), [0, 1, 2, 3, 4, 6, 7]); // second d: not c
        assert_eq!(seen(8), [0, 1, 8]); // b: the prompt only
    }

    #[test]
    fn the_predecessor_is_on_the_path() {
        let layout = Layout::pack([&example(), &example()]);
        let expected = [None, Some(1), Some(3), Some(4), Some(4), Some(1)];
        assert_eq!(layout.predecessor()[..6], expected);
        // The second tree starts afresh, nine rows later.
        let moved: Vec<_> = expected.iter().map(|p| p.map(|row: u32| row + 9)).collect();
        assert_eq!(layout.predecessor()[6..], moved);
    }
}
