//! Backups that several methods share.

use crate::{StepId, StepTree};

/// `[N]` the recursive mean: a leaf has `leaf(step)`; an inner step the mean of its children that
/// have a value; `None` where no leaf below has one (DECISIONS 4).
///
/// This is not the mean over leaves. With early endings that one is biased: where one child ends
/// with 0.7 and its sibling branches into two leaves of 0, the step is worth (0.7 + 0) / 2 = 0.35
/// if the policy picks each child half of the time, and the mean over leaves says 0.23.
pub fn recursive_mean(
    tree: &StepTree,
    mut leaf: impl FnMut(StepId) -> Option<f64>,
) -> Vec<Option<f64>> {
    let n = tree.len();
    let mut sum = vec![0.0; n];
    let mut count = vec![0u32; n];
    let mut inner = vec![false; n];
    for i in 1..n {
        inner[tree.parent[i].index()] = true;
    }
    let mut value = vec![None; n];
    for i in (0..n).rev() {
        value[i] = match (inner[i], count[i]) {
            (false, _) => leaf(StepId(i as u32)),
            (true, 0) => None,
            (true, k) => Some(sum[i] / f64::from(k)),
        };
        if let (Some(v), true) = (value[i], i > 0) {
            sum[tree.parent[i].index()] += v;
            count[tree.parent[i].index()] += 1;
        }
    }
    value
}

/// `[N]` tokens the policy sampled on the path from the root to each step, the step included.
pub fn sampled_length(tree: &StepTree) -> Vec<usize> {
    let mut length = vec![0; tree.len()];
    for i in 0..tree.len() {
        let above = if i == 0 { 0 } else { length[tree.parent[i].index()] };
        let own = if tree.origin[i].is_policy() { tree.span[i].len() } else { 0 };
        length[i] = above + own;
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse;

    #[test]
    fn an_early_ending_counts_as_one_child() {
        let tree = parse(
            "0 -  prompt q q
             1 0  policy a        r=0.7
             2 0  policy b
             3 2  environment o
             4 3  policy c        r=0
             5 3  policy d        r=0
             6 3  policy e        unscored=interrupted",
        );
        let value = recursive_mean(&tree, |s| tree.verdict[s.index()].reward());
        assert_eq!(value[2], Some(0.0));
        assert_eq!(value[6], None);
        assert_eq!(value[0], Some(0.35));
        assert_eq!(sampled_length(&tree), [0, 1, 1, 1, 2, 2, 2]);
    }
}
