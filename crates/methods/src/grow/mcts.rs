//! # Monte-Carlo tree search over steps
//!
//! Paper: UCT, Kocsis and Szepesvári 2006, equation 1; PUCT, arXiv 1712.01815 (AlphaZero); over
//! steps of a language model as RAP, arXiv 2305.14992, which EAG-RL, arXiv 2508.13579, distils.
//! Idea: Spend samples where they promise most: walk down from the prompt by value and by doubt,
//! open further steps where the walk ends, and let what they earn change the next walk.
//! Formula: uct(child) = Q + c·√(ln N(parent)/N(child)); puct(child) = Q + c·P·√N(parent)/(1 +
//! N(child)); P = softmax over siblings of (1/|step|) Σ log p; N = ended attempts below; Q = their
//! mean value, or the largest
//! Reads: the whole tree with the values of its leaves: what a scorer says of them, and where there
//! is none their verdict's reward. Reading verdicts is for training tasks.
//! Differs: a simulation runs to the end in one line and all of it joins the tree, so the sum of N
//! below the prompt is the number of leaves, and an expansion simulates every step that it opens,
//! which gives PUCT its priors. EAG-RL's precursor adds a self-given score to every node and forces
//! a last step at its largest depth; here the environment alone judges, and ends. A child below
//! which nothing can be opened is passed over: coming back to an end that is known teaches nothing.
//! Degenerate: `children` at least `simulations` are independent attempts; `exploration = 0` goes
//! by value alone. A child without a valued leaf has the prompt's value, 0 where there is none.
//! Ties go to the first child.
//! Control: `branch` and `independent` at the same number of sampled tokens.
//!
//! The tree is chosen by what it earned: a mean over its leaves is no estimate of the policy's
//! reward, and a step's siblings are as many as the search found worth it. Trees train as others.

use serde::{Deserialize, Serialize};
use stepwell_tree::{Key, StepId, StepTree, children};

use super::{Open, Run, SearchView};

/// Which child a walk takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// By value and visits.
    #[default]
    Uct,
    /// By value, visits and the policy's own prior.
    Puct,
}

/// What a child is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backup {
    /// The mean over the leaves below.
    #[default]
    Mean,
    /// The best leaf below.
    Max,
}

/// A search by simulations.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Leaves of a tree, 1 to 65536. Default 10, the rollouts of EAG-RL's precursor.
    pub simulations: u32,
    /// Steps opened at a place, 1 to 1024. Default 3, the sub-questions of EAG-RL's precursor.
    pub children: u32,
    /// `uct` (default) or `puct`.
    pub selection: Selection,
    /// c, in units of reward, 0 to 1000. Default 1, that of EAG-RL's precursor.
    pub exploration: f64,
    /// `mean` (default) or `max`, that of EAG-RL's precursor.
    pub backup: Backup,
}

impl Default for Config {
    fn default() -> Self {
        let (selection, backup) = (Selection::default(), Backup::default());
        Config { simulations: 10, children: 3, selection, exploration: 1.0, backup }
    }
}

impl Config {
    /// What a recipe must not hold.
    pub fn problem(&self) -> Option<String> {
        let counts = [("simulations", self.simulations, 65536), ("children", self.children, 1024)];
        for (name, count, most) in counts {
            if !(1..=most).contains(&count) {
                return Some(format!("`mcts.{name}` must be from 1 to {most}, got: {count}"));
            }
        }
        let got = self.exploration;
        let fine = (0.0..=1000.0).contains(&got);
        (!fine).then(|| format!("`mcts.exploration` must be from 0 to 1000, got: {got}"))
    }
}

/// What to open next. The key is not read: nothing here is drawn.
pub fn search(view: &SearchView<'_>, config: &Config, _key: Key) -> Vec<Open> {
    assert!(config.problem().is_none(), "{:?}", config.problem());
    let nodes = Nodes::new(view, config);
    let left = config.simulations.saturating_sub(nodes.visits[0]);
    if left == 0 || !nodes.open[0] {
        return Vec::new();
    }
    let mut at = StepId::ROOT;
    loop {
        let have = nodes.below[at.index()].len() as u32;
        if have < config.children {
            let children = (config.children - have).min(left);
            return vec![Open { at, children, run: Run::ToTheEnd }];
        }
        let step = nodes.pick(view.tree, at, config);
        at = nodes.below[step.index()][0];
    }
}

/// What is known of every step, from the leaves up.
struct Nodes {
    below: Vec<Vec<StepId>>,
    /// `[N]` ended attempts below.
    visits: Vec<u32>,
    /// `[N]` mean or best value below, `None` where no leaf has one.
    value: Vec<Option<f64>>,
    /// `[N]` true where something can be opened at the step or below it.
    open: Vec<bool>,
}

impl Nodes {
    fn new(view: &SearchView<'_>, config: &Config) -> Nodes {
        let tree = view.tree;
        let n = tree.len();
        let below = children(tree);
        let (mut visits, mut open) = (vec![0; n], vec![false; n]);
        let (mut sum, mut count) = (vec![0.0; n], vec![0u32; n]);
        let mut most: Vec<Option<f64>> = vec![None; n];
        for i in (0..n).rev() {
            let boundary = !tree.origin[i].is_policy();
            if boundary && (below[i].len() as u32) < config.children {
                open[i] = true;
            }
            if below[i].is_empty() && !boundary {
                visits[i] = 1;
                if let Some(value) = view.value[i] {
                    (sum[i], count[i], most[i]) = (value, 1, Some(value));
                }
            }
            if i > 0 {
                let parent = tree.parent[i].index();
                visits[parent] += visits[i];
                open[parent] |= open[i];
                sum[parent] += sum[i];
                count[parent] += count[i];
                most[parent] = match (most[parent], most[i]) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    (a, b) => a.or(b),
                };
            }
        }
        let mean = |i: usize| (count[i] > 0).then(|| sum[i] / f64::from(count[i]));
        let value = match config.backup {
            Backup::Mean => (0..n).map(mean).collect(),
            Backup::Max => most,
        };
        Nodes { below, visits, value, open }
    }

    /// The child of a place that the walk takes: the first of the best.
    fn pick(&self, tree: &StepTree, at: StepId, config: &Config) -> StepId {
        let children = &self.below[at.index()];
        let bonus = self.bonus(tree, at, config);
        let unknown = self.value[0].unwrap_or(0.0);
        let mut best: Option<(f64, StepId)> = None;
        for (step, bonus) in children.iter().zip(bonus) {
            if !self.open[step.index()] {
                continue;
            }
            let score = self.value[step.index()].unwrap_or(unknown) + bonus;
            if best.is_none_or(|(most, _)| score > most) {
                best = Some((score, *step));
            }
        }
        best.expect("a place that is open and full has an open child").1
    }

    /// What doubt adds to each child.
    fn bonus(&self, tree: &StepTree, at: StepId, config: &Config) -> Vec<f64> {
        let children = &self.below[at.index()];
        let parent = f64::from(self.visits[at.index()]);
        let visits = |step: &StepId| f64::from(self.visits[step.index()]);
        let c = config.exploration;
        match config.selection {
            Selection::Uct => {
                children.iter().map(|step| c * (parent.ln() / visits(step)).sqrt()).collect()
            }
            Selection::Puct => {
                let prior = priors(tree, children).into_iter().zip(children);
                prior.map(|(p, step)| c * p * parent.sqrt() / (1.0 + visits(step))).collect()
            }
        }
    }
}

/// The policy's own preference among siblings: a softmax of mean log-probabilities, so that a long
/// step is not unlikely for its length.
fn priors(tree: &StepTree, siblings: &[StepId]) -> Vec<f64> {
    let mean = |step: &StepId| {
        let logprob = tree.logprobs(*step);
        let sum: f64 = logprob.iter().map(|l| f64::from(*l)).sum();
        sum / logprob.len().max(1) as f64
    };
    let mean: Vec<f64> = siblings.iter().map(mean).collect();
    let most = mean.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight: Vec<f64> = mean.iter().map(|m| (m - most).exp()).collect();
    let sum: f64 = weight.iter().sum();
    weight.iter().map(|w| w / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell_tree::{Purpose, parse};

    const TREE: &str = "
        0 -  prompt q
        1 0  policy a
        2 1  environment o
        3 2  policy c        r=0.5
        4 0  policy b
        5 4  environment p
        6 5  policy d        r=1
        7 5  policy e        r=0";

    fn ask(tree: &StepTree, config: &Config) -> Vec<(u32, u32)> {
        let value: Vec<Option<f64>> = tree.verdict.iter().map(|v| v.reward()).collect();
        let view = SearchView { tree, value: &value, round: 1 };
        let opens = search(&view, config, Key::new(0, Purpose::Grow));
        opens.iter().map(|open| (open.at.0, open.children)).collect()
    }

    const CONFIG: Config = Config {
        simulations: 9,
        children: 2,
        selection: Selection::Uct,
        exploration: 1.0,
        backup: Backup::Mean,
    };

    #[test]
    fn a_worked_tree() {
        // N: a 1, b 2, prompt 3. Both are worth 0.5, and a is in more doubt: √(ln 3/1) = 1.048
        // against √(ln 3/2) = 0.741. One of the two places at o is free.
        assert_eq!(ask(&parse("0 - prompt q"), &CONFIG), [(0, 2)]);
        let tree = parse(TREE);
        assert_eq!(ask(&tree, &CONFIG), [(2, 1)]);
        // Below b everything has ended at two children; with three p is open, and so is the prompt.
        assert_eq!(ask(&tree, &Config { children: 3, ..CONFIG }), [(0, 1)]);
        // The budget: nothing is left at three, and one at four though three are free.
        assert_eq!(ask(&tree, &Config { simulations: 3, ..CONFIG }), []);
        assert_eq!(ask(&tree, &Config { simulations: 4, children: 5, ..CONFIG }), [(0, 1)]);
    }

    fn two(first: &str, second: &str) -> StepTree {
        parse(&format!(
            "0 -  prompt q
             1 0  policy a
             2 1  environment o
             3 2  policy c {first}
             4 0  policy b
             5 4  environment p
             6 5  policy d {second}
             7 5  policy e {second}
             8 0  policy f r=0"
        ))
    }

    #[test]
    fn the_prior_is_length_normalised_and_breaks_ties_of_value() {
        let mut tree = two("r=0", "r=0");
        // Every step has one token.
        for (step, logprob) in [(1usize, -0.5), (4, -1.0), (8, -0.1)] {
            tree.logprob[step..=step].fill(logprob);
        }
        let siblings = [StepId(1), StepId(4), StepId(8)];
        let p = priors(&tree, &siblings);
        let z = (-0.5f64).exp() + (-1.0f64).exp() + (-0.1f64).exp();
        let expected = [(-0.5f64).exp() / z, (-1.0f64).exp() / z, (-0.1f64).exp() / z];
        assert!(p.iter().zip(expected).all(|(p, e)| (p - e).abs() < 1e-7), "{p:?}");
        let puct = Config { children: 3, selection: Selection::Puct, ..CONFIG };
        let view = SearchView { tree: &tree, value: &[None; 9], round: 1 };
        let bonus = Nodes::new(&view, &puct).bonus(&tree, StepId::ROOT, &puct);
        // P·√4/(1 + N), with N = 1, 2, 1.
        let by_hand = [expected[0], expected[1] * 2.0 / 3.0, expected[2]];
        assert!(bonus.iter().zip(by_hand).all(|(b, e)| (b - e).abs() < 1e-7), "{bonus:?}");
        assert_eq!(ask(&tree, &puct), [(2, 2)]);
        // Twice as many tokens of the same log-probability are as likely.
        let long = parse("0 - prompt q\n1 0 policy a a a r=0\n2 0 policy b r=0");
        assert_eq!(priors(&long, &[StepId(1), StepId(2)]), [0.5, 0.5]);
    }

    #[test]
    fn refuses_what_grows_nothing() {
        assert_eq!(Config::default().problem(), None);
        let none = Config { children: 0, ..CONFIG }.problem();
        assert_eq!(none.as_deref(), Some("`mcts.children` must be from 1 to 1024, got: 0"));
    }
}
