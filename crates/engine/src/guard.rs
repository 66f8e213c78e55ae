//! What an update's credit and rewards must be, asked before they are committed and so before
//! anything trains on them: finite, on what the policy wrote, and on what was judged.

use stepwell_methods::{CreditConfig, Filter, Rewards};
use stepwell_tree::{Credit, StepTree, recursive_mean};

/// What is wrong, and where: tree, task and step.
pub(crate) type Broken = String;

fn at(tree: &StepTree, t: usize, step: usize) -> String {
    format!("tree {t} (task {}), step {step}", tree.task)
}

/// Refuses a training reward that is no number.
pub(crate) fn rewards(trees: &[StepTree], rewards: &Rewards) -> Result<(), Broken> {
    for (t, tree) in trees.iter().enumerate() {
        for (step, reward) in rewards.leaf[t].iter().enumerate() {
            if let Some(reward) = reward.filter(|reward| !reward.is_finite()) {
                let at = at(tree, t, step);
                return Err(format!("{at}: its training reward is {reward}, expected: a number"));
            }
            if reward.is_some() && tree.verdict[step].reward().is_none() {
                let at = at(tree, t, step);
                return Err(format!("{at}: has a training reward and no verdict"));
            }
        }
        for (step, reward) in rewards.at_steps(t).unwrap_or_default().iter().enumerate() {
            if !reward.is_finite() {
                let at = at(tree, t, step);
                return Err(format!("{at}: earns {reward}, expected: a number"));
            }
        }
    }
    Ok(())
}

/// Refuses credit that is no number, sits on what the policy did not write, or on a step below
/// which nothing was judged (INV-3, INV-11, INV-12).
pub(crate) fn credits(trees: &[StepTree], credits: &[Credit]) -> Result<(), Broken> {
    if trees.len() != credits.len() {
        return Err(format!("{} trees have {} credits", trees.len(), credits.len()));
    }
    for (t, (tree, credit)) in trees.iter().zip(credits).enumerate() {
        let steps = credit.step.len();
        let tokens = credit.token.as_ref().map_or(tree.token.len(), Vec::len);
        if (steps, tokens) != (tree.len(), tree.token.len()) {
            return Err(format!("tree {t} (task {}): its credit is of another tree", tree.task));
        }
        let judged = recursive_mean(tree, |step| tree.verdict[step.index()].reward());
        for step in 0..tree.len() {
            let own = credit.step[step];
            let wrong = if own.is_some_and(|own| !own.is_finite()) {
                "its credit is not finite"
            } else if own.is_some() && !tree.origin[step].is_policy() {
                "has credit, and the policy did not write it"
            } else if own.is_some() && judged[step].is_none() {
                "has credit, and no attempt below it was judged"
            } else if refined(tree, credit, step).any(|token| !token.is_finite()) {
                "the credit of one of its tokens is not finite"
            } else if own.is_none() && refined(tree, credit, step).any(|token| token != 0.0) {
                "one of its tokens has credit, and the step has none"
            } else {
                continue;
            };
            let at = at(tree, t, step);
            return Err(format!("{at}: {wrong} (credit {own:?})"));
        }
    }
    Ok(())
}

fn refined<'c>(
    tree: &StepTree,
    credit: &'c Credit,
    step: usize,
) -> impl Iterator<Item = f64> + use<'c> {
    let own = tree.span[step].range();
    credit.token.iter().flat_map(move |token| token[own.clone()].iter().copied())
}

/// Refuses credit of siblings that does not add up to 0 where the method says that it does. A
/// filter takes steps out afterwards, so that nothing is asked beside one.
pub(crate) fn sums(
    method: &CreditConfig,
    filters: &[Filter],
    trees: &[StepTree],
    credits: &[Credit],
) -> Result<(), Broken> {
    if !method.siblings_sum_to_zero() || !filters.is_empty() {
        return Ok(());
    }
    for (t, (tree, credit)) in trees.iter().zip(credits).enumerate() {
        let (mut sum, mut size) = (vec![0.0; tree.len()], vec![0.0; tree.len()]);
        let mut count = vec![0u32; tree.len()];
        for step in 1..tree.len() {
            let Some(own) = credit.step[step] else { continue };
            let parent = tree.parent[step].index();
            sum[parent] += own;
            size[parent] += own.abs();
            count[parent] += 1;
        }
        let broken = |i: &usize| count[*i] > 1 && sum[*i].abs() > 1e-9 * (1.0 + size[*i]);
        if let Some(parent) = (0..tree.len()).find(broken) {
            let (at, sum) = (at(tree, t, parent), sum[parent]);
            let name = method.name();
            return Err(format!(
                "{at}: the credit of the steps below adds up to {sum}, expected: 0, as `{name}` promises"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::parse;

    fn tree() -> StepTree {
        parse(
            "0 -  prompt q
             1 0  policy a a
             2 1  environment o
             3 2  policy b        r=1
             4 2  policy c        r=0
             5 0  policy d        unscored=x",
        )
    }

    fn right() -> Credit {
        let step = vec![None, Some(0.5), None, Some(1.0), Some(-1.0), None];
        Credit { step, token: None }
    }

    fn said(fault: impl FnOnce(&mut Credit)) -> String {
        let mut credit = right();
        fault(&mut credit);
        match credits(&[tree(), tree()], &[right(), credit]) {
            Ok(()) => "nothing".to_owned(),
            Err(said) => said,
        }
    }

    #[test]
    fn credit_where_none_may_be_is_named_with_its_place() {
        assert_eq!(said(|_| ()), "nothing");
        let place = format!("tree 1 (task {}), step ", tree().task);
        let named = |step: usize, words: &str, got: String| {
            assert!(got.starts_with(&format!("{place}{step}: ")) && got.contains(words), "{got}");
        };
        named(5, "no attempt below it was judged", said(|c| c.step[5] = Some(0.0)));
        named(2, "the policy did not write it", said(|c| c.step[2] = Some(0.1)));
        named(0, "the policy did not write it", said(|c| c.step[0] = Some(0.1)));
        named(3, "not finite", said(|c| c.step[3] = Some(f64::NAN)));
        // All shifted by one step.
        named(0, "the policy did not write it", said(|c| c.step.rotate_left(1)));
        let tokens = |fault: fn(&mut Vec<f64>)| {
            said(|c| {
                let mut token = vec![0.0; tree().token.len()];
                fault(&mut token);
                c.token = Some(token);
            })
        };
        assert_eq!(tokens(|_| ()), "nothing");
        named(3, "one of its tokens is not finite", tokens(|t| t[4] = f64::INFINITY));
        named(2, "the step has none", tokens(|t| t[3] = 0.5));
        assert!(said(|c| c.step.truncate(5)).contains("of another tree"));
    }

    #[test]
    fn siblings_that_do_not_add_up_are_named_where_the_method_promises_it() {
        let method = CreditConfig::Sibling(Default::default());
        let ask = |credit: Credit, filters: &[Filter]| sums(&method, filters, &[tree()], &[credit]);
        assert_eq!(ask(right(), &[]), Ok(()));
        let mut credit = right();
        credit.step[4] = Some(-0.5);
        assert!(ask(credit.clone(), &[]).unwrap_err().contains("step 2: the credit"));
        let group = CreditConfig::GroupMean(Default::default());
        assert_eq!(sums(&group, &[], &[tree()], &[credit]), Ok(()));
    }

    #[test]
    fn rewards_are_numbers_of_what_was_judged() {
        let own = |leaf: [Option<f64>; 6]| Rewards::of_leaves(vec![leaf.to_vec()]);
        let ask = |leaf| rewards(&[tree()], &own(leaf));
        assert_eq!(ask([None, None, None, Some(1.0), Some(0.0), None]), Ok(()));
        let infinite = ask([None, None, None, Some(f64::INFINITY), Some(0.0), None]);
        assert!(infinite.unwrap_err().contains("step 3: its training reward is inf"));
        let unjudged = ask([None, None, None, Some(1.0), Some(0.0), Some(0.0)]);
        assert!(unjudged.unwrap_err().contains("step 5: has a training reward and no verdict"));
        let mut steps = own([None, None, None, Some(1.0), Some(0.0), None]);
        steps.step = Some(vec![vec![0.0, f64::NAN, 0.0, 0.0, 0.0, 0.0]]);
        assert!(rewards(&[tree()], &steps).unwrap_err().contains("step 1: earns NaN"));
    }
}
