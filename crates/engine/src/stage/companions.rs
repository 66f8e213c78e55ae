//! Companions of an update's attempts: what they cost, and that they do not train.

use stepwell_methods::is_companion;
use stepwell_tree::{Credit, NewStep, StepId, StepTree};

use crate::rollout::Grown;

/// What companions cost and earned; they are in no mean of attempts.
pub(super) fn beside(tree: &StepTree, ends: &[StepId], add: &mut impl FnMut(&str, f64)) {
    if ends.is_empty() {
        return;
    }
    let steps = (0..tree.len()).filter(|&i| is_companion(tree, StepId(i as u32)));
    let sampled = steps.filter(|&i| tree.origin[i].is_policy());
    add("companion_tokens", sampled.map(|i| tree.span[i].len() as f64).sum());
    add("companion_leaves", ends.len() as f64);
    for leaf in ends {
        let reward = tree.verdict[leaf.index()].reward();
        add("companion_judged", f64::from(u8::from(reward.is_some())));
        add("companion_reward", reward.unwrap_or(0.0));
    }
}

/// Trees and credit without the companions that do not train: nothing of them is computed.
pub(super) fn without_companions(
    forest: &[Grown],
    credits: &[Credit],
) -> (Vec<StepTree>, Vec<Credit>) {
    let pruned = |(grown, credit): (&Grown, &Credit)| prune(&grown.tree, credit);
    forest.iter().zip(credits).map(pruned).unzip()
}

fn prune(tree: &StepTree, credit: &Credit) -> (StepTree, Credit) {
    let mut stays: Vec<bool> = (0..tree.len())
        .map(|i| !is_companion(tree, StepId(i as u32)) || credit.step[i].is_some())
        .collect();
    if stays.iter().all(|stays| *stays) {
        return (tree.clone(), credit.clone());
    }
    for i in (1..tree.len()).rev().filter(|&i| credit.step[i].is_some()) {
        let mut at = StepId(i as u32);
        while at != StepId::ROOT {
            at = tree.parent[at.index()];
            stays[at.index()] = true;
        }
    }
    let mut kept = StepTree::new(tree.task, tree.tokens(StepId::ROOT));
    let mut place = vec![StepId::ROOT; tree.len()];
    let mut own = Credit::none(1);
    for i in (1..tree.len()).filter(|&i| stays[i]) {
        let step = StepId(i as u32);
        place[i] = kept.push(NewStep {
            parent: place[tree.parent[i].index()],
            child_index: tree.child_index[i],
            origin: tree.origin[i],
            stop: tree.stop[i],
            token: tree.tokens(step),
            logprob: if tree.origin[i].is_policy() { tree.logprobs(step) } else { &[] },
        });
        kept.verdict[place[i].index()] = tree.verdict[i].clone();
        own.step.push(credit.step[i]);
    }
    assert!(credit.token.is_none(), "companions and credit per token do not go together");
    (kept, own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_methods::COMPANION;

    #[test]
    fn companions_that_do_not_train_are_left_out() {
        let mut tree = stepwell_tree::parse(
            "0 -  prompt q
             1 0  policy a
             2 1  environment o
             3 2  policy b b      r=1
             4 2  policy c        r=0
             5 0  policy d
             6 5  environment p
             7 6  policy e        r=1",
        );
        tree.step_column.insert(COMPANION.to_owned(), vec![0., 0., 0., 0., 1., 1., 1., 1.]);
        let mut credit = Credit::none(8);
        (credit.step[1], credit.step[3]) = (Some(0.5), Some(-0.5));
        let (kept, own) = prune(&tree, &credit);
        assert_eq!(own.step, [None, Some(0.5), None, Some(-0.5)]);
        kept.check().unwrap();
        assert_eq!(kept.token, ['q', 'a', 'o', 'b', 'b'].map(u32::from));
        assert_eq!(kept.verdict[3].reward(), Some(1.0));
        // A companion that trains keeps what stands before it.
        credit.step[7] = Some(1.0);
        let (kept, own) = prune(&tree, &credit);
        assert_eq!(own.step, [None, Some(0.5), None, Some(-0.5), None, None, Some(1.0)]);
        kept.check().unwrap();
        // Without companions nothing changes.
        tree.step_column.clear();
        assert_eq!(prune(&tree, &credit), (tree, credit));
    }
}
