//! # Rejection sampling (RFT, RAFT, ReST-EM, expert iteration, STaR)
//!
//! Paper: RFT, arXiv 2308.01825; RAFT, arXiv 2304.06767; ReST-EM, arXiv 2312.06585; expert
//! iteration, arXiv 1705.08439; STaR, arXiv 2203.14465.
//! Idea: Sample many attempts, keep those that are right, train on them as if somebody had
//! demonstrated them; once, or again from what came out, or again from where it began.
//! Formula: kept = at most `keep_max` of {leaves with reward ≥ threshold}, one per answer or text;
//! then cross-entropy on their steps
//! Reads: rewards of leaves; tokens, or what attempts answer.
//! Differs: RFT keeps one attempt per list of equations, which `dedupe` by text comes near;
//! RAFT keeps the best of each task whatever its reward: set `threshold` low,
//! `keep_max = 1` and `prefer = "best"`.
//! Attempts of a branched tree are its paths. A hint (STaR) stands in the prompt while sampling and
//! is in nothing that trains.
//! Degenerate: unscored attempts are never kept; nothing kept: no optimizer step moves.
//! Control: `threshold` so low that everything is kept, at an equal number of updates; for hints,
//! the same without.
//!
//! A stage of its own, `[stage.rejection]`, has these keys in its table: RFT is `rounds = 1`, RAFT
//! and expert iteration are more rounds, ReST-EM is `restart = true`, STaR is `restart = true` with
//! `hints = true`.

use std::collections::BTreeSet;

use stepwell_tree::{Key, StepId, StepTree, leaves, path_to, sampled_length};

/// When two attempts at a task are the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dedupe {
    /// Never.
    None,
    /// When the policy wrote the same tokens.
    #[default]
    Text,
    /// When they give the same answer.
    Answer,
}

/// Which of those that may be kept come first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Prefer {
    /// In keyed order.
    #[default]
    Random,
    /// Those with fewer sampled tokens.
    Shortest,
    /// Those with more reward; of equals in keyed order.
    Best,
}

/// Which attempts are kept.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Config {
    /// Least reward of an attempt that is kept. Default 1, ours: right.
    pub threshold: f64,
    /// Most attempts of a task that are kept, at least 1. Default 4, ours.
    pub keep_max: usize,
    /// When two attempts are the same; one is kept. Default by text, ours; RFT's is by equations.
    pub dedupe: Dedupe,
    /// Which come first. Default in keyed order.
    pub prefer: Prefer,
}

impl Default for Config {
    fn default() -> Self {
        Config { threshold: 1.0, keep_max: 4, dedupe: Dedupe::default(), prefer: Prefer::default() }
    }
}

/// What is kept of a tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// Ends of the attempts that are kept, in order of step.
    pub leaf: Vec<StepId>,
    /// Attempts that were good enough and the same as a kept one.
    pub duplicates: usize,
}

/// The attempts of a tree that are kept; `reward` and `answer` are `[N]`, of its leaves. Attempts
/// without an answer are told apart by text.
pub fn select(
    tree: &StepTree,
    reward: &[Option<f64>],
    answer: &[Option<String>],
    config: &Config,
    key: Key,
) -> Kept {
    assert!(tree.len() == reward.len() && tree.len() == answer.len(), "a column per step");
    let good = |leaf: &StepId| reward[leaf.index()].is_some_and(|r| r >= config.threshold);
    let ends: Vec<StepId> = leaves(tree).into_iter().filter(good).collect();
    let mut order: Vec<usize> = key.permutation(ends.len());
    match config.prefer {
        Prefer::Random => {}
        Prefer::Shortest => {
            let length = sampled_length(tree);
            order.sort_by_key(|&i| (length[ends[i].index()], ends[i]));
        }
        Prefer::Best => {
            let worth = |i: usize| reward[ends[i].index()].unwrap_or(f64::NEG_INFINITY);
            order.sort_by(|&a, &b| worth(b).total_cmp(&worth(a)));
        }
    }
    let (mut texts, mut answers) = (BTreeSet::new(), BTreeSet::new());
    let mut distinct = |leaf: StepId| match (config.dedupe, &answer[leaf.index()]) {
        (Dedupe::None, _) => true,
        (Dedupe::Answer, Some(answer)) => answers.insert(answer.clone()),
        _ => texts.insert(text(tree, leaf)),
    };
    let (mut leaf, mut duplicates) = (Vec::new(), 0);
    for end in order.into_iter().map(|i| ends[i]) {
        if distinct(end) {
            leaf.push(end);
        } else {
            duplicates += 1;
        }
    }
    leaf.truncate(config.keep_max);
    leaf.sort_unstable();
    Kept { leaf, duplicates }
}

/// What the policy wrote on a path, step by step.
fn text(tree: &StepTree, leaf: StepId) -> Vec<Vec<u32>> {
    let path = path_to(tree, leaf).into_iter().filter(|s| tree.origin[s.index()].is_policy());
    path.map(|s| tree.tokens(s).to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{Purpose, parse};

    const TREE: &str = "
        0 -  prompt q
        1 0  policy a a      r=1
        2 0  policy b        r=0
        3 0  policy c
        4 3  environment o
        5 4  policy d d d    r=1
        6 4  policy e        r=1
        7 0  policy a a      r=1
        8 0  policy f        unscored=x";

    fn kept(config: Config, seed: u64) -> (Vec<u32>, usize) {
        let tree = parse(TREE);
        let reward: Vec<Option<f64>> = tree.verdict.iter().map(|v| v.reward()).collect();
        // d and e answer the same, and 1 and 7 do not say what.
        let mut answer = vec![None; tree.len()];
        (answer[5], answer[6]) = (Some("x".to_owned()), Some("x".to_owned()));
        let kept = select(&tree, &reward, &answer, &config, Key::new(seed, Purpose::Control));
        (kept.leaf.iter().map(|s| s.0).collect(), kept.duplicates)
    }

    #[test]
    fn a_worked_tree() {
        let all = Config { keep_max: 9, ..Config::default() };
        let first = |seed| kept(all, seed);
        // 1 and 7 are one text: whichever comes first in keyed order.
        assert!((0..20).all(|seed| [vec![1, 5, 6], vec![5, 6, 7]].contains(&first(seed).0)));
        assert!((0..20).any(|seed| first(seed).0[0] == 1));
        assert_eq!(first(0).1, 1);
        assert_eq!(kept(Config { dedupe: Dedupe::None, ..all }, 0), (vec![1, 5, 6, 7], 0));
        let short = Config { prefer: Prefer::Shortest, ..all };
        // Sampled tokens: 1 and 7 have two, 6 has two (c e), 5 has four.
        assert_eq!(kept(Config { keep_max: 2, ..short }, 0), (vec![1, 6], 1));
        assert_eq!(kept(Config { dedupe: Dedupe::Answer, ..short }, 0), (vec![1, 6], 2));
        assert_eq!(kept(Config { threshold: 1.5, ..all }, 0), (vec![], 0));
        let low = Config { threshold: 0.0, prefer: Prefer::Shortest, keep_max: 1, ..all };
        assert_eq!(kept(low, 0).0, [2]);
        // RAFT's one best, whatever the bar.
        let best = Config { threshold: -9.0, prefer: Prefer::Best, keep_max: 1, ..all };
        assert!((0..20).all(|seed| kept(best, seed).0 != [2]));
    }

    #[test]
    fn of_many_the_key_chooses() {
        let one = Config { keep_max: 1, dedupe: Dedupe::None, ..Config::default() };
        let chosen: BTreeSet<u32> = (0..60).map(|seed| kept(one, seed).0[0]).collect();
        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [1, 5, 6, 7]);
    }
}
