//! Companions of an update's attempts: what they cost, and that they do not train.

use stepwell_methods::is_companion;
use stepwell_tree::{Credit, NewStep, StepId, StepTree};

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
    trees: &[StepTree],
    credits: &[Credit],
) -> (Vec<StepTree>, Vec<Credit>) {
    trees.iter().zip(credits).map(|(tree, credit)| prune(tree, credit)).unzip()
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
    let order: Vec<usize> =
        std::iter::once(0).chain((1..tree.len()).filter(|&i| stays[i])).collect();
    for &i in &order[1..] {
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
    }
    let tokens = || order.iter().flat_map(|&i| tree.span[i].range());
    let steps =
        |(name, own): (&String, &Vec<f32>)| (name.clone(), order.iter().map(|&i| own[i]).collect());
    let spread =
        |(name, own): (&String, &Vec<f32>)| (name.clone(), tokens().map(|t| own[t]).collect());
    kept.step_column = tree.step_column.iter().map(steps).collect();
    kept.token_column = tree.token_column.iter().map(spread).collect();
    let token = credit.token.as_ref().map(|own| tokens().map(|t| own[t]).collect());
    (kept, Credit { step: order.iter().map(|&i| credit.step[i]).collect(), token })
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
        credit.token = Some((0..tree.token.len()).map(|t| t as f64).collect());
        let numbered = (0..tree.token.len()).map(|t| t as f32).collect();
        tree.token_column.insert("value".to_owned(), numbered);
        let (kept, own) = prune(&tree, &credit);
        assert_eq!(own.step, [None, Some(0.5), None, Some(-0.5)]);
        assert_eq!(own.token.unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(kept.token_column["value"], [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(kept.step_column[COMPANION], [0.0; 4]);
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
