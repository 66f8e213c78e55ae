//! Which item comes when: a pure function of the key and the place, never a consumed stream.

use stepwell_train::Codec;
use stepwell_tree::{Demonstration, Key, NewStep, Origin, StepId, StepTree, Stop, Task};

/// The items of one batch out of `n`: epochs are permutations under their own key, so each item
/// comes once before any comes twice. A batch larger than `n` holds some items again.
pub fn batch(key: Key, n: usize, size: usize, step: usize) -> Vec<usize> {
    assert!(n > 0, "nothing to draw from");
    let mut epoch = usize::MAX;
    let mut order = Vec::new();
    (step * size..(step + 1) * size)
        .map(|at| {
            if at / n != epoch {
                epoch = at / n;
                order = key.with(epoch as u64).permutation(n);
            }
            order[at % n]
        })
        .collect()
}

/// A demonstration as a tree with one path, and the credit that trains the marked steps.
///
/// With `mask_observations` off, observations are trained too (Tool-Star's published setting).
pub fn demonstration_tree(
    codec: &Codec,
    demonstration: &Demonstration,
    mask_observations: bool,
) -> (StepTree, stepwell_tree::Credit) {
    let task = Task {
        id: String::new(),
        question: demonstration.opening.user.clone(),
        fields: Default::default(),
    };
    let mut tree = StepTree::new(task.hash(), &codec.encode_opening(&demonstration.opening));
    let mut marked = vec![false];
    let mut parent = StepId::ROOT;
    for segment in &demonstration.segments {
        let origin = if segment.observation { Origin::Environment } else { Origin::Demonstration };
        let token = codec.encode(&segment.text);
        parent = tree.push(NewStep {
            parent,
            child_index: 0,
            origin,
            stop: Stop::NotSampled,
            token: &token,
            logprob: &[],
        });
        marked.push(if segment.observation { !mask_observations } else { segment.train });
    }
    let mut credit = stepwell_tree::Credit::none(tree.len());
    for (step, marked) in credit.step.iter_mut().zip(marked) {
        *step = marked.then_some(1.0);
    }
    (tree, credit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::Purpose;

    #[test]
    fn an_epoch_holds_each_item_once_wherever_batches_fall() {
        let key = Key::new(1, Purpose::TaskOrder);
        let mut seen: Vec<usize> = (0..5).flat_map(|step| batch(key, 10, 4, step)).collect();
        let second = seen.split_off(10);
        for mut epoch in [seen, second] {
            epoch.sort_unstable();
            assert_eq!(epoch, (0..10).collect::<Vec<_>>());
        }
        assert_eq!(batch(key, 3, 7, 0).len(), 7);
    }
}
