//! # Reward less that of the greedy attempt (ReMax)
//!
//! Paper: ReMax, arXiv 2310.10505, equation 3 and algorithm 1.
//! Idea: What the policy earns when it is greedy is a baseline that needs no value model and no
//! second sample, and does not depend on what was sampled.
//! Formula: Aᵢ = rᵢ − r(greedy attempt)
//! Reads: rewards of leaves; the column `companion`, which `greedy_baseline` writes.
//! Differs: on a branched tree a step gets the recursive mean of A below it (DECISIONS 6); several
//! greedy attempts count as their mean.
//! Degenerate: equal rewards exactly 0. Where the greedy attempt is unscored or missing: `None` in
//! the whole tree, for 0 would be another baseline. Unscored attempts `None`. Greedy steps have no
//! credit: they were not sampled from the distribution that trains.
//! Control: `leave_one_out` on `independent` with one attempt more, at the same tokens.
//!
//! Unbiased: the baseline is a function of the task and the weights alone (tests below, by
//! enumeration). Its variance is small where the greedy reward is near the mean, and it is none
//! where sampling at temperature 1 hardly ever comes near what greedy earns.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Credit, StepId, StepTree};

use super::{Rewards, assert_fits, from_leaves};
use crate::grow::is_companion;

/// ReMax has nothing to set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// Each attempt's reward, less the greedy one's.
pub fn credit(forest: &[StepTree], rewards: &Rewards, _config: &Config) -> Vec<Credit> {
    assert_fits(forest, rewards);
    let of = |(tree, leaf): (&StepTree, &Vec<Option<f64>>)| {
        let greedy = |s: &StepId| is_companion(tree, *s);
        let all = (0..tree.len() as u32).map(StepId);
        let base: Vec<f64> = all.filter(greedy).filter_map(|s| leaf[s.index()]).collect();
        let Some(origin) = base.first() else { return Credit::none(tree.len()) };
        // Centred on one of them, so that equal rewards give exactly 0.
        let mean = base.iter().map(|r| r - origin).sum::<f64>() / base.len() as f64;
        from_leaves(tree, |s| leaf[s.index()].filter(|_| !greedy(&s)).map(|r| (r - origin) - mean))
    };
    forest.iter().zip(&rewards.leaf).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grow::{COMPANION, greedy_baseline};
    use crate::laws::{self, Claims, Scale};

    /// The last child of the prompt is the greedy attempt.
    fn marked(forest: &[StepTree], attempts: u32) -> Vec<StepTree> {
        let mark = |tree: &StepTree| {
            let mut tree = tree.clone();
            let column = greedy_baseline::companions(&tree, &greedy_baseline::Config { attempts });
            tree.step_column.insert(COMPANION.to_owned(), column);
            tree
        };
        forest.iter().map(mark).collect()
    }

    #[test]
    fn a_worked_tree() {
        // The greedy attempt earns 0.6: a 1 − 0.6; b is the mean of c −0.6 and d 0.1.
        let tree = "
            0 -  prompt q
            1 0  policy a        r=1      | 0.4
            2 0  policy b                 | -0.25
            3 2  environment o
            4 3  policy c        r=0      | -0.6
            5 3  policy d        r=0.7    | 0.1
            6 3  policy e        unscored=interrupted
            7 0  policy g
            8 7  environment o
            9 8  policy h        r=0.6";
        laws::table(tree, |f, r| credit(&marked(f, 2), r, &Config::default()));
    }

    #[test]
    fn without_a_judged_greedy_attempt_there_is_no_credit() {
        let tree = "
            0 -  prompt q
            1 0  policy a        r=1
            2 0  policy b        r=0
            3 0  policy g        unscored=interrupted";
        laws::table(tree, |f, r| credit(&marked(f, 2), r, &Config::default()));
        laws::table(tree, |f, r| credit(f, r, &Config::default()));
    }

    #[test]
    fn unbiased_by_enumeration() {
        // One token of two, p(a) = p, rewards 0.9 and 0.2; greedy takes the likelier. The gradient
        // by the logit of a is p(1 − p)(0.9 − 0.2), whatever the greedy reward.
        for p in [0.1, 0.4, 0.8] {
            let greedy = if p > 0.5 { 0.9 } else { 0.2 };
            let mut expected = 0.0;
            for (chance, reward, score) in [(p, 0.9, 1.0 - p), (1.0 - p, 0.2, -p)] {
                let tree = stepwell_tree::parse(&format!(
                    "0 - prompt q\n1 0 policy a r={reward}\n2 0 policy g r={greedy}"
                ));
                let forest = marked(&[tree], 1);
                let rewards = crate::reward::outcome::reward(&forest);
                let own = credit(&forest, &rewards, &Config::default())[0].step[1].unwrap();
                expected += chance * own * score;
            }
            assert!((expected - p * (1.0 - p) * 0.7).abs() < 1e-12, "{p}: {expected}");
        }
    }

    #[test]
    fn laws() {
        let claims = Claims {
            shift_invariant: true,
            equal_rewards_zero: true,
            needs_two: true,
            scale: Scale::Linear,
            ..Claims::NONE
        };
        laws::check(|f, r| credit(f, r, &Config::default()), claims);
    }
}
