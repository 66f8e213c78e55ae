//! # Monte-Carlo continuations of every boundary
//!
//! Paper: VinePPO, arXiv 2410.01679, section 4; the continuations of PAV, arXiv 2410.08146, with
//! which a step's value is estimated.
//! Idea: A language policy can be put back to any place it has been at. So the value before and
//! after a step need not be learned: go on from both a few times and look how often it works out.
//! Formula: round 0 opens `attempts` below the prompt; then every boundary of their paths, the
//! prompt included, gets `rollouts` lines of its own to the end
//! Reads: the whole tree, when the attempts have ended.
//! Differs: a budget bounds the cost. Leaves are shared out evenly among boundaries, in canonical
//! order; tokens end the opening of further rounds. Boundaries are the environment's turns, where
//! the paper cuts text into steps.
//! Degenerate: attempts of one step have one boundary, the prompt, and the value is a mean over
//! `rollouts` further samples. A boundary that the budget leaves without a line has no value, and
//! `monte_carlo` then credits the steps around it together.
//! Control: `independent` with `leave_one_out` at the same number of sampled tokens.
//!
//! Continuations are companions: `monte_carlo` reads them and does not train them unless told to;
//! any other credit is refused, which would take them for attempts of their own.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, Origin, StepId, StepTree};

use super::{Open, Run, SearchView};

/// Attempts, and lines to the end from every place they pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Attempts per task, 1 to 65536. Default 8, the paper's.
    pub attempts: u32,
    /// Continuations of each boundary, 1 to 1024. Default 9, the paper's K.
    pub rollouts: u32,
    /// Most continuations of a tree, 1 to 65536. Default 256, ours.
    pub leaves: u32,
    /// Sampled tokens of a tree's continuations after which no round opens, at least 1. Default
    /// none: all lines are opened in one round.
    pub tokens: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Config { attempts: 8, rollouts: 9, leaves: 256, tokens: None }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let counts = [
            ("attempts", self.attempts, 65536),
            ("rollouts", self.rollouts, 1024),
            ("leaves", self.leaves, 65536),
        ];
        for (name, count, most) in counts {
            if !(1..=most).contains(&count) {
                let key = format!("`continuations.{name}`");
                return Some(format!("{key} must be from 1 to {most}, got: {count}"));
            }
        }
        let none = self.tokens == Some(0);
        none.then(|| "`continuations.tokens` must be at least 1, got: 0".to_owned())
    }
}

/// Where lines start next. The key is not read: nothing here is drawn.
pub fn search(view: &SearchView<'_>, config: &Config, _key: Key) -> Vec<Open> {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    if view.round == 0 {
        return vec![Open { at: StepId::ROOT, children: config.attempts, run: Run::ToTheEnd }];
    }
    let tree = view.tree;
    let mark = companions(tree, config);
    let own = |i: &usize| mark[*i] == 0.0 && !tree.origin[*i].is_policy();
    let boundaries: Vec<usize> = (0..tree.len()).filter(own).collect();
    let sampled = (0..tree.len()).filter(|&i| mark[i] != 0.0 && tree.origin[i].is_policy());
    let spent: usize = sampled.map(|i| tree.span[i].len()).sum();
    // Rounds of one line per boundary where tokens are counted, else one round of all lines.
    let (rounds, lines) = match config.tokens {
        Some(tokens) if spent as u64 >= tokens => return Vec::new(),
        Some(_) => (config.rollouts, 1),
        None => (1, config.rollouts),
    };
    if view.round > rounds {
        return Vec::new();
    }
    let (n, before) = (boundaries.len() as u32, view.round - 1);
    let opens = boundaries.iter().enumerate().map(|(b, &i)| {
        let share = config.leaves / n + u32::from((b as u32) < config.leaves % n);
        let children = lines.min(share.saturating_sub(before * lines));
        Open { at: StepId(i as u32), children, run: Run::ToTheEnd }
    });
    opens.filter(|open| open.children > 0).collect()
}

/// `[N]` 1 on continuations: below the prompt what comes after the attempts, below an observation
/// what comes after the step that the attempt took, and everything below those.
pub fn companions(tree: &StepTree, config: &Config) -> Vec<f32> {
    let first = |i: usize| {
        let parent = tree.parent[i];
        match tree.origin[parent.index()] {
            Origin::Prompt => tree.child_index[i] >= config.attempts,
            Origin::Environment => tree.child_index[i] >= 1,
            _ => false,
        }
    };
    // What stands below a companion is marked with it, its own first child, too.
    super::companions(tree, first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{Purpose, parse};

    const ATTEMPTS: &str = "
        0 -  prompt q
        1 0  policy a
        2 1  environment o
        3 2  policy b b       r=1
        4 0  policy c         r=0";

    fn ask(tree: &StepTree, config: &Config, round: u32) -> Vec<(u32, u32)> {
        let value = vec![None; tree.len()];
        let view = SearchView { tree, value: &value, round };
        let opens = search(&view, config, Key::new(0, Purpose::Grow));
        assert!(opens.iter().all(|open| open.run == Run::ToTheEnd));
        opens.iter().map(|open| (open.at.0, open.children)).collect()
    }

    #[test]
    fn a_worked_tree() {
        let config = Config { attempts: 2, rollouts: 3, leaves: 100, tokens: None };
        assert_eq!(ask(&parse("0 - prompt q"), &config, 0), [(0, 2)]);
        // The prompt and the observation; the attempt c ended at once.
        let tree = parse(ATTEMPTS);
        assert_eq!(ask(&tree, &config, 1), [(0, 3), (2, 3)]);
        assert_eq!(ask(&tree, &config, 2), []);
        // Five leaves for two boundaries are three and two; one is one and none.
        assert_eq!(ask(&tree, &Config { leaves: 5, ..config }, 1), [(0, 3), (2, 2)]);
        assert_eq!(ask(&tree, &Config { leaves: 1, ..config }, 1), [(0, 1)]);
    }

    #[test]
    fn tokens_end_the_rounds_and_only_those_of_continuations_count() {
        let config = Config { attempts: 2, rollouts: 3, leaves: 100, tokens: Some(2) };
        let tree = parse(ATTEMPTS);
        assert_eq!(ask(&tree, &config, 1), [(0, 1), (2, 1)]);
        let after = |d: &str, e: &str| {
            parse(&format!("{ATTEMPTS}\n5 2 policy {d} r=0\n6 0 policy {e} r=0"))
        };
        let spent = after("d", "e");
        assert_eq!(companions(&spent, &config), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(ask(&spent, &config, 2), []);
        let config = Config { tokens: Some(3), ..config };
        assert_eq!(ask(&spent, &config, 2), [(0, 1), (2, 1)]);
        assert_eq!(ask(&spent, &config, 3), [(0, 1), (2, 1)]);
        assert_eq!(ask(&spent, &config, 4), []);
        // Three leaves: two for the prompt, one for the observation, which is used.
        let config = Config { leaves: 3, tokens: Some(100), ..config };
        assert_eq!(ask(&spent, &config, 2), [(0, 1)]);
    }

    #[test]
    fn refuses_what_makes_no_line() {
        assert_eq!(Config::default().problem(), None);
        let none = Config { rollouts: 0, ..Config::default() }.problem();
        assert_eq!(
            none.as_deref(),
            Some("`continuations.rollouts` must be from 1 to 1024, got: 0")
        );
        assert!(Config { tokens: Some(0), ..Config::default() }.problem().is_some());
    }
}
