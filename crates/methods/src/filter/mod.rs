//! Which trees, and which attempts of a tree, may train.
//!
//! A filter is `keep(tree, reward, config) -> Keep`: it looks at one tree and at nothing else, so
//! that the order in which trees are drawn, and whether more are drawn in place of those that were
//! dropped, changes no decision. A tree that is dropped enters no baseline and no mean of the
//! update; an attempt that is masked does, and only its own steps do not train. Whatever happens,
//! trees were grown, and whoever grows them records and counts them.

pub mod difficulty;
pub mod drop_uniform;
pub mod length;
pub mod success_rate;

use stepwell_tree::{StepId, StepTree, recursive_mean};

use crate::grow::is_companion;

/// What a filter says of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Keep {
    /// All of it trains.
    All,
    /// Nothing of it does.
    Nothing,
    /// `[N]` the steps that may train; the tree stays in the update.
    Steps(Vec<bool>),
}

/// How often the policy solved the tree's task: the recursive mean of "the outcome is at least
/// `solved_at`" over judged attempts (DECISIONS 4), from 0 to 1; companions are no attempts. `None`
/// where none was judged.
pub fn success_rate(tree: &StepTree, solved_at: f64) -> Option<f64> {
    let solved = |outcome: f64| if outcome >= solved_at { 1.0 } else { 0.0 };
    let outcome = |s: StepId| tree.verdict[s.index()].reward().filter(|_| !is_companion(tree, s));
    recursive_mean(tree, |s| outcome(s).map(solved))[0]
}

/// What a recipe must not hold as the outcome that counts as solved.
pub(crate) fn solved_problem(kind: &str, solved_at: f64) -> Option<String> {
    let fine = (-1e6..=1e6).contains(&solved_at);
    (!fine).then(|| format!("`{kind}.solved_at` must be from -1e6 to 1e6, got: {solved_at}"))
}

/// Panics where a column does not belong to the tree.
fn assert_fits(tree: &StepTree, reward: &[Option<f64>]) {
    assert_eq!(tree.len(), reward.len(), "steps in the tree and in its rewards");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::COMPANION;
    use stepwell_tree::parse;

    #[test]
    fn an_attempt_that_ended_early_counts_as_one_child() {
        // Two first steps: one solved, one forked into two of which one is solved: (1 + 1/2) / 2.
        let tree = parse(
            "0 -  prompt q
             1 0  policy a       r=1
             2 0  policy b
             3 2  environment o
             4 3  policy c       r=0.5
             5 3  policy d       r=1
             6 0  policy e       unscored=x",
        );
        assert_eq!(success_rate(&tree, 1.0), Some(0.75));
        assert_eq!(success_rate(&tree, 0.5), Some(1.0));
        assert_eq!(success_rate(&parse("0 - prompt q\n1 0 policy a unscored=x"), 1.0), None);
    }

    #[test]
    fn a_companion_is_no_attempt() {
        let mut tree = parse("0 - prompt q\n1 0 policy a r=1\n2 0 policy b r=0");
        assert_eq!(success_rate(&tree, 1.0), Some(0.5));
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 1.0, 0.0]);
        assert_eq!(success_rate(&tree, 1.0), Some(0.0));
        tree.step_column.insert(COMPANION.to_owned(), vec![0.0, 1.0, 1.0]);
        assert_eq!(success_rate(&tree, 1.0), None);
    }
}
