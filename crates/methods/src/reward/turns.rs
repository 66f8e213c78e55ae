//! How something is dealt out to the turns of a tree's attempts.

use stepwell_tree::{Key, Purpose, StepId, StepTree, path_to, recursive_mean};

/// True on policy steps with a scored leaf below.
pub(super) fn earns(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<bool> {
    let value = recursive_mean(tree, |s| leaf[s.index()]);
    value.iter().zip(&tree.origin).map(|(v, origin)| v.is_some() && origin.is_policy()).collect()
}

/// Policy steps between two forks, first to last, and the key of the place where they begin.
pub(super) fn stretches(
    tree: &StepTree,
    leaf: &[Option<f64>],
    earns: &[bool],
    seed: u64,
) -> Vec<(Key, Vec<usize>)> {
    let value = recursive_mean(tree, |s| leaf[s.index()]);
    let mut children = vec![0u32; tree.len()];
    for i in (1..tree.len()).filter(|&i| value[i].is_some()) {
        children[tree.parent[i].index()] += 1;
    }
    let version = tree.policy_version().map_or(0, |version| version.0);
    let root = Key::new(seed, Purpose::Control).with_task(&tree.task).with(version);
    let mut key = vec![root; tree.len()];
    let mut stretch: Vec<(Key, Vec<usize>)> = vec![(root, Vec::new())];
    let mut of = vec![0; tree.len()];
    for i in (1..tree.len()).filter(|&i| value[i].is_some()) {
        let parent = tree.parent[i].index();
        key[i] = key[parent].with(u64::from(tree.child_index[i]));
        of[i] = of[parent];
        if children[parent] > 1 {
            of[i] = stretch.len();
            stretch.push((key[i], Vec::new()));
        }
        if earns[i] {
            stretch[of[i]].1.push(i);
        }
    }
    stretch
}

/// One scored leaf.
pub(super) struct End {
    pub(super) leaf: usize,
    /// Its policy steps, first to last.
    path: Vec<StepId>,
    /// The outcome less the contributions on its path.
    pub(super) missing: f64,
}

impl End {
    pub(super) fn new(tree: &StepTree, leaf: StepId, reward: f64, step: &[f64]) -> End {
        let mut path = path_to(tree, leaf);
        path.retain(|s| tree.origin[s.index()].is_policy());
        let sum: f64 = path.iter().map(|s| step[s.index()]).sum();
        End { leaf: leaf.index(), path, missing: reward - sum }
    }
}

/// Gives every step the mean over the leaves below of an equal part of what each still misses, from
/// the first step on: what an attempt misses is gone at its last step, unless others share that.
pub(super) fn deal(tree: &StepTree, ends: &[End], step: &mut [f64], left: &mut [Option<f64>]) {
    let weight = weights(tree, ends);
    let mut below: Vec<Vec<(usize, usize)>> = vec![Vec::new(); tree.len()];
    for (e, end) in ends.iter().enumerate() {
        for (k, s) in end.path.iter().enumerate() {
            below[s.index()].push((e, end.path.len() - k));
        }
        left[end.leaf] = Some(end.missing);
    }
    for i in 0..tree.len() {
        let of = |e: usize| weight[ends[e].leaf] / weight[i];
        let part =
            |&(e, turns): &(usize, usize)| of(e) * left[ends[e].leaf].unwrap_or(0.0) / turns as f64;
        let own: f64 = below[i].iter().map(part).sum();
        step[i] += own;
        for &(e, turns) in &below[i] {
            let alone = turns == 1 && below[i].len() == 1;
            let rest = &mut left[ends[e].leaf];
            // Exactly, where nobody shares the last step.
            *rest = rest.map(|rest| if alone { 0.0 } else { rest - own });
        }
    }
}

/// `[N]` product of 1/(children with a scored leaf below) along the path to each step.
fn weights(tree: &StepTree, ends: &[End]) -> Vec<f64> {
    let mut scored = vec![false; tree.len()];
    ends.iter().for_each(|end| scored[end.leaf] = true);
    let mut children = vec![0u32; tree.len()];
    for i in (1..tree.len()).rev() {
        if scored[i] {
            scored[tree.parent[i].index()] = true;
            children[tree.parent[i].index()] += 1;
        }
    }
    let mut weight = vec![1.0; tree.len()];
    for i in 1..tree.len() {
        let parent = tree.parent[i].index();
        weight[i] = weight[parent] / f64::from(children[parent].max(1));
    }
    weight
}

/// `[N]` policy steps after each step, the recursive mean over what follows.
pub(super) fn remaining(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<f64> {
    let (mut sum, mut count) = (vec![0.0; tree.len()], vec![0u32; tree.len()]);
    let mut after = vec![0.0; tree.len()];
    for i in (1..tree.len()).rev() {
        if leaf[i].is_none() && count[i] == 0 {
            continue;
        }
        after[i] = sum[i] / f64::from(count[i].max(1));
        let own = f64::from(u8::from(tree.origin[i].is_policy()));
        sum[tree.parent[i].index()] += after[i] + own;
        count[tree.parent[i].index()] += 1;
    }
    after
}
