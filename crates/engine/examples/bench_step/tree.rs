//! Regular trees: all nodes of a level have as many children of one length.

use stepwell_tree::{
    Credit, Key, NewStep, Origin, PolicyVersion, Purpose, StepId, StepTree, Stop, Task,
};

/// One level of a regular tree.
pub(crate) struct Level {
    /// Below each node of the level above.
    pub(crate) children: u64,
    /// In each of them.
    pub(crate) tokens: usize,
    /// Said by the environment, not sampled.
    pub(crate) observed: bool,
}

/// Trees that all look alike.
pub(crate) struct Regular {
    pub(crate) trees: u64,
    /// Tokens of each prompt.
    pub(crate) prompt: usize,
    pub(crate) levels: Vec<Level>,
}

impl Regular {
    /// Leaves of one tree.
    pub(crate) fn leaves_each(&self) -> u64 {
        self.levels.iter().map(|level| level.children).product()
    }

    /// Leaves of all trees.
    pub(crate) fn leaves(&self) -> u64 {
        self.trees * self.leaves_each()
    }

    /// U: every token once.
    pub(crate) fn unique(&self) -> u64 {
        self.trees * self.prompt as u64 + self.below(|_| true)
    }

    /// Tokens that the policy writes.
    pub(crate) fn sampled(&self) -> u64 {
        self.below(|level| !level.observed)
    }

    /// Unique tokens below the prompts, of the levels that `count` names.
    fn below(&self, count: impl Fn(&Level) -> bool) -> u64 {
        let (mut nodes, mut tokens) = (self.trees, 0);
        for level in &self.levels {
            nodes *= level.children;
            tokens += if count(level) { nodes * level.tokens as u64 } else { 0 };
        }
        tokens
    }

    /// F: the tokens of all root-to-leaf rows.
    pub(crate) fn flat(&self) -> u64 {
        let path = self.prompt + self.levels.iter().map(|level| level.tokens).sum::<usize>();
        self.leaves() * path as u64
    }

    /// Child indices on the way to leaf `leaf` of a tree.
    pub(crate) fn way(&self, leaf: u64) -> Vec<u64> {
        let mut rest = leaf;
        let mut way: Vec<u64> = Vec::new();
        for level in self.levels.iter().rev() {
            way.push(rest % level.children);
            rest /= level.children;
        }
        way.reverse();
        way
    }

    /// The trees with random tokens, and what each step is worth; `flat` gives one per leaf.
    pub(crate) fn forest(
        &self,
        vocabulary: usize,
        sft: bool,
        flat: bool,
    ) -> Vec<(StepTree, Credit)> {
        let mut made = Vec::new();
        for t in 0..self.trees {
            if flat {
                let leaf = |leaf| self.grow(t, vocabulary, sft, Some(&self.way(leaf)));
                made.extend((0..self.leaves_each()).map(leaf));
            } else {
                made.push(self.grow(t, vocabulary, sft, None));
            }
        }
        made
    }

    /// One tree, or its path along `only`.
    fn grow(
        &self,
        t: u64,
        vocabulary: usize,
        sft: bool,
        only: Option<&[u64]>,
    ) -> (StepTree, Credit) {
        let mut tree = StepTree::new(task().hash(), &tokens(&[t], self.prompt, vocabulary));
        let mut credit = Credit::none(1);
        let mut front = vec![(StepId::ROOT, vec![t])];
        for (depth, level) in self.levels.iter().enumerate() {
            let mut below = Vec::new();
            for (parent, place) in front {
                let range = only.map_or(0..level.children, |way| way[depth]..way[depth] + 1);
                for child in range {
                    let place = [place.as_slice(), &[child]].concat();
                    let token = tokens(&place, level.tokens, vocabulary);
                    let (origin, worth) = match (level.observed, sft) {
                        (true, _) => (Origin::Environment, None),
                        (false, true) => (Origin::Demonstration, Some(1.0)),
                        (false, false) => (Origin::Policy(PolicyVersion(0)), Some(number(&place))),
                    };
                    let logprob = vec![0.0; if origin.is_policy() { level.tokens } else { 0 }];
                    let (child_index, stop) = (child as u32, Stop::Length);
                    let (token, logprob) = (&token[..], &logprob[..]);
                    let new = NewStep { parent, child_index, origin, stop, token, logprob };
                    below.push((tree.push(new), place));
                    credit.step.push(worth);
                }
            }
            front = below;
        }
        (tree, credit)
    }
}

/// What all trees answer.
pub(crate) fn task() -> Task {
    Task { id: "bench".to_owned(), question: "bench".to_owned(), fields: Default::default() }
}

/// The tokens of the step at `place`: its tree, then child indices.
pub(crate) fn tokens(place: &[u64], count: usize, vocabulary: usize) -> Vec<u32> {
    let key = place.iter().fold(Key::new(7, Purpose::Sample), |key, &word| key.with(word));
    (0..count).map(|at| (key.with(at as u64).bits() % vocabulary as u64) as u32).collect()
}

/// A number from -1 to 1 that belongs to `place`.
pub(crate) fn number(place: &[u64]) -> f64 {
    let key = place.iter().fold(Key::new(8, Purpose::Sample), |key, &word| key.with(word));
    2.0 * key.uniform() - 1.0
}
