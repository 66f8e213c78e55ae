//! How something is dealt out to the turns of a tree's attempts.

use stepwell_tree::{Key, Purpose, StepId, StepTree, path_to, recursive_mean};

use super::attribution::{Config, Contributions, GROUNDED, Grounding, Residual};
use crate::credit::step_column;
use crate::estimator::CONTRIBUTION;

/// `[N]` contributions with their share of the residual, and what is left for each scored leaf.
pub(super) fn shares(
    tree: &StepTree,
    leaf: &[Option<f64>],
    config: &Config,
) -> (Vec<f64>, Vec<Option<f64>>) {
    let mut step = contributions(tree, leaf, config);
    let ends: Vec<End> = (0..tree.len())
        .filter_map(|i| Some(End::new(tree, StepId(i as u32), leaf[i]?, &step)))
        .collect();
    let uniform = config.contributions == Contributions::Uniform;
    let mut left = vec![None; tree.len()];
    match config.residual {
        Residual::None if !uniform => ends.iter().for_each(|end| left[end.leaf] = Some(0.0)),
        Residual::Last if !uniform => {
            ends.iter().for_each(|end| left[end.leaf] = Some(end.missing));
        }
        _ => deal(tree, &ends, &mut step, &mut left),
    }
    (step, left)
}

fn contributions(tree: &StepTree, leaf: &[Option<f64>], config: &Config) -> Vec<f64> {
    if config.contributions == Contributions::Uniform {
        return vec![0.0; tree.len()];
    }
    let column = step_column(tree, CONTRIBUTION);
    let mut own: Vec<f64> = column.iter().map(|c| f64::from(*c)).collect();
    let earns = earns(tree, leaf);
    own.iter_mut().zip(&earns).for_each(|(c, earns)| *c *= f64::from(u8::from(*earns)));
    if config.contributions == Contributions::Permuted {
        for (key, stretch) in stretches(tree, leaf, &earns, config.seed) {
            let from: Vec<f64> = stretch.iter().map(|&i| own[i]).collect();
            let order = key.permutation(stretch.len());
            stretch.iter().zip(order).for_each(|(&to, k)| own[to] = from[k]);
        }
    }
    own
}

/// `[N]` g of every step that earns, 0 elsewhere.
pub(super) fn grounding(tree: &StepTree, leaf: &[Option<f64>], config: &Config) -> Vec<f64> {
    let own: Vec<Option<f64>> = match &config.grounding {
        Grounding::Observation => {
            let column = step_column(tree, GROUNDED);
            column.iter().map(|g| Some(f64::from(*g))).collect()
        }
        Grounding::Part(name) => recursive_mean(tree, |s| {
            let i = s.index();
            leaf[i].map(|_| tree.verdict[i].part(name).unwrap_or(0.0))
        }),
    };
    let earns = earns(tree, leaf);
    own.iter().zip(earns).map(|(g, earns)| if earns { g.unwrap_or(0.0) } else { 0.0 }).collect()
}

/// True on policy steps with a scored leaf below.
fn earns(tree: &StepTree, leaf: &[Option<f64>]) -> Vec<bool> {
    let value = recursive_mean(tree, |s| leaf[s.index()]);
    value.iter().zip(&tree.origin).map(|(v, origin)| v.is_some() && origin.is_policy()).collect()
}

/// Policy steps between two forks, first to last, and the key of the place where they begin.
fn stretches(
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
struct End {
    leaf: usize,
    /// Its policy steps, first to last.
    path: Vec<StepId>,
    /// The outcome less the contributions on its path.
    missing: f64,
}

impl End {
    fn new(tree: &StepTree, leaf: StepId, reward: f64, step: &[f64]) -> End {
        let mut path = path_to(tree, leaf);
        path.retain(|s| tree.origin[s.index()].is_policy());
        let sum: f64 = path.iter().map(|s| step[s.index()]).sum();
        End { leaf: leaf.index(), path, missing: reward - sum }
    }
}

/// Gives every step the mean over the leaves below of an equal part of what each still misses, from
/// the first step on: what an attempt misses is gone at its last step, unless others share that.
fn deal(tree: &StepTree, ends: &[End], step: &mut [f64], left: &mut [Option<f64>]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws;
    use crate::reward::attribution::{Multiplier, reward};
    use stepwell_tree::parse;

    #[test]
    fn the_multiplier_of_the_papers_code_deletes_the_last_turn() {
        let line = |t: usize| format!("{} {} policy a", t + 1, t);
        let rows: Vec<String> = (0..5).map(line).collect();
        let mut tree = parse(&format!("0 - prompt q\n{} r=1", rows.join("\n")));
        tree.step_column.insert("contribution".to_owned(), vec![1.0; 6]);
        let config = Config { multiplier: Multiplier::Remaining, ..Config::default() };
        let got = reward(&[tree], &config);
        assert_eq!(got.at_steps(0).unwrap(), [0.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    }

    #[test]
    fn with_a_residual_contributions_add_up_to_the_outcome() {
        // spa_rl.md, section 10, 3: to 1e-6 for any weights; and so does the control.
        for seed in 0..100 {
            let forest = laws::with_columns(&[laws::random_tree(seed)]);
            let tree = &forest[0];
            for (residual, contributions) in [
                (Residual::Uniform, Contributions::Learned),
                (Residual::Last, Contributions::Permuted),
                (Residual::None, Contributions::Uniform),
            ] {
                let config = Config { residual, contributions, ..Config::default() };
                let got = reward(&forest, &config);
                let step = got.at_steps(0).unwrap();
                for i in (0..tree.len()).filter(|&i| got.leaf[0][i].is_some()) {
                    let path = stepwell_tree::path_to(tree, StepId(i as u32));
                    let sum: f64 = path.iter().map(|s| step[s.index()]).sum();
                    let sum = sum + got.leaf[0][i].unwrap();
                    let outcome = tree.verdict[i].reward().unwrap();
                    assert!((sum - outcome).abs() < 1e-9, "{config:?}, {i}, seed {seed}: {sum}");
                }
            }
        }
    }
}
