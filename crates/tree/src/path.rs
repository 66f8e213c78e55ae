//! Walking a tree: paths, children, leaves.

use crate::{StepId, StepTree};

/// Steps from the root to `step`, both included.
pub fn path_to(tree: &StepTree, step: StepId) -> Vec<StepId> {
    let mut path = vec![step];
    let mut at = step;
    while at != StepId::ROOT {
        at = tree.parent[at.index()];
        path.push(at);
    }
    path.reverse();
    path
}

/// `[N]` the children of every step, in order of id.
pub fn children(tree: &StepTree) -> Vec<Vec<StepId>> {
    let mut below = vec![Vec::new(); tree.len()];
    for i in 1..tree.len() {
        below[tree.parent[i].index()].push(StepId(i as u32));
    }
    below
}

/// Steps without children, in order of id.
pub fn leaves(tree: &StepTree) -> Vec<StepId> {
    let mut inner = vec![false; tree.len()];
    for i in 1..tree.len() {
        inner[tree.parent[i].index()] = true;
    }
    (0..tree.len()).filter(|&i| !inner[i]).map(|i| StepId(i as u32)).collect()
}
